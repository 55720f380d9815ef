"""How do many texts that are pooled run quickly, and fairly between jobs?

A job is a list of texts. Each step takes texts from the waiting jobs in turn, one of each, until the batch is full, and
computes them together: a short job does not wait behind a long one. What a text is, and what is made of its row of
numbers, is said by the engines above this: vectors in embedding.py, scores of pairs in ranking.py.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from golek_wire.errors import ContextBudgetExceededError, InternalError, ModelBusyError
from golek_wire.signals import ModelInfo
from golek_worker.engine.base import (
    AdapterChanged,
    Computed,
    EngineConfig,
    EngineLoadError,
    Finished,
    Gauges,
    LoadAdapter,
    Piece,
    SequenceEnd,
    SequenceStart,
    Stopped,
    UnloadAdapter,
    refusal,
)
from golek_worker.engine.llamacpp.batches import BATCH_GPU, TEXTS, batch_tokens
from golek_worker.engine.llamacpp.lanes import Lanes
from golek_worker.engine.llamacpp.meter import Meter
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.llamacpp.threads import thread_count, usable_cores

Value = TypeVar("Value")
"""What is made of a text."""


class PooledEngine(ABC, Generic[Value]):
    """Batches over one GGUF model that makes a row of numbers of a text."""

    capability: str

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        """Load the model and try it. Raises EngineLoadError, also when that gives nothing of use."""
        self._model = model = Model(config, progress)
        try:
            self._open(config, progress)
        except EngineLoadError:
            model.close()  # its memory is wanted where another device is tried next
            raise

    # -- what the engines differ in ----------------------------------------------------------------------------

    @abstractmethod
    def _check(self) -> None:
        """Raise EngineLoadError for a model that this engine is not for."""

    @abstractmethod
    def _about(self, info: ModelInfo) -> ModelInfo:
        """What the model is, told by this engine."""

    @abstractmethod
    def _texts(self, command: SequenceStart) -> list[list[int]]:
        """The tokens of a job's texts. Raises what `submit` does."""

    @abstractmethod
    def _value(self, row: NDArray[np.float32]) -> Value | None:
        """What is made of a text's row; None when it is of no use."""

    @abstractmethod
    def _made(self, job: "Job[Value]") -> Computed:
        """The end of a job whose texts are all computed."""

    @abstractmethod
    def _name(self, i: int) -> str:
        """The request's field that text `i` comes from."""

    @abstractmethod
    def _sample(self) -> list[int]:
        """The tokens of a text to try the model with."""

    # -- what they have in common ------------------------------------------------------------------------------

    def _open(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        """Make the contexts and see that they give something."""
        model = self._model
        self._check()
        ctx_size = model.context_size(config.ctx_size)
        threads = thread_count(config.threads, usable_cores(), model.size_bytes)
        self._batch_tokens = BATCH_GPU if model.on_gpu else batch_tokens(model.parameters, threads)
        self._lanes = Lanes(model, max(ctx_size, self._batch_tokens), threads, progress)
        self._jobs: dict[str, Job[Value]] = {}
        self._waiting: deque[Job[Value]] = deque()
        self._meter = Meter()
        ready = model.ready(config.slots, ctx_size, [self.capability])
        self.ready = msgspec.structs.replace(ready, info=self._about(ready.info))
        try:
            self._try()
        except EngineLoadError:
            self._lanes.close()
            raise

    @property
    def running(self) -> int:
        """Jobs admitted and not ended."""
        return len(self._jobs)

    def submit(self, command: SequenceStart) -> Finished | None:
        """Admit a job.

        Raises ContextBudgetExceededError (a text is too long; nothing is cut off), ModelBusyError (no slot is free),
        BadRequestError (nothing to compute, a command of another kind), and what the engine's own `_texts` does.
        """
        if len(self._jobs) >= self.ready.slots:
            raise ModelBusyError(f"All {self.ready.slots} slots are taken")
        self._jobs[command.job_id] = job = Job[Value](command.job_id, self._texts(command))
        self._waiting.append(job)
        self._meter.begin()
        return None

    def cancel(self, job_id: str) -> Stopped | None:
        """End a job now; None when it is not running."""
        job = self._remove(job_id)
        return None if job is None else Stopped(job_id, job.tokens_in, 0)

    def step(self) -> Iterator[tuple[str, Piece] | SequenceEnd]:
        """Compute one batch; yield the jobs whose last text was in it."""
        batch = self._pack()
        if not batch:
            return
        began = monotonic()
        rows = self._lanes.vectors([job.texts[i] for job, i in batch])
        self._meter.decode_s += monotonic() - began
        for (job, i), row in zip(batch, rows, strict=True):
            if job.job_id not in self._jobs:
                continue  # another of its texts was refused in this batch
            self._meter.prompt_tokens += len(job.texts[i])
            value = self._value(row)
            if value is None:
                self._remove(job.job_id)
                why = InternalError(f"The model gave nothing of use for {self._name(i)}: {_why(row)}")
                yield refusal(job.job_id, why)
                continue
            job.values.append(value)
            if len(job.values) == len(job.texts):
                self._remove(job.job_id)
                yield self._made(job)

    def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """There are none."""
        return AdapterChanged(command.name, [], "this engine takes no adapters")

    def gauges(self) -> Gauges:
        """What it measures of itself; it writes no tokens and keeps none."""
        return Gauges(
            running=len(self._jobs),
            prompt_tokens=self._meter.prompt_tokens,
            busy_s=self._meter.busy_s,
            decode_s=self._meter.decode_s,
        )

    def close(self) -> None:
        """Free buffers and weights."""
        self._jobs.clear()
        self._waiting.clear()
        self._lanes.close()
        self._model.close()

    def _pack(self) -> list[tuple["Job[Value]", int]]:
        """The texts of the next batch, one of each waiting job in turn; at least one, however long it is.

        A job whose text does not fit any more is the first of the next batch.
        """
        batch: list[tuple[Job[Value], int]] = []
        room = self._batch_tokens
        while self._waiting and len(batch) < TEXTS:
            job = self._waiting[0]
            length = len(job.texts[job.taken])
            if batch and length > room:
                break
            room -= length
            batch.append((job, job.taken))
            job.taken += 1
            self._waiting.popleft()
            if job.taken < len(job.texts):
                self._waiting.append(job)
        return batch

    def _remove(self, job_id: str) -> "Job[Value] | None":
        job = self._jobs.pop(job_id, None)
        if job is not None and job.taken < len(job.texts):
            self._waiting.remove(job)
        if not self._jobs:
            self._meter.pause()
        return job

    def _least_tokens(self, i: int, text: str) -> None:
        """Refuse a text whose beginning alone is too long."""
        if least := self._model.least_tokens(text, self.ready.ctx_size):
            raise self._too_long(i, f"at least {least}", least)

    def _fitting(self, i: int, tokens: list[int]) -> list[int]:
        """`tokens` of text `i`, which are not too many."""
        if len(tokens) > self.ready.ctx_size:
            raise self._too_long(i, str(len(tokens)), len(tokens))
        return tokens

    def _too_long(self, i: int, told: str, count: int) -> ContextBudgetExceededError:
        limit, name = self.ready.ctx_size, self._name(i)
        return ContextBudgetExceededError(count, limit, self._too_long_text(name, told, limit), param=name)

    @abstractmethod
    def _too_long_text(self, name: str, told: str, limit: int) -> str:
        """What is said of a text with `told` tokens where `limit` are read."""

    def _try(self) -> None:
        """Raises EngineLoadError when nothing comes of a word."""
        path = self._model.path
        try:
            (row,) = self._lanes.vectors([self._sample()])
        except RuntimeError as error:
            raise EngineLoadError(f"{path}: it fails on a word: {error}") from None
        if self._value(row) is None:
            raise EngineLoadError(
                f"{path}: what it gives for a word is of no use: {_why(row)}. The file may be damaged."
            )


class Job(Generic[Value]):
    """A list of texts inside the engine."""

    __slots__ = ("job_id", "taken", "texts", "tokens_in", "values")

    def __init__(self, job_id: str, texts: list[list[int]]) -> None:
        self.job_id = job_id
        self.texts = texts
        self.taken = 0
        """Texts that are computed; what is made of them comes in the same order."""
        self.values: list[Value] = []
        self.tokens_in = sum(map(len, texts))


def _why(row: NDArray[np.float32]) -> str:
    return "it is all zeros" if not row.any() else "it has numbers that are none (NaN or infinite)"
