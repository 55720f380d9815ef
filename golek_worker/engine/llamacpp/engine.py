"""How do several sequences share one model?

Each step computes the next token of every sequence that writes, all in one batch, then reads on in the prompts of
others, as many tokens as fit into the time that those who write may be kept waiting. What is in the cache already is
not computed again.

What a sequence computes depends on its neighbours in the last bits only, as everywhere in llama.cpp: its kernels are
chosen by the number of rows (docs/decisions/0020).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Listed
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from golek_wire.errors import BadRequestError, InferenceServiceError, InvalidGrammarError
from golek_wire.replies import FinishReason
from golek_worker.engine.base import (
    AdapterChanged,
    EngineConfig,
    EngineLoadError,
    Finished,
    Gauges,
    LoadAdapter,
    Piece,
    SequenceEnd,
    SequenceStart,
    Stopped,
    Submit,
    UnloadAdapter,
    refusal,
)
from golek_worker.engine.budget import check_least, tokens_left
from golek_worker.engine.llamacpp import looking, probe
from golek_worker.engine.llamacpp.adapters import Adapters
from golek_worker.engine.llamacpp.cache import Cache, Place
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.logprobs import scores
from golek_worker.engine.llamacpp.looking import Looking
from golek_worker.engine.llamacpp.meter import Meter
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.llamacpp.reading import Reader, is_seen, written
from golek_worker.engine.llamacpp.sampling import Sampler
from golek_worker.engine.llamacpp.scheduler import READ_BATCH, decode_rows, of_adapter
from golek_worker.engine.llamacpp.sequence import NO_SLOT, Sequence
from golek_worker.engine.llamacpp.threads import thread_count, usable_cores
from golek_worker.engine.writing import Writing

if TYPE_CHECKING:
    from concurrent.futures import Future

    from golek_worker.engine.llamacpp.eyes import Image, Read

Output = tuple[str, Piece] | SequenceEnd


class LlamaCppEngine:
    """Continuous batching over one GGUF model."""

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        """Load the model and see what it can do. Raises EngineLoadError."""
        self._model = model = Model(config, progress)
        self._looking = Looking()
        try:
            self._load(config)
        except EngineLoadError:
            self._looking.close()
            model.close()  # its memory is wanted where another device is tried next
            raise

    def _load(self, config: EngineConfig) -> None:
        """Make the cache and see what the model can do."""
        model = self._model
        ctx_size = model.context_size(config.ctx_size)
        threads = thread_count(config.threads, usable_cores(), model.size_bytes)
        batch_size = max(READ_BATCH, config.slots)
        self._looking = looking.opened(config.projector_path, model, threads, batch_size)
        self._context = Context(model, config.slots, ctx_size, threads, batch_size)
        try:
            capabilities = probe.capabilities(model, self._context)
        except EngineLoadError:
            self._context.close()
            raise
        self._cache = Cache(config.slots, self._context.cells, keeps=self._context.can_cut())
        self._reader = Reader(self._context, model.parameters, threads)
        self._context.decode_s = 0.0  # what was tried before is nobody's
        self._adapters = Adapters(model, self._context.handle)
        self._meter = Meter()
        self._sequences: dict[str, Sequence] = {}
        self._waiting: deque[Sequence] = deque()
        self._reading: deque[Sequence] = deque()
        self._writing: dict[int, Sequence] = {}
        self._running: dict[int, Sequence] = {}
        """By slot, those that read or write."""
        self.ready = msgspec.structs.replace(
            model.ready(config.slots, ctx_size, capabilities, sees=self._looking.sees),
            chat_template=model.chat_template,
            control_names=model.control_names,
        )

    @property
    def running(self) -> int:
        """Sequences submitted and not ended, those that wait included."""
        return len(self._sequences) + len(self._looking)

    def submit(self, command: SequenceStart) -> Finished | None:
        """Take a sequence, or its end when nothing is to be written: no token is wanted, or a resumed text had all.

        Raises ContextBudgetExceededError, UnknownGrammarError, InvalidGrammarError, BadRequestError (empty prompt, an
        `Embed` or `Rank`, a text to resume that model or grammar would not write), AdapterNotFoundError.
        """
        if not isinstance(command, Submit):
            raise BadRequestError("This model writes text; it makes no vectors and ranks nothing")
        self._adapters.find(command.adapter)
        check_least(self._model.least_tokens(command.prompt, self.ready.ctx_size), self.ready.ctx_size)
        if command.resume is not None:
            least = self._model.least_tokens(command.resume.text, self.ready.ctx_size)
            check_least(least, self.ready.ctx_size, "resume.text")
        if command.images:
            self._looking.begin(command, monotonic())
            return None
        return self._begin(command, monotonic(), self._model.tokenize(command.prompt, command.cuts))

    def _begin(self, command: Submit, now: float, prompt: list[int], images: Listed[Image] = ()) -> Finished | None:
        """Let a sequence wait for its slot; or its end, as `submit` says. Raises as `submit` does."""
        adapter = self._adapters.find(command.adapter)
        before = written(self._model, command)
        counted = (command.resume and command.resume.tokens_out) or len(before)
        left = tokens_left(
            len(prompt), command.params.max_tokens, self.ready.ctx_size, len(before), counted, command.least_room,
            sum(image.tokens for image in images),
        )  # fmt: skip
        if left == 0:
            text = command.resume.text if command.resume is not None else ""
            return Finished(command.job_id, text, "length", len(prompt), counted)
        scored = scores(self._model, command)
        mark = "" if command.resume is not None else command.output.end_of_thoughts
        words = [token for token in prompt if token >= 0] if images else prompt
        sampler = Sampler(self._model, command.params, command.seed, words, before, command.constraint, scored, mark)
        writing = Writing(self._model, command)
        sequence = Sequence(command, prompt + before, len(prompt), sampler, writing, now, images)
        sequence.adapter = self._adapters.take(adapter)
        sequence.tokens_out, sequence.limit = counted, counted + left
        self._sequences[command.job_id] = sequence
        self._waiting.append(sequence)
        return None

    def cancel(self, job_id: str) -> Stopped | None:
        """End a sequence now; None when it is not running."""
        if self._looking.cancel(job_id):
            return Stopped(job_id, 0, 0)
        sequence = self._sequences.get(job_id)
        if sequence is None:
            return None
        self._remove(sequence)
        return Stopped(job_id, sequence.tokens_in, sequence.tokens_out)

    def step(self) -> Iterator[Output]:
        """The next token of each writing sequence, then a bounded part of the prompts that are read."""
        for command, submitted_at, read in self._looking.done():
            yield from self._look(command, submitted_at, read)
        self._admit()
        able = [s for s in self._reading if self._may_read(s) and is_seen(s)]
        if not able and not self._writing:
            self._looking.wait()
            return
        adapter = self._adapters.turn([*self._writing.values(), *able])
        slots = of_adapter(self._writing, adapter)
        if slots:
            self._meter.decode_steps += 1
            yield from self._write(slots)
        readers = [s for s in able if s.adapter is adapter]
        if readers:
            for reader, tokens in self._reader.chunks(readers, len(self._writing)):  # others' writers wait as well
                if reader.job_id in self._sequences:
                    yield from self._read(reader, tokens)

    def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """Load or take away a LoRA adapter; sequences that have the old one go on with it."""
        return self._adapters.change(command)

    def gauges(self) -> Gauges:
        """What it measures of itself."""
        self._meter.decode_s = self._context.decode_s
        return self._meter.gauges(
            running=len(self._running),
            waiting=len(self._waiting) + len(self._looking),
            kv_cells=sum(s.position for s in self._running.values()),
            kv_capacity=self._context.cells * self.ready.slots,
            kv_kept=self._cache.kept,
        )

    def close(self) -> None:
        """Free cache and weights."""
        for sequence in list(self._sequences.values()):
            self._remove(sequence)
        self._adapters.close()
        self._context.close()
        self._looking.close()
        self._model.close()

    def _look(self, command: Submit, submitted_at: float, read: Future[Read]) -> Iterator[Output]:
        """Begin a sequence whose images were read, or say why it cannot run."""
        try:
            end: SequenceEnd | None = self._begin(command, submitted_at, *read.result())
        except InferenceServiceError as error:
            end = refusal(command.job_id, error)
        if end is not None:
            yield end

    def _admit(self) -> None:
        """Give idle slots to those that have waited longest."""
        while self._waiting and self._cache.idle:
            sequence = self._waiting.popleft()
            place = self._cache.find(sequence.key, sequence.adapter)
            if place.leader is not None:
                sequence.leader, sequence.shared = self._running[place.leader], place.shared
            sequence.slot = place.slot
            self._prepare(sequence, place)
            self._cache.take(place.slot, sequence)
            self._running[place.slot] = sequence
            self._reading.append(sequence)
            sequence.admitted_at = monotonic()
            self._meter.begin()

    def _prepare(self, sequence: Sequence, place: Place) -> None:
        """Let the slot hold what was found of the prompt, and nothing else."""
        if place.source is not None:
            self._context.copy(place.source, place.slot)
        found = sequence.whole(place.found)
        if not self._context.forget(place.slot, sequence.place(found)):
            self._context.forget(place.slot)
            found = 0
        sequence.position = sequence.tokens_cached = found

    def _may_read(self, sequence: Sequence) -> bool:
        """False while another sequence reads the same; after that, what it has read is taken over."""
        leader = sequence.leader
        if leader is None:
            return True
        if leader.position < sequence.shared and self._running.get(leader.slot) is leader:
            return False
        sequence.leader = None
        place = self._cache.better(sequence.slot, sequence.key, sequence.adapter, sequence.position)
        if place.source is not None and sequence.whole(place.found) > sequence.position:
            self._prepare(sequence, place)
        return True

    def _write(self, slots: list[int]) -> Iterator[Output]:
        """One token of the writing sequences in `slots`, which are of one adapter."""
        rows = decode_rows(slots, self._may_fill)
        writers = list(map(self._writing.get, rows))
        end = self._cache.end
        self._context.decode(
            [w.last_token if w else 0 for w in writers],
            [w.end if w else end(slot) for slot, w in zip(rows, writers, strict=True)],
            rows,
            [w is not None for w in writers],
        )
        self._meter.batch_rows += len(slots)
        for row, writer in enumerate(writers):
            if writer is None:
                self._context.forget(rows[row], end(rows[row]))
            else:
                writer.position += 1
                yield from self._take(writer, row)

    def _may_fill(self, slot: int) -> bool:
        """True when a row may be computed in this slot for nothing: it costs most where the slot holds much."""
        longest = max(writer.position for writer in self._writing.values())
        return slot in self._cache.idle and self._cache.held(slot) <= longest

    def _read(self, sequence: Sequence, tokens: int) -> Iterator[Output]:
        """So many tokens of a prompt; after the last one, the first token of the answer."""
        try:
            ends = self._reader.read(sequence, tokens)
        except BadRequestError as error:
            self._remove(sequence)
            yield refusal(sequence.job_id, error)
            return
        if ends:
            self._reading.remove(sequence)
            self._meter.prompt_tokens += sequence.position
            self._meter.prefix_tokens += sequence.tokens_cached
            self._meter.prefix_hits += sequence.tokens_cached > 0
            self._writing[sequence.slot] = sequence
            sequence.began_at = monotonic()
            yield from self._take(sequence, tokens - 1)

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
        for image in sequence.images:
            image.drop()
        self._adapters.give_back(sequence.adapter)
        if sequence.slot == NO_SLOT:
            self._waiting.remove(sequence)
            return
        if self._writing.pop(sequence.slot, None) is None:
            self._reading.remove(sequence)
        del self._running[sequence.slot]
        if not self._cache.release(sequence.slot, sequence.kept):
            self._context.forget(sequence.slot)
        if not self._running:
            self._meter.pause()

    def problems(self) -> list[str]:
        """Where the accounts differ from what llama.cpp holds, in words; for tests."""
        found = [
            f"slot {slot}: {self._cache.end(slot)} cells counted, llama.cpp holds {self._context.held(slot)}"
            for slot in range(self.ready.slots)
            if self._context.held(slot)[1] + 1 != self._cache.end(slot)
        ]
        if {s.slot for s in self._sequences.values()} - {NO_SLOT} != set(self._running):
            found.append("a slot is taken by a sequence that has ended")
        if set(self._running) | self._cache.idle != set(range(self.ready.slots)):
            found.append("a slot is neither idle nor taken")
        return found
