"""What does an engine do, without a model?

`echo` is the plainest engine: it documents the interface, and serves tests and demos that need no weights.

- A token is a word of the prompt with the whitespace after it (the first also keeps the whitespace before it), so the
  tokens joined are the prompt. `tokens_in` counts them.
- The answer is the prompt's words, at most `max_tokens`. It ends with `stop` after the last word, else with `length`.
- With `ignore_eos` it goes on with ` #<n>`, n being the index of that token in the answer, until `max_tokens` or,
  without it, until the context is full: `a b` with `max_tokens: 5` gives `a b #2 #3 #4`. A lost token shows.
- The prompt must be smaller than the context (`ctx_size`, by default 8192 words), and fit with `max_tokens`.
- The repeated text is read as the request's output says (engine/parsing), names of control tokens standing for them;
  `special` is as `text`, for the prompt's words are all there is.
- A text to resume must be what it would write, up to some place, also inside a word; it counts the words itself.
- Stop strings work as in every engine, and so do `n` and `best_of`: all texts are the same. Nothing is drawn here, so
  the seed, temperature, penalties, biases and all that shapes a draw have no meaning. Log-probabilities, tokens by
  number, grammars and adapters cannot be had: a request for them is refused.
- With ECHO_CACHE_TOKENS it tells `tokens_cached` as a model with a KV cache would (echo_cache.py), and reads a whole
  conversation: then the prompt is what all turns say. Reading takes a step for each 64 tokens that were not there.
- One token per sequence and step; but a sequence that is neither streamed nor paced, and meets no stop string, gets up
  to 1024 at once.
- A prompt that contains `GOLEK_ECHO_CRASH` ends the process with status 134 in the sequence's first step, as a fault in
  native code would. It is there for tests of jobs that crash their engine.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator

from golek_wire.errors import AdapterNotFoundError, BadRequestError
from golek_wire.replies import FinishReason
from golek_wire.requests import Params
from golek_wire.signals import ModelInfo
from golek_worker.engine import parsing
from golek_worker.engine.base import (
    AdapterChanged,
    EngineConfig,
    Finished,
    Gauges,
    LoadAdapter,
    Piece,
    Ready,
    SequenceEnd,
    SequenceStart,
    Stopped,
    Submit,
    UnloadAdapter,
)
from golek_worker.engine.budget import token_limit
from golek_worker.engine.echo_cache import EchoCache
from golek_worker.engine.text import TextWriter

CTX_SIZE = 8192
CRASH = "GOLEK_ECHO_CRASH"
CRASH_STATUS = 134
_AT_ONCE = 1024
_words = re.compile(r"\s*\S+\s*|\s+").findall


LAST_MESSAGE = "{{ messages[-1].content }}"
"""Of a conversation the last message is echoed."""
ALL_MESSAGES = "{% for message in messages %}{{ message.content }} {% endfor %}"
READ_AT_ONCE = 64
"""Tokens of a prompt that are read in one step, where the engine has a cache."""


class EchoEngine:
    """Repeats the prompt, a word per step."""

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        progress(1, 1)
        self._paced = config.step_min_ms > 0
        self._sequences: dict[str, _Sequence] = {}
        self._cache = EchoCache(config.cache_tokens) if config.cache_tokens else None
        ctx_size = config.ctx_size or CTX_SIZE
        self.ready = Ready(
            info=ModelInfo(architecture="echo", modalities=["text"], context_size=ctx_size, model_family="echo"),
            capabilities=["text-generation"],
            device="none",
            slots=config.slots,
            ctx_size=ctx_size,
            chat_template=ALL_MESSAGES if config.cache_tokens else LAST_MESSAGE,
        )

    @property
    def running(self) -> int:
        """Sequences admitted and not ended."""
        return len(self._sequences)

    def submit(self, command: SequenceStart) -> Finished | None:
        """Admit a sequence, or its end when a resumed text is the whole, or nothing is to be written.

        Raises ContextBudgetExceededError, AdapterNotFoundError for an adapter, BadRequestError for an `Embed` or
        `Rank`, for what the engine does not have, and for a text that it would not write.
        """
        if not isinstance(command, Submit):
            raise BadRequestError("The echo engine writes text; it makes no vectors and ranks nothing")
        if command.adapter:
            raise AdapterNotFoundError(
                f"adapter: no adapter {command.adapter!r} is loaded; the echo engine takes no adapters", param="adapter"
            )
        _check(command.params)
        if command.constraint is not None:
            param = command.constraint.param
            raise BadRequestError(f"{param}: the echo engine writes what it reads and follows nothing", param=param)
        at_once = 1 if command.stream or self._paced else _AT_ONCE
        sequence = _Sequence(command, self.ready.ctx_size, at_once)
        if self._cache is not None:
            sequence.read(self._cache)
        if command.params.max_tokens == 0:
            return Finished(command.job_id, "", "length", sequence.tokens_in, 0)
        if command.resume is not None:
            sequence.skip(command.resume.text)
            if sequence.ended and not sequence.skipped_over:
                return sequence.finished(command.job_id)
        self._sequences[command.job_id] = sequence
        return None

    def cancel(self, job_id: str) -> Stopped | None:
        """End a sequence now; None when it is not running."""
        sequence = self._sequences.pop(job_id, None)
        if sequence is None:
            return None
        return Stopped(job_id, sequence.tokens_in, sequence.tokens_out)

    def step(self) -> Iterator[tuple[str, Piece] | SequenceEnd]:
        """Write the next token of each sequence; yield what is to be streamed and the ends."""
        ended = []
        for job_id, sequence in self._sequences.items():
            delta = sequence.write()
            if delta and sequence.stream:
                yield job_id, delta
            if sequence.ended:
                if self._cache is not None:
                    self._cache.keep(sequence.text)
                ended.append(job_id)
                yield sequence.finished(job_id)
        for job_id in ended:
            del self._sequences[job_id]

    def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """There are none."""
        return AdapterChanged(command.name, [], "this engine takes no adapters")

    def gauges(self) -> Gauges | None:
        """There are none."""
        return None

    def close(self) -> None:
        """Nothing is held."""


def _check(params: Params) -> None:
    """Raise BadRequestError for what an engine without a vocabulary cannot give."""
    asked = (
        ("logprobs", params.logprobs),
        ("stop_token_ids", params.stop_token_ids),
        ("logit_bias", params.logit_bias),
    )
    for name, given in asked:
        if given:
            raise BadRequestError(
                f"params.{name}: the echo engine has no vocabulary, its tokens are words without numbers or "
                "probabilities; leave it out, or ask a model",
                param=f"params.{name}",
            )


class _Sequence:
    """One prompt being repeated."""

    __slots__ = (
        "_at_once",
        "_crash",
        "_limit",
        "_reason",
        "_unread",
        "_words",
        "_writer",
        "ended",
        "skipped_over",
        "stream",
        "tokens_cached",
        "tokens_out",
    )

    def __init__(self, command: Submit, ctx_size: int, at_once: int) -> None:
        params = command.params
        self._words = _words(command.prompt)
        room = token_limit(len(self._words), params.max_tokens, ctx_size, command.least_room)
        self._reason: FinishReason = "length"
        if params.ignore_eos:
            self._limit = room
        elif params.max_tokens is None or params.max_tokens >= len(self._words):
            self._limit = len(self._words)
            self._reason = "stop"
        else:
            self._limit = params.max_tokens
        stops = params.stops
        # Several at once only when no stop string is among them: else the token at which the text ends must be known.
        meets_stop = bool(stops) and at_once > 1 and any(map(self._piece(0, self._limit).__contains__, stops))
        self._writer = parsing.writer(command.output, command.job_id, stops)
        self._at_once = at_once if isinstance(self._writer, TextWriter) and not meets_stop else 1
        self._crash = CRASH in command.prompt
        self._unread = 0
        """Steps until the first token: the prompt is being read."""
        self.stream = command.stream
        self.tokens_cached = 0
        self.tokens_out = 0
        self.ended = False
        self.skipped_over = ""
        """What the last skipped token has beyond the text that was to be skipped."""

    @property
    def tokens_in(self) -> int:
        return len(self._words)

    @property
    def text(self) -> list[str]:
        """Prompt and answer so far, in tokens."""
        return self._words + _words(self._piece(0, self.tokens_out))

    def read(self, cache: EchoCache) -> None:
        """Find out what of the prompt is there; the rest takes its steps, and is there for others from now on."""
        self.tokens_cached = cache.find(self._words)
        self._unread = (len(self._words) - self.tokens_cached) // READ_AT_ONCE
        cache.keep(self._words)

    def write(self) -> Piece:
        """The next tokens' text, as far as it may be shown."""
        if self._crash:
            print(f"echo: the prompt contains {CRASH}; ending the process", file=sys.stderr, flush=True)
            os._exit(CRASH_STATUS)
        if self._unread:
            self._unread -= 1
            return ""
        if self.skipped_over:
            rest, self.skipped_over = self.skipped_over, ""
            return rest
        return self._advance()

    def skip(self, text: str) -> None:
        """Write as far as `text`, which was shown before. Raises BadRequestError when this is another text."""
        at_once, self._at_once = self._at_once, 1
        length = 0
        while not self.ended and length < len(text):
            piece = self._advance()
            length += len(piece if isinstance(piece, str) else piece.text)
        self._at_once = at_once
        shown = self._writer.text
        if not shown.startswith(text):
            same = next((i for i, (a, b) in enumerate(zip(shown, text, strict=False)) if a != b), len(shown))
            raise BadRequestError(
                f"resume.text: the echo engine writes another text after {same} of its {len(text)} characters",
                param="resume.text",
            )
        self.skipped_over = shown[len(text) :]

    def _advance(self) -> Piece:
        """The next tokens' text, as far as it may be shown."""
        start = self.tokens_out
        end = min(start + self._at_once, self._limit)
        piece = self._words[start] if end - start == 1 and end <= len(self._words) else self._piece(start, end)
        self.tokens_out = end
        delta = self._writer.write(piece)
        if self._writer.stopped:
            self._reason = "stop"
            self.ended = True
        if end == self._limit or self.ended:
            self.ended = True
            delta = parsing.together(delta, self._writer.end())
            if self._writer.stopped:
                self._reason = "stop"
        return delta

    def finished(self, job_id: str) -> Finished:
        """The event that ends the sequence."""
        writer = self._writer
        tokens = (len(self._words), self.tokens_out)
        if isinstance(writer, TextWriter):
            return Finished(
                job_id, writer.text, self._reason, *tokens,
                stopped_by=writer.stopped_by, tokens_cached=self.tokens_cached,
            )  # fmt: skip
        return Finished(
            job_id, writer.text, writer.reason(self._reason), *tokens, writer.reasoning_content, writer.tool_calls,
            stopped_by=writer.stopped_by, tokens_cached=self.tokens_cached,
        )  # fmt: skip

    def _piece(self, start: int, end: int) -> str:
        """The answer's tokens from `start` to before `end`."""
        numbered = range(max(start, len(self._words)), end)
        return "".join(self._words[start:end]) + "".join([f" #{n}" for n in numbered])
