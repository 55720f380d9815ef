"""How do many texts become vectors quickly, and fairly between jobs?

A job is a list of texts. Each step takes texts from the waiting jobs in turn, one of each, until the batch is full, and
computes them together: a short job does not wait behind a long one.

What a text's vector is depends on its neighbours only by the order in which numbers are summed. Measured with
all-MiniLM-L6-v2 (f32, CPU) over 50 texts of 3 to 246 tokens, alone and in shuffled batches: at most 0.00016 in any of
384 numbers (llama.cpp reads GELU from a table of 16-bit numbers, so a last bit can become that much).
"""

from collections import deque
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from golek_wire.errors import (
    BadRequestError,
    ContextBudgetExceededError,
    InternalError,
    ModelBusyError,
    PayloadTooLargeError,
)
from golek_worker.engine.base import (
    FRAME_LIMIT,
    AdapterChanged,
    Embed,
    Embedded,
    EngineConfig,
    EngineLoadError,
    Finished,
    Gauges,
    LoadAdapter,
    Piece,
    Ready,
    SequenceEnd,
    Stopped,
    Submit,
    UnloadAdapter,
    refusal,
)
from golek_worker.engine.llamacpp.batches import BATCH_GPU, TEXTS, batch_tokens
from golek_worker.engine.llamacpp.lanes import Lanes
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.llamacpp.threads import thread_count, usable_cores

DECIMALS = 8
_NUMBER_BYTES = 9
"""A float in a frame."""


