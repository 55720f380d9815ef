"""How does vLLM make vectors?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import numpy as np
from vllm import PoolingParams
from vllm.inputs import tokens_input

from golek_wire.errors import BadRequestError, ContextBudgetExceededError, InternalError
from golek_worker.engine.asynchronous import Counts
from golek_worker.engine.base import (
    AdapterChanged,
    Computed,
    Embed,
    Embedded,
    EngineConfig,
    Gauges,
    LoadAdapter,
    Piece,
    Ready,
    SequenceStart,
    UnloadAdapter,
)
from golek_worker.engine.unit import embeds, unit_vector
from golek_worker.engine.vllm import about
from golek_worker.engine.vllm.engine import LARGE, vocabulary
from golek_worker.engine.vllm.runtime import Runtime


class VLLMEmbedder:
    """A model of Hugging Face's that makes vectors."""

    def __init__(self, runtime: Runtime, config: EngineConfig) -> None:
        self._runtime = runtime
        self._vocabulary = vocabulary(runtime)
        self.ready = Ready(
            info=about.info(runtime, Path(config.model_path), ["embeddings"]),
            capabilities=["embeddings"],
            device=about.device(),
            slots=config.slots,
            ctx_size=runtime.config.model_config.max_model_len,
        )

    @classmethod
    async def open(cls, config: EngineConfig, progress: Callable[[int, int], None]) -> VLLMEmbedder:
        """Raises EngineLoadError."""
        return cls(await Runtime.open(config, progress), config)

    async def run(self, command: SequenceStart, counts: Counts) -> AsyncGenerator[Piece | Computed, None]:
        """The vectors of the inputs.

        Raises ContextBudgetExceededError (nothing is cut off), BadRequestError (nothing to embed, another command),
        InternalError where the model gives no numbers, EngineDiedError.
        """
        asked = embeds(command)
        is_large = sum(map(len, asked.inputs)) > LARGE
        texts = await asyncio.to_thread(self._texts, asked) if is_large else self._texts(asked)
        counts.tokens_in = sum(map(len, texts))
        try:
            async with asyncio.TaskGroup() as tasks:
                made = [
                    tasks.create_task(self._vector(f"{asked.job_id}.{i}", i, tokens)) for i, tokens in enumerate(texts)
                ]
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        self._runtime.meter.ended(counts.tokens_in, 0)
        yield Embedded(
            asked.job_id, [one.result() for one in made], counts.tokens_in, [len(tokens) for tokens in texts]
        )

    async def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """There are none."""
        return AdapterChanged(command.name, [], "this engine takes no adapters")

    async def watch(self) -> None:
        """Raise EngineDiedError when vLLM is gone or no longer moves."""
        await self._runtime.watch()

    def gauges(self) -> Gauges:
        """What vLLM measures of itself."""
        return self._runtime.meter.gauges()

    async def close(self) -> None:
        """End vLLM's processes."""
        await self._runtime.close()

    def _texts(self, command: Embed) -> list[list[int]]:
        return [self._tokens(f"input[{i}]", text) for i, text in enumerate(command.inputs)]

    def _tokens(self, name: str, text: str) -> list[int]:
        limit = self.ready.ctx_size
        self._vocabulary.check_length(text, limit, name)
        if not text:
            raise BadRequestError(f"{name} is empty: there is nothing to embed", param=name)
        tokens = self._vocabulary.whole(text)
        if len(tokens) > limit:
            raise ContextBudgetExceededError(
                len(tokens),
                limit,
                f"{name} has {len(tokens)} tokens; this model embeds texts of at most {limit}. "
                "Split it: no text is cut off silently.",
                param=name,
            )
        return tokens

    async def _vector(self, request_id: str, i: int, tokens: list[int]) -> list[float]:
        with self._runtime.errors():
            outputs = self._runtime.llm.encode(tokens_input(tokens), PoolingParams(task="embed"), request_id)
            *_, last = [output async for output in outputs]
        vector = unit_vector(last.outputs.data.float().numpy().astype(np.float64))
        if vector is None:
            raise InternalError(f"The model gave nothing of use for input[{i}]: no numbers, or all of them 0")
        numbers: list[float] = vector.tolist()
        return numbers
