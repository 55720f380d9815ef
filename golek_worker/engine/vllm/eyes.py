"""How does a model of Hugging Face's see, in vLLM?

Each mark in a prompt becomes the placeholder that the model's class names; vLLM's processor for the model makes as many
tokens of it as the image has. That is done here, before the sequence runs, so that they are counted as any others.
Requests are read one after the other: a decoded image is many times its file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from vllm.model_executor.model_loader import get_model_cls

from golek_wire.errors import BadRequestError, InferenceServiceError
from golek_worker.engine.image_files import decoded
from golek_worker.engine.vllm import placeholders
from golek_worker.engine.vllm.config import VLLMConfig
from golek_worker.engine.vllm.runtime import Runtime
from golek_worker.image_marks import places

PARAM = "messages"


class Seen(NamedTuple):
    """A prompt as vLLM takes it."""

    given: Any
    """vLLM's own form, with the images as the model's tower takes them."""
    tokens: list[int]
    of_images: int
    """How many of them stand for images."""


class Eyes:
    """What a loaded model reads images with."""

    def __init__(self, runtime: Runtime, names: Sequence[str], most_pixels: int) -> None:
        """`names`: the placeholders of the first image, the second, …; as many as a prompt may have."""
        self._runtime = runtime
        self._placeholders = names
        self._most_pixels = most_pixels
        self._lock = asyncio.Lock()

    @classmethod
    def find(cls, runtime: Runtime, config: VLLMConfig) -> Eyes | None:
        """None where the model reads text alone, or has no placeholder for an image."""
        model = runtime.config.model_config
        if not model.supports_multimodal_inputs:
            return None
        limit = runtime.llm.renderer.get_mm_processor().info.allowed_mm_limits.get("image", 0)
        name = get_model_cls(model).get_placeholder_str
        found = [name("image", number) for number in range(1, limit + 1)]
        return cls(runtime, found, config.max_pixels) if found and all(found) else None

    @property
    def names(self) -> set[str]:
        """What stands for an image wherever it is written: the placeholders, and the tokens that they are made of."""
        added = self._runtime.llm.get_tokenizer().get_added_vocab()
        return {*self._placeholders, *(name for name in added if any(name in one for one in self._placeholders))}

    def written(self, prompt: str, cuts: Sequence[int], images: int) -> tuple[str, list[int]]:
        """`prompt` with a placeholder for each mark, and where it is cut. Raises BadRequestError for other numbers."""
        if images > len(self._placeholders):
            raise BadRequestError(
                f"{images} images; this model reads at most {len(self._placeholders)} of one request: send fewer",
                param=PARAM,
                limit=len(self._placeholders),
            )
        marks = places(prompt, cuts)
        if len(marks) != images:
            raise BadRequestError(f"{images} images came with a prompt that has a place for {len(marks)}", param=PARAM)
        return placeholders.put(prompt, cuts, marks, self._placeholders)

    async def look(self, tokens: list[int], images: Sequence[bytes]) -> Seen:
        """`tokens`, with the images where their placeholders stand. Raises BadRequestError for what cannot be read."""
        async with self._lock:
            pictures = [
                await asyncio.to_thread(
                    decoded, data, f"Image {number} of {len(images)}", "RGB", self._most_pixels, PARAM
                )
                for number, data in enumerate(images, 1)
            ]
            prompt = {"prompt_token_ids": tokens, "multi_modal_data": {"image": pictures}}
            try:
                # Past the cache whose twin is EngineCore's: it would miss what is refused between here and there.
                given = await self._runtime.llm.renderer.process_for_engine_async(
                    prompt, time.time(), skip_mm_cache=True
                )
            except InferenceServiceError:
                raise
            except Exception as error:  # noqa: BLE001 - each model's processor raises what comes
                raise BadRequestError(
                    f"This model cannot read the images: {error or type(error).__name__}", param=PARAM
                ) from None
        ranges = [(one.offset, one.offset + one.length) for one in given["mm_placeholders"].get("image", ())]
        found = list(given["prompt_token_ids"])
        if len(ranges) != len(images) or not placeholders.are_all(tokens, found, ranges):
            raise BadRequestError(
                "This model's placeholder of an image is not found among the tokens around it; leave the images out, "
                "or ask another model",
                param=PARAM,
            )
        return Seen(given, found, sum(end - start for start, end in ranges))
