"""How does an image file become the numbers that a model takes?

It is decoded, turned as its camera says, put on white where it is transparent, and stretched to the model's size. What
a pixel (0 to 255) becomes is said by LITERT_PIXELS, else by the model's metadata, else it is 0 to 1; a model of 8-bit
integers takes pixels as they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golek_worker.engine.base import EngineLoadError
from golek_worker.engine.image_files import decoded
from golek_worker.engine.litert import TO_INSTALL
from golek_worker.engine.litert.model import Model

PIXELS_LIMIT = 64_000_000
"""Of one image: it takes four bytes for each while it is read."""


class Pixels:
    """The form in which one model takes an image."""

    def __init__(self, model: Model, wanted: Sequence[float]) -> None:
        """`wanted`: what the darkest and the brightest pixel become; empty where the model says it. Raises
        EngineLoadError for a model that takes no image.
        """
        (tensor,) = model.inputs if len(model.inputs) == 1 else (None,)
        if tensor is None or not tensor.is_image:
            raise model.fail("a classifier takes one image: 4 dimensions, of which the last or the second is 1 or 3")
        self._channels_first = tensor.shape[3] not in (1, 3)
        height, width, channels = tensor.shape[1:] if not self._channels_first else (*tensor.shape[2:], tensor.shape[1])
        if height < 1 or width < 1:
            raise model.fail("the size of the image is open, and one is needed")
        self.size = (width, height)
        self._mode = "RGB" if channels == 3 else "L"
        self._type = tensor.type
        if tensor.type not in ("float32", "float16", "uint8", "int8"):
            raise model.fail(f"pixels of type {tensor.type} are not known; float32, float16, uint8 and int8 are")
        mean, std = model.told.mean, model.told.std
        if wanted:
            low, high = wanted
            mean, std = [-low * 255 / (high - low)], [255 / (high - low)]
        self._mean, self._std = np.array(mean or [0.0], np.float32), np.array(std or [255.0], np.float32)

    def of(self, data: bytes, name: str) -> NDArray[Any]:
        """The image file `data`. Raises BadRequestError where it is none, or too large."""
        image = np.asarray(self._decoded(data, name), np.float32)
        image = image[:, :, None] if image.ndim == 2 else image
        match self._type:
            case "uint8":
                values = image
            case "int8":
                values = image - 128
            case _:
                values = (image - self._mean) / self._std
        return values.transpose(2, 0, 1) if self._channels_first else values

    def _decoded(self, data: bytes, name: str) -> Any:
        from PIL.Image import Resampling

        image = decoded(data, name, self._mode, PIXELS_LIMIT, name, self.size)
        return image.resize(self.size, Resampling.BILINEAR)


def check_installed() -> None:
    """Raises EngineLoadError where images cannot be decoded."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise EngineLoadError(f"ENGINE=litert: pillow is not installed ({error}). {TO_INSTALL}") from None