class LlamaCppEmbedder:
    """Batches over one GGUF model that makes vectors."""

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        """Load the model and embed a word. Raises EngineLoadError, also when that gives no vector."""
        self._model = model = Model(config, progress)
        try:
            self._open(config, progress)
        except EngineLoadError:
            model.close()  # its memory is wanted where another device is tried next
            raise

    def _open(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        """Make the contexts and see that they give a vector."""
        model = self._model
        ctx_size = model.context_size(config.ctx_size)
        threads = thread_count(config.threads, usable_cores(), model.size_bytes)
        self._batch_tokens = BATCH_GPU if model.on_gpu else batch_tokens(model.parameters, threads)
        self._lanes = Lanes(model, max(ctx_size, self._batch_tokens), threads, progress)
        self._jobs: dict[str, _Job] = {}
        self._waiting: deque[_Job] = deque()
        info = msgspec.structs.replace(
            model.info, modalities=["embeddings"], context_size=ctx_size, embedding_size=self._lanes.width
        )
        self.ready = Ready(
            info=info,
            capabilities=["embeddings"],
            device=model.placement.text,
            offloaded_layers=model.placement.offloaded,
            layers=model.layers,
            slots=config.slots,
            ctx_size=ctx_size,
            bos_token=model.bos_text,
            eos_token=model.eos_text,
        )
        try:
            self._probe()
        except EngineLoadError:
            self._lanes.close()
            raise

    @property
    def running(self) -> int:
        """Jobs admitted and not ended."""
        return len(self._jobs)

    def submit(self, command: Submit | Embed) -> Finished | None:
        """Admit a job.

        Raises ContextBudgetExceededError (a text is too long; nothing is cut off), PayloadTooLargeError (too many
        vectors for one answer), ModelBusyError (no slot is free), BadRequestError (nothing to embed, a `Submit`).
        """
        if isinstance(command, Submit):
            raise BadRequestError(
                "This model makes vectors, it writes no text. Send the text as `input` to embedding.request.<model>"
            )
        if len(self._jobs) >= self.ready.slots:
            raise ModelBusyError(f"All {self.ready.slots} slots are taken")
        if not command.inputs:
            raise BadRequestError("There is no text in `input`", param="input")
        self._check_size(len(command.inputs))
        texts = [self._tokenize(i, text) for i, text in enumerate(command.inputs)]
        self._jobs[command.job_id] = job = _Job(command.job_id, texts)
        self._waiting.append(job)
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
        rows = self._lanes.vectors([job.texts[i] for job, i in batch])
        for (job, i), row in zip(batch, rows, strict=True):
            if job.job_id not in self._jobs:
                continue  # another of its texts was refused in this batch
            vector = unit_vector(row)
            if vector is None:
                self._remove(job.job_id)
                yield refusal(job.job_id, InternalError(f"The model gave no usable vector of input[{i}]: {_why(row)}"))
                continue
            job.vectors.append(vector)
            if len(job.vectors) == len(job.texts):
                self._remove(job.job_id)
                yield Embedded(job.job_id, [vector.tolist() for vector in job.vectors], job.tokens_in)

    def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """There are none."""
        return AdapterChanged(command.name, [], "this engine takes no adapters")

    def gauges(self) -> Gauges | None:
        """There are none."""
        return None

    def close(self) -> None:
        """Free buffers and weights."""
        self._jobs.clear()
        self._waiting.clear()
        self._lanes.close()
        self._model.close()

    def _pack(self) -> list[tuple["_Job", int]]:
        """The texts of the next batch, one of each waiting job in turn; at least one, however long it is.

        A job whose text does not fit any more is the first of the next batch.
        """
        batch: list[tuple[_Job, int]] = []
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

    def _remove(self, job_id: str) -> "_Job | None":
        job = self._jobs.pop(job_id, None)
        if job is not None and job.taken < len(job.texts):
            self._waiting.remove(job)
        return job

    def _tokenize(self, i: int, text: str) -> list[int]:
        limit = self.ready.ctx_size
        least = self._model.least_tokens(text, limit)
        tokens = self._model.tokenize_whole(text) if not least else []
        count = least or len(tokens)
        if count > limit:
            raise ContextBudgetExceededError(
                count,
                limit,
                f"input[{i}] has {'at least ' if least else ''}{count} tokens; this model embeds texts of at most "
                f"{limit}. Split it: no text is cut off silently.",
                param=f"input[{i}]",
            )
        if not tokens:
            raise BadRequestError(f"input[{i}] is empty: there is nothing to embed", param=f"input[{i}]")
        return tokens

    def _check_size(self, inputs: int) -> None:
        """The vectors of a job travel to the worker in one frame."""
        fit = (FRAME_LIMIT // 2) // (self._lanes.width * _NUMBER_BYTES)
        if inputs > fit:
            raise PayloadTooLargeError(
                f"{inputs} vectors of {self._lanes.width} numbers do not fit into one answer. "
                f"Ask for at most {fit} at once.",
                param="input",
            )

    def _probe(self) -> None:
        """Raises EngineLoadError when the model does not embed a word."""
        path = self._model.path
        try:
            (row,) = self._lanes.vectors([self._model.tokenize_whole("word")])
        except RuntimeError as error:
            raise EngineLoadError(f"{path}: it does not embed a word: {error}") from None
        if unit_vector(row) is None:
            raise EngineLoadError(f"{path}: its vector of a word is of no use: {_why(row)}. The file may be damaged.")


class _Job:
    """A list of texts inside the engine."""

    __slots__ = ("job_id", "taken", "texts", "tokens_in", "vectors")

    def __init__(self, job_id: str, texts: list[list[int]]) -> None:
        self.job_id = job_id
        self.texts = texts
        self.taken = 0
        """Texts that are computed; their vectors come in the same order."""
        self.vectors: list[NDArray[np.float64]] = []
        self.tokens_in = sum(map(len, texts))


def unit_vector(row: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """`row` with length 1, rounded to `DECIMALS`; None when it has no length, or one that is no number."""
    numbers = row.astype(np.float64)
    length = float(np.sqrt(numbers @ numbers))
    if not np.isfinite(length) or length == 0.0:
        return None
    return (numbers / length).round(DECIMALS)


def _why(row: NDArray[np.float32]) -> str:
    return "it is all zeros" if not row.any() else "it has numbers that are none (NaN or infinite)"
