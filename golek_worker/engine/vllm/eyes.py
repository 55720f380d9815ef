"""How does a model of vLLM's see?

At each mark of a prompt the words are put that the model learned for an image. vLLM's own processor makes of them as
many tokens as the image takes.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from vllm.model_executor.model_loader import get_model_cls

from golek_wire.errors import BadRequestError
from golek_worker.engine.vllm.runtime import Runtime
from golek_worker.image_marks import IMAGE_MARK, places

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""As Pillow calls what it may read: of others it knows some that start programs."""

Words = Callable[[int], str]
"""What stands in a prompt for the image of this number, counted from 1."""


def opened(runtime: Runtime) -> Eyes | None:
    """None for a model that reads text alone, or that wants its images in no place of the prompt."""
    model = runtime.config.model_config
    if not model.is_multimodal_model:
        return None
    kind = get_model_cls(model)

    def words(number: int) -> str:
        return str(kind.get_placeholder_str("image", number) or "")

    try:
        return Eyes(runtime, words) if words(1) else None
    except ValueError:  # it hears
        return None


class Eyes:
    """What a model does with images."""

    def __init__(self, runtime: Runtime, words: Words) -> None:
        self._runtime = runtime
        self._words = words

    async def look(self, tokens: Sequence[int], images: Sequence[bytes]) -> Any:
        """What vLLM is given: `tokens` with each image's own where its words stand. Raises BadRequestError."""
        pictures = await asyncio.to_thread(_decoded, images)
        prompt = {"prompt_token_ids": list(tokens), "multi_modal_data": {"image": pictures}}
        try:
            return await self._runtime.llm.renderer.process_for_engine_async(prompt, time.time())
        except (ValueError, RuntimeError) as error:
            raise BadRequestError(f"vLLM cannot read the images: {error}", param="messages") from None

    def worded(self, prompt: str, cuts: Sequence[int], images: int) -> tuple[str, list[int]]:
        """`prompt` with words in place of marks, and where its cuts are then. Raises BadRequestError."""
        marks = places(prompt, cuts)
        if len(marks) != images:
            raise BadRequestError(f"{images} images came with a prompt that has a place for {len(marks)}")
        text, moved, at = "", list[int](), 0
        for number, mark in enumerate([*marks, len(prompt)], 1):
            moved += [cut - at + len(text) for cut in cuts if at <= cut <= mark]
            text += prompt[at:mark] + (self._words(number) if mark < len(prompt) else "")
            at = mark + len(IMAGE_MARK)
        return text, moved


def _decoded(images: Sequence[bytes]) -> list[Image.Image]:
    return [_picture(data, number) for number, data in enumerate(images, 1)]


def _picture(data: bytes, number: int) -> Image.Image:
    """Its first frame, on white where it can be seen through. Raises BadRequestError."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if not image.has_transparency_data:
                return image.convert("RGB")
            shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadRequestError(
            f"Image {number}: its {len(data)} bytes cannot be read: {error}; send it again, whole", param="messages"
        ) from None
