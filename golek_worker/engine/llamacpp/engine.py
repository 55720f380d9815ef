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

from golek_wire.errors import BadRequestError, InvalidGrammarError, ModelBusyError
from golek_wire.replies import FinishReason
from golek_worker.engine.base import (
    AdapterChanged,
    Embed,
    EngineConfig,
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
from golek_worker.engine.harmony import TO_FINAL, FinalChannel
from golek_worker.engine.llamacpp import probe
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.llamacpp.sampling import Sampler
from golek_worker.engine.llamacpp.scheduler import chunks, decode_rows, lone_rows, thread_count
from golek_worker.engine.text import TextWriter

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
        ctx_size = model.context_size(config.ctx_size)
        cores = psutil.cpu_count(logical=False) or 1
        threads = thread_count(config.threads, cores, model.size_bytes)
        self._chunk_size = CHUNK_GPU if model.on_gpu else CHUNK_CPU
        batch_size = max(self._chunk_size, 2 * config.slots)
        self._context = Context(model, config.slots, ctx_size, threads, batch_size)
        capabilities = probe.capabilities(model, self._context)
        self._pair_lone_rows = self._context.lone_row_differs() and config.slots > 1
        self._sequences: dict[str, _Sequence] = {}
        self._writing: dict[int, _Sequence] = {}
        self._reading: deque[_Sequence] = deque()
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
        """Sequences admitted and not ended."""
        return len(self._sequences)

    def submit(self, command: Submit | Embed) -> Finished | None:
        """Admit a sequence, or its end when a resumed text uses up its tokens.

        Raises ContextBudgetExceededError, UnknownGrammarError, InvalidGrammarError, ModelBusyError (no slot is free),
        BadRequestError (empty prompt, an `Embed`, a text to resume that model or grammar would not write).
        """
        if isinstance(command, Embed):
            raise BadRequestError("This model writes text; it makes no vectors")
        if not self._idle:
            raise ModelBusyError(f"All {self.ready.slots} slots are taken")
        check_least(self._model.least_tokens(command.prompt, self.ready.ctx_size), self.ready.ctx_size)
        prompt = self._model.tokenize(command.prompt)
        written = self._written(command)
        counted = (command.resume and command.resume.tokens_out) or len(written)
        left = tokens_left(len(prompt), command.params.max_tokens, self.ready.ctx_size, len(written), counted)
        if command.resume is not None and left == 0:
            return Finished(command.job_id, command.resume.text, "length", len(prompt), counted)
        sampler = Sampler(self._model, command.params, command.seed, prompt, written, command.constraint)
        sequence = _Sequence(command, prompt, written, sampler, heapq.heappop(self._idle), self._chunk_size)
        sequence.tokens_out, sequence.limit = counted, counted + left
        self._sequences[command.job_id] = sequence
        self._reading.append(sequence)
        return None

    def cancel(self, job_id: str) -> Stopped | None:
        """End a sequence now; None when it is not running."""
        sequence = self._sequences.get(job_id)
        if sequence is None:
            return None
        self._remove(sequence)
        return Stopped(job_id, sequence.tokens_in, sequence.tokens_out)

    def step(self) -> Iterator[Output]:
        """The next token of each writing sequence, then a bounded part of the waiting prompts."""
        deadline = monotonic() + (PREFILL_BESIDE_S if self._writing else PREFILL_ALONE_S)
        if self._writing:
            yield from self._write()
        while self._reading:
            yield from self._read(self._reading.popleft())
            if monotonic() >= deadline:
                return

    def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """Not yet."""
        return AdapterChanged(command.name, [], "this engine takes no adapters")

    def gauges(self) -> Gauges | None:
        """Not yet."""
        return None

    def close(self) -> None:
        """Free cache and weights."""
        for sequence in list(self._sequences.values()):
            self._remove(sequence)
        self._context.close()
        self._model.close()

    def _written(self, command: Submit) -> list[int]:
        """The tokens of the answer that are there already."""
        if command.resume is None:
            return []
        opening = self._model.tokenize_written(TO_FINAL, named=True) if command.output == "harmony" else []
        return opening + self._model.tokenize_written(command.resume.text, named=command.output == "special")

    def _write(self) -> Iterator[Output]:
        """One token of every writing sequence."""
        rows = decode_rows(self._writing, self._idle)
        writers = [self._writing.get(slot) for slot in rows]
        tokens = [w.last_token if w else 0 for w in writers]
        positions = [w.position if w else 0 for w in writers]
        slots = list(rows)
        outputs = [w is not None for w in writers]
        companions = lone_rows(rows) if self._pair_lone_rows else set()
        for slot in sorted(companions):
            tokens.append(0)
            positions.append(self._writing[slot].position + 1)
            slots.append(slot)
            outputs.append(True)  # without logits the last layer would leave it out
        self._context.decode(tokens, positions, slots, outputs)
        for slot in companions:
            self._context.forget(slot, self._writing[slot].position + 1)
        for row, writer in enumerate(writers):
            if writer is None:
                self._context.forget(rows[row])
            else:
                writer.position += 1
                yield from self._take(writer, row)

    def _read(self, sequence: "_Sequence") -> Iterator[Output]:
        """The next chunk of a prompt; after the last one, the first token of the answer."""
        part = next(sequence.chunks)
        ends = part.stop == len(sequence.given)
        outputs = [False] * len(part)
        outputs[-1] = ends
        self._context.decode(sequence.given[part.start : part.stop], list(part), [sequence.slot] * len(part), outputs)
        sequence.position = part.stop
        if ends:
            self._writing[sequence.slot] = sequence
            yield from self._take(sequence, len(part) - 1)
        else:
            self._reading.append(sequence)

    def _take(self, sequence: "_Sequence", row: int) -> Iterator[Output]:
        """Draw the token that follows `row`; yield its text and, if so, the sequence's end."""
        try:
            token = sequence.sampler.sample(self._context, row)
        except InvalidGrammarError as error:
            self._remove(sequence)
            yield refusal(sequence.job_id, error)
            return
        reason: FinishReason | None
        if token in self._model.ends:
            delta, reason = sequence.writer.end(), "stop"
        else:
            delta, reason = sequence.write(token, self._model)
        if delta and sequence.stream:
            yield sequence.job_id, delta
        if reason is not None:
            self._remove(sequence)
            yield Finished(sequence.job_id, sequence.writer.text, reason, sequence.tokens_in, sequence.tokens_out)

    def _remove(self, sequence: "_Sequence") -> None:
        """Free what the sequence holds; its slot is idle."""
        del self._sequences[sequence.job_id]
        if self._writing.pop(sequence.slot, None) is None and sequence in self._reading:
            self._reading.remove(sequence)
        self._context.forget(sequence.slot)
        sequence.sampler.close()
        heapq.heappush(self._idle, sequence.slot)


class _Sequence:
    """A job inside the engine."""

    __slots__ = (
        "chunks",
        "final",
        "given",
        "job_id",
        "last_token",
        "limit",
        "output",
        "position",
        "sampler",
        "slot",
        "stream",
        "tokens_in",
        "tokens_out",
        "writer",
    )

    def __init__(
        self, command: Submit, prompt: list[int], written: list[int], sampler: Sampler, slot: int, chunk_size: int
    ) -> None:
        resume = command.resume
        self.job_id = command.job_id
        self.stream = command.stream
        self.tokens_in = len(prompt)
        self.given = prompt + written
        """What is read before the next token can be drawn."""
        self.sampler = sampler
        self.slot = slot
        self.chunks = chunks(len(self.given), chunk_size)
        self.writer = TextWriter(command.params.stops, "" if resume is None else resume.text)
        self.output = command.output
        self.final = FinalChannel(opened=resume is not None)
        self.position = 0
        self.last_token = 0
        self.tokens_out = 0
        """Tokens of the whole answer, those written before included."""
        self.limit = 0
        """Tokens that the whole answer may have."""

    def write(self, token: int, model: Model) -> tuple[str, FinishReason | None]:
        """Append a token: the text that may be shown, and why the sequence ends if it does."""
        self.last_token = token
        self.tokens_out += 1
        delta = self._write(token, model)
        if self.writer.stopped:
            return delta, "stop"
        if self.final.ended:
            return delta + self.writer.end(), "stop"
        if self.tokens_out >= self.limit:
            return delta + self.writer.end(), "length"
        return delta, None

    def _write(self, token: int, model: Model) -> str:
        match self.output:
            case "text":
                return self.writer.write_bytes(model.piece(token))
            case "special":
                return self.writer.write_bytes(model.named_piece(token))
            case "harmony":
                answer = self.final.write_token(model.named_piece(token), control=model.is_special(token))
                return self.writer.write(answer)
