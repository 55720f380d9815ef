"""How do several sequences share one model?

Each step computes the next token of every sequence that writes, all in one batch, then reads on in the prompts of those
that wait. Prompts are read chunk by chunk in turn, for a bounded time while others write, so that streams never stall
long.

On a CPU, what a sequence writes does not depend on what runs beside it: its cache is its own, its prompt is cut the
same way each time, and where llama.cpp computes single rows with other code than rows together, a row that would be
alone gets a companion that is thrown away. On a GPU the last bits of a batch depend on its size.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic

import msgspec
import psutil

from golek_wire.errors import BadRequestError, InvalidGrammarError
from golek_wire.replies import FinishReason
from golek_worker.engine.base import (
    AdapterChanged,
    Embed,
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
from golek_worker.engine.budget import check_least, tokens_left
from golek_worker.engine.llamacpp import probe
from golek_worker.engine.llamacpp.adapters import Adapters
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.logprobs import scores
from golek_worker.engine.llamacpp.meter import Meter
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.llamacpp.sampling import Sampler
from golek_worker.engine.llamacpp.scheduler import decode_rows, lone_rows, of_adapter
from golek_worker.engine.llamacpp.sequence import NO_SLOT, Sequence
from golek_worker.engine.llamacpp.threads import thread_count
from golek_worker.engine.llamacpp.writing import Writing

CHUNK_CPU = 64
CHUNK_GPU = 512
"""Prompt tokens computed by one call: few on a CPU, where a chunk of a large model takes a second."""
PREFILL_BESIDE_S = 0.05
"""After this time no further chunk is started while sequences write …"""
PREFILL_ALONE_S = 0.25
"""… and after this one when none does, so that commands are read."""


Output = tuple[str, Piece] | SequenceEnd


class LlamaCppEngine:
    """Continuous batching over one GGUF model."""

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        """Load the model and see what it can do. Raises EngineLoadError."""
        self._model = model = Model(config, progress)
        try:
            self._load(config)
        except EngineLoadError:
            model.close()  # its memory is wanted where another device is tried next
            raise

    def _load(self, config: EngineConfig) -> None:
        """Make the cache and see what the model can do."""
        model = self._model
        ctx_size = model.context_size(config.ctx_size)
        cores = psutil.cpu_count(logical=False) or 1
        threads = thread_count(config.threads, cores, model.size_bytes)
        self._chunk_size = CHUNK_GPU if model.on_gpu else CHUNK_CPU
        batch_size = max(self._chunk_size, 2 * config.slots)
        self._context = Context(model, config.slots, ctx_size, threads, batch_size)
        try:
            capabilities = probe.capabilities(model, self._context)
        except EngineLoadError:
            self._context.close()
            raise
        self._pair_lone_rows = self._context.lone_row_differs() and config.slots > 1
        self._context.decode_s = 0.0  # what was tried before is nobody's
        self._adapters = Adapters(model, self._context.handle)
        self._meter = Meter()
        self._sequences: dict[str, Sequence] = {}
        self._waiting: deque[Sequence] = deque()
        self._reading: deque[Sequence] = deque()
        self._writing: dict[int, Sequence] = {}
        self._idle = list(range(config.slots))
        self.ready = Ready(
            info=msgspec.structs.replace(model.info, context_size=ctx_size),
            capabilities=capabilities,
            device=model.placement.text,
            offloaded_layers=model.placement.offloaded,
            layers=model.layers,
            slots=config.slots,
            ctx_size=ctx_size,
            chat_template=model.chat_template,
            bos_token=model.bos_text,
            eos_token=model.eos_text,
        )

    @property
    def running(self) -> int:
        """Sequences submitted and not ended, those that wait included."""
        return len(self._sequences)

    def submit(self, command: Submit | Embed) -> Finished | None:
        """Take a sequence, or its end when a resumed text uses up its tokens.

        Raises ContextBudgetExceededError, UnknownGrammarError, InvalidGrammarError, BadRequestError (empty prompt, an
        `Embed`, a text to resume that model or grammar would not write), AdapterNotFoundError.
        """
        if isinstance(command, Embed):
            raise BadRequestError("This model writes text; it makes no vectors")
        adapter = self._adapters.find(command.adapter)
        check_least(self._model.least_tokens(command.prompt, self.ready.ctx_size), self.ready.ctx_size)
        prompt = self._model.tokenize(command.prompt)
        written = self._written(command)
        counted = (command.resume and command.resume.tokens_out) or len(written)
        left = tokens_left(len(prompt), command.params.max_tokens, self.ready.ctx_size, len(written), counted)
        if command.resume is not None and left == 0:
            return Finished(command.job_id, command.resume.text, "length", len(prompt), counted)
        scored = scores(self._model, command)
        sampler = Sampler(self._model, command.params, command.seed, prompt, written, command.constraint, scored)
        writing = Writing(self._model, command)
        sequence = Sequence(command, prompt + written, len(prompt), sampler, writing, monotonic())
        sequence.adapter = self._adapters.take(adapter)
        sequence.tokens_out, sequence.limit = counted, counted + left
        self._sequences[command.job_id] = sequence
        self._waiting.append(sequence)
        return None

    def cancel(self, job_id: str) -> Stopped | None:
        """End a sequence now; None when it is not running."""
        sequence = self._sequences.get(job_id)
        if sequence is None:
            return None
        self._remove(sequence)
        return Stopped(job_id, sequence.tokens_in, sequence.tokens_out)

    def step(self) -> Iterator[Output]:
        """The next token of each writing sequence, then a bounded part of the prompts that are read."""
        self._admit()
        adapter = self._adapters.turn([*self._writing.values(), *self._reading])
        slots = of_adapter(self._writing, adapter)
        deadline = monotonic() + (PREFILL_BESIDE_S if slots else PREFILL_ALONE_S)
        if slots:
            self._meter.decode_steps += 1
            yield from self._write(slots)
        while reading := next((s for s in self._reading if s.adapter is adapter), None):
            self._reading.remove(reading)
            yield from self._read(reading)
            if monotonic() >= deadline:
                return

    def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """Load or take away a LoRA adapter; sequences that have the old one go on with it."""
        return self._adapters.change(command)

    def gauges(self) -> Gauges:
        """What it measures of itself."""
        meter = self._meter
        running = [s for s in self._sequences.values() if s.slot != NO_SLOT]
        return Gauges(
            running=len(running),
            waiting=len(self._waiting),
            kv_cells=sum(s.position for s in running),
            kv_capacity=self._context.cells * self.ready.slots,
            prompt_tokens=meter.prompt_tokens,
            tokens_out=meter.tokens_out,
            decode_steps=meter.decode_steps,
            batch_rows=meter.batch_rows,
            busy_s=meter.busy_s,
            decode_s=self._context.decode_s,
        )

    def close(self) -> None:
        """Free cache and weights."""
        for sequence in list(self._sequences.values()):
            self._remove(sequence)
        self._adapters.close()
        self._context.close()
        self._model.close()

    def _written(self, command: Submit) -> list[int]:
        """The tokens of the answer that are there already."""
        if command.resume is None:
            return []
        opening = self._model.tokenize_written(command.output.opening, named=True) if command.output.opening else []
        return opening + self._model.tokenize_written(command.resume.text, named=command.output.form == "special")

    def _admit(self) -> None:
        """Give idle slots to those that have waited longest."""
        while self._waiting and self._idle:
            sequence = self._waiting.popleft()
            sequence.slot = heapq.heappop(self._idle)
            sequence.admitted_at = monotonic()
            self._meter.begin()
            self._meter.prompt_tokens += sequence.tokens_in
            self._reading.append(sequence)

    def _write(self, slots: list[int]) -> Iterator[Output]:
        """One token of the writing sequences in `slots`, which are of one adapter."""
        rows = decode_rows(slots, self._idle)
        writers = list(map(self._writing.get, rows))
        tokens = [w.last_token if w else 0 for w in writers]
        positions = [w.position if w else 0 for w in writers]
        outputs = [w is not None for w in writers]
        companions = lone_rows(rows) if self._pair_lone_rows else set()
        for slot in sorted(companions):
            tokens.append(0)
            positions.append(self._writing[slot].position + 1)
            rows.append(slot)
            outputs.append(True)  # without logits the last layer would leave it out
        self._context.decode(tokens, positions, rows, outputs)
        self._meter.batch_rows += len(slots)
        for slot in companions:
            self._context.forget(slot, self._writing[slot].position + 1)
        for row, writer in enumerate(writers):
            if writer is None:
                self._context.forget(rows[row])
            else:
                writer.position += 1
                yield from self._take(writer, row)

    def _read(self, sequence: Sequence) -> Iterator[Output]:
        """The next chunk of a prompt; after the last one, the first token of the answer."""
        start = sequence.position
        stop = min(start + self._chunk_size, len(sequence.given))
        ends = stop == len(sequence.given)
        size = stop - start
        outputs = [False] * size
        outputs[-1] = ends
        self._context.decode(sequence.given[start:stop], list(range(start, stop)), [sequence.slot] * size, outputs)
        sequence.position = stop
        if ends:
            self._writing[sequence.slot] = sequence
            sequence.began_at = monotonic()
            yield from self._take(sequence, size - 1)
        else:
            self._reading.append(sequence)

    def _take(self, sequence: Sequence, row: int) -> Iterator[Output]:
        """Draw the token that follows `row`; yield its text and, if so, the sequence's end."""
        try:
            token = sequence.sampler.sample(self._context, row)
        except InvalidGrammarError as error:
            self._remove(sequence)
            yield refusal(sequence.job_id, error)
            return
        piece: Piece
        reason: FinishReason | None
        if token in sequence.sampler.ends:
            piece, reason = sequence.writing.end(), "stop"
        else:
            piece, reason = sequence.write(token)
            self._meter.tokens_out += 1
        if sequence.sampler.scores is not None:
            piece = sequence.sampler.scores.join(piece)
        if piece and sequence.stream:
            yield sequence.job_id, piece
        if reason is not None:
            self._remove(sequence)
            yield sequence.finished(reason, monotonic())

    def _remove(self, sequence: Sequence) -> None:
        """Free what the sequence holds; its slot is idle."""
        del self._sequences[sequence.job_id]
        sequence.sampler.close()
        self._adapters.give_back(sequence.adapter)
        if sequence.slot == NO_SLOT:
            self._waiting.remove(sequence)
            return
        if self._writing.pop(sequence.slot, None) is None and sequence in self._reading:
            self._reading.remove(sequence)
        self._context.forget(sequence.slot)
        heapq.heappush(self._idle, sequence.slot)
        if len(self._idle) == self.ready.slots:
            self._meter.pause()
