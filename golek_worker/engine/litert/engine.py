"""How do several jobs share one model of LiteRT?

A job is a list of items, texts or images. Each step takes items from the jobs in turn, one of each, until the batch is
full, and computes them together: a short job does not wait behind a long one. What an item is, and what is made of its
row, is said by the engines above this (`embedding`, `classifying`).
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, Generic, TypeVar

from golek_wire.errors import InferenceServiceError
from golek_worker.engine.base import (
    AdapterChanged,
    Computed,
    EngineConfig,
    Finished,
    Gauges,
    LoadAdapter,
    Piece,
    Ready,
    SequenceEnd,
    SequenceStart,
    Stopped,
    UnloadAdapter,
    refusal,
)
from golek_worker.engine.litert.model import Model
from golek_worker.engine.llamacpp.meter import Meter

Item = TypeVar("Item")


class Job(Generic[Item]):
    """Items of one request, and what was made of them."""

    def __init__(self, job_id: str, items: list[Item]) -> None:
        self.job_id = job_id
        self.items = items
        self.taken = 0
        """Items that are computed, or are about to be."""
        self.values: list[list[float]] = []


class LiteRTEngine(ABC, Generic[Item]):
    """Batches over one model."""

    ready: Ready

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        """Load the model. Raises EngineLoadError."""
        self._model = Model(config, progress)
        self._jobs: dict[str, Job[Item]] = {}
        self._turns: deque[Job[Item]] = deque()
        """Jobs with items that nobody has taken."""
        self._meter = Meter()

    @abstractmethod
    def _items(self, command: SequenceStart) -> list[Item]:
        """What a job is made of. Raises InferenceServiceError where it cannot be computed."""

    @abstractmethod
    def _input(self, item: Item, name: int) -> Any:
        """What is computed of item number `name`. Raises InferenceServiceError where it cannot be."""

    @abstractmethod
    def _compute(self, batch: list[Any]) -> list[list[float] | InferenceServiceError]:
        """What the model makes of them."""

    @abstractmethod
    def _made(self, job: Job[Item]) -> Computed:
        """The end of a job whose items are all computed."""

    @abstractmethod
    def _tokens(self, job: Job[Item]) -> int:
        """How many it reads."""

    @property
    def running(self) -> int:
        """Jobs admitted and not ended."""
        return len(self._jobs)

    def submit(self, command: SequenceStart) -> Finished | None:
        """Admit a job. Raises InferenceServiceError where it cannot run."""
        job = Job(command.job_id, self._items(command))
        self._jobs[job.job_id] = job
        self._turns.append(job)
        self._meter.begin()
        return None

    def cancel(self, job_id: str) -> Stopped | None:
        """End a job now; None when it is not running."""
        job = self._remove(job_id)
        return None if job is None else Stopped(job_id, self._tokens(job), 0)

    def step(self) -> Iterator[tuple[str, Piece] | SequenceEnd]:
        """Compute one batch; yield the jobs whose last item was in it, and those that cannot be computed."""
        jobs: list[Job[Item]] = []
        batch: list[Any] = []
        while self._turns and len(batch) < self._model.batch:
            job = self._turns.popleft()
            try:
                batch.append(self._input(job.items[job.taken], job.taken))
            except InferenceServiceError as error:
                self._remove(job.job_id)
                yield refusal(job.job_id, error)
                continue
            jobs.append(job)
            job.taken += 1
            if job.taken < len(job.items):
                self._turns.append(job)
        if not batch:
            return
        began = monotonic()
        values = self._compute(batch)
        self._meter.decode_s += monotonic() - began
        for job, value in zip(jobs, values, strict=True):
            if job.job_id not in self._jobs:
                continue  # another of its items was refused in this step
            if isinstance(value, InferenceServiceError):
                self._remove(job.job_id)
                yield refusal(job.job_id, value)
                continue
            job.values.append(value)
            if len(job.values) == len(job.items):
                self._remove(job.job_id)
                self._meter.prompt_tokens += self._tokens(job)
                yield self._made(job)

    def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """There are none."""
        return AdapterChanged(command.name, [], "this engine takes no adapters")

    def gauges(self) -> Gauges:
        """What it measures of itself; it writes no tokens and keeps none."""
        meter = self._meter
        return Gauges(
            running=len(self._jobs), prompt_tokens=meter.prompt_tokens, busy_s=meter.busy_s, decode_s=meter.decode_s
        )

    def close(self) -> None:
        """Free the model."""
        self._jobs.clear()
        self._turns.clear()
        self._model.close()

    def _remove(self, job_id: str) -> Job[Item] | None:
        job = self._jobs.pop(job_id, None)
        if job is not None and job in self._turns:
            self._turns.remove(job)
        if not self._jobs:
            self._meter.pause()
        return job
