"""What does an image show, by a classifier of LiteRT's?

Its labels are the lines of `labels.txt` beside the model's file, or in the file's metadata; without either they are
numbers. What a model gives that ends with a softmax or a sigmoid are probabilities; of others the softmax is taken.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from golek_wire.errors import BadRequestError, InferenceServiceError, InternalError
from golek_wire.signals import ModelInfo
from golek_worker import tflite
from golek_worker.engine.base import Classified, Classify, EngineConfig, Ready, SequenceStart
from golek_worker.engine.litert import pixels
from golek_worker.engine.litert.engine import Job, LiteRTEngine
from golek_worker.engine.litert.model import Rows, only
from golek_worker.engine.litert.pixels import Pixels

LABELS: Final = "labels.txt"


class LiteRTClassifier(LiteRTEngine[bytes]):
    """A `.tflite` model that says what images show."""

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        super().__init__(config, progress)
        model = self._model
        pixels.check_installed()
        self._pixels = Pixels(model, config.pixel_range)
        output = only(model.outputs, (2, 4))
        if output is None:
            raise model.fail("a classifier gives one number for each label")
        self._output = output
        self._gives_probabilities = model.told.ends_with in tflite.PROBABILITIES
        count = len(self._try())
        labels = self._labels(count)
        info = ModelInfo(
            architecture="tflite", modalities=["image"], model_family="tflite", size_bytes=model.told.size_bytes
        )
        self.ready = Ready(info, ["image-classification"], "cpu", config.slots, 0, labels=labels)

    def _labels(self, count: int) -> list[str]:
        file = self._model.path.parent / LABELS
        try:
            text = file.read_text("utf-8") if file.is_file() else tflite.attached(self._model.path, "label")
        except UnicodeDecodeError as error:
            raise self._model.fail(f"its labels are no UTF-8: {error}") from None
        if text is None:
            return [str(i) for i in range(count)]
        labels = text.splitlines()
        if len(labels) != count:
            where = file if file.is_file() else f"{LABELS} in the metadata"
            raise self._model.fail(f"{where} has {len(labels)} lines, the model gives {count} numbers")
        return labels

    def _items(self, command: SequenceStart) -> list[bytes]:
        if not isinstance(command, Classify):
            raise BadRequestError(
                "This model says what images show, it reads no texts. Send images to vision.request.<model>"
            )
        if not command.images:
            raise BadRequestError("There is no image in `images`", param="images")
        return command.images

    def _input(self, item: bytes, name: int) -> Rows:
        return self._pixels.of(item, f"images[{name}]")

    def _compute(self, batch: list[Any]) -> list[list[float] | InferenceServiceError]:
        rows = self._model.compute([np.stack(batch)], self._output).reshape(len(batch), -1).astype(np.float64)
        if not self._gives_probabilities:
            rows = np.exp(rows - rows.max(axis=1, keepdims=True))
            rows /= rows.sum(axis=1, keepdims=True)
        return [
            row.tolist() if np.isfinite(row).all() else InternalError("The model gave numbers that are none (NaN)")
            for row in rows
        ]

    def _made(self, job: Job[bytes]) -> Classified:
        return Classified(job.job_id, job.values)

    def _tokens(self, job: Job[bytes]) -> int:  # noqa: ARG002 - images have none
        return 0

    def _try(self) -> list[float]:
        """The scores of a grey image. Raises EngineLoadError when nothing comes of it."""
        shape = [1, *self._model.inputs[0].shape[1:]]
        try:
            (value,) = self._compute([np.zeros(shape[1:], np.float32)])
        except (RuntimeError, ValueError) as error:
            raise self._model.fail(f"it fails on an image: {error}") from None
        if isinstance(value, InferenceServiceError):
            raise self._model.fail(value.message)
        return value
