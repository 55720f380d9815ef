"""What has a cloud said so far, as the bus says it?

Both dialects bring their deltas here: texts grow, calls of tools get their places, and at the end there is one reply.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from golek_wire.replies import (
    Choice,
    Delta,
    FinishReason,
    FunctionCall,
    InferenceReply,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    TopLogprob,
)
from golek_wire.requests import Params, Resume
from golek_worker.engine.text import TextWriter
from golek_worker.providers.base import Piece

BYTES_PER_TOKEN: Final = 4
COUNT_LIMIT: Final = 100_000_000
"""No server is believed that it read or wrote more tokens for one request."""
"""How tokens are estimated of a server that does not count them."""


class Usage(msgspec.Struct):
    """What an answer took, in tokens, as the provider counts."""

    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    is_told: bool = False


class _Call(msgspec.Struct):
    """A call of a tool that is being written."""

    id: str
    name: str
    arguments: str = ""


class Growing:
    """One text of an answer, and its calls."""

    def __init__(self, index: int, job_id: str, before: str = "", stops: Sequence[str] = (), begun: str = "") -> None:
        """`before` is text that the server may repeat at the beginning of its own. `stops` are strings that end the
        text here, since the server does not say which of them did; `begun` is what it goes on from.
        """
        self.index = index
        self._job_id = job_id
        self._words: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[_Call] = []
        self._places: dict[int, int] = {}
        """The server's number of a call that it goes on with -> its place here."""
        self._logprobs: list[TokenLogprob] = []
        self.finish: FinishReason | None = None
        self.known = before
        """What the caller has of the text already, as far as the server may say it again."""
        self.stopped_by: str | None = None
        self._writer = TextWriter(stops, begun) if stops else None

    @property
    def is_cut(self) -> bool:
        """Whether it ended here, whatever the server goes on to say."""
        return self._writer is not None and self._writer.stopped

    def say(self, text: str = "", thoughts: str = "", logprobs: Sequence[TokenLogprob] = ()) -> list[Piece]:
        """What is new."""
        if self.is_cut:
            return []
        text = self._new(text)
        if self._writer is not None:
            text = self._writer.write(text)
            self.stopped_by = self._writer.stopped_by
        if self.is_cut:
            self.finish = "stop"
        if text:
            self._words.append(text)
        if thoughts:
            self._thoughts.append(thoughts)
        self._logprobs += logprobs
        if not (text or thoughts or logprobs):
            return []
        if not (thoughts or logprobs or self.index):
            return [text]
        return [Delta(text, thoughts, logprobs=list(logprobs) or None, index=self.index)]

    def call(self, number: int | None, identifier: str, name: str, arguments: str) -> list[Piece]:
        """A piece of a call.

        1. A name of its own, and an id that nobody had: a call begins, also where the server repeats its number.
        2. A known number or id: the call goes on. 3. Neither: the last one does, or a first one begins.
        """
        place = self._place(number, identifier, name)
        begins = place is None
        if place is None:
            place = len(self._calls)
            self._calls.append(_Call(identifier or f"call_{self._job_id[-12:]}_{self.index}_{place}", name))
        if number is not None:
            self._places[number] = place
        call = self._calls[place]
        call.arguments += arguments
        if begins:
            return [self._piece(ToolCallDelta(place, call.id, call.name, arguments))]
        return [self._piece(ToolCallDelta(place, arguments=arguments))] if arguments else []

    def close(self) -> list[Piece]:
        """What was held back of the text, and an empty object for calls without arguments: readers parse it."""
        pieces: list[Piece] = []
        if self._writer is not None and (rest := self._writer.end()):
            self._words.append(rest)
            pieces.append(Delta(rest, index=self.index) if self.index else rest)
        for place, call in enumerate(self._calls):
            if not call.arguments.strip():
                call.arguments = "{}"
                pieces.append(self._piece(ToolCallDelta(place, arguments="{}")))
        return pieces

    def choice(self, tokens_out: int) -> Choice:
        """This text of an answer with several, or the only one."""
        finish: FinishReason = self.finish or "stop"
        if self._calls and finish == "stop":
            finish = "tool_calls"
        calls = [ToolCall(call.id, FunctionCall(call.name, call.arguments)) for call in self._calls]
        text, thoughts = "".join(self._words), "".join(self._thoughts)
        return Choice(self.index, text, finish, tokens_out, thoughts or None, calls or None, self._logprobs or None)

    @property
    def is_blank(self) -> bool:
        """Whether nothing was said of it, not even that it ends."""
        return self.finish is None and not (self._words or self._thoughts or self._calls)

    @property
    def size(self) -> int:
        """Bytes written, near enough."""
        said = [*self._words, *self._thoughts, *(call.arguments for call in self._calls)]
        return sum(len(piece.encode()) for piece in said)

    def _new(self, text: str) -> str:
        """`text` without what was known before."""
        same = 0
        while same < len(text) and same < len(self.known) and text[same] == self.known[same]:
            same += 1
        if text:
            self.known = self.known[same:] if same == len(text) else ""
        return text[same:]

    def _place(self, number: int | None, identifier: str, name: str) -> int | None:
        known = next((place for place, call in enumerate(self._calls) if identifier and call.id == identifier), None)
        if known is not None:
            return known
        if identifier and name:
            return None
        if number is not None:
            return self._places.get(number)
        return None if name or not self._calls else len(self._calls) - 1

    def _piece(self, call: ToolCallDelta) -> Delta:
        return Delta(tool_calls=[call], index=self.index)


def believed(count: Any) -> int:
    """Tokens, as a server counts them: 0 for what is no number of tokens."""
    is_count = isinstance(count, int) and not isinstance(count, bool)
    return count if is_count and 0 <= count <= COUNT_LIMIT else 0


def sent(text: str) -> str:
    """What a server gets of a text that it shall go on with: blanks at its end make it write others than it would, and
    Anthropic refuses them.
    """
    return text.rstrip()


def room(params: Params, resume: Resume | None, usual: int | None = None) -> int | None:
    """Most tokens to write behind what there is, which counts, too; `usual` where nothing is said."""
    if params.max_tokens is None:
        return usual
    begun = 0 if resume is None else resume.tokens_out or -(-len(resume.text.encode()) // BYTES_PER_TOKEN)
    return max(1, params.max_tokens - begun)


def known(text: str, *, repeats: bool) -> str:
    """What it may then say that the caller has already; a server that `repeats` says all of it again."""
    return text if repeats else text[len(sent(text)) :]


def reply(
    texts: Sequence[Growing], usage: Usage, *, req_id: str, model: str, ms: int, ttft_ms: int, seed: int, before: str
) -> InferenceReply:
    """The whole answer; `before` is the text that it goes on from."""
    if not usage.is_told:
        usage = Usage(usage.tokens_in, -(-sum(text.size for text in texts) // BYTES_PER_TOKEN))
    share = usage.tokens_out // len(texts)
    choices = [text.choice(usage.tokens_out if len(texts) == 1 else share) for text in texts]
    first = choices[0]
    return InferenceReply(
        req_id, before + first.text, usage.tokens_in, usage.tokens_out, first.finish_reason, ms, ms, model, seed,
        first.reasoning_content, first.tool_calls, first.logprobs, choices if len(choices) > 1 else None,
        min(usage.tokens_cached, usage.tokens_in), ttft_ms, stopped_by=texts[0].stopped_by,
    )  # fmt: skip


def logprobs(told: Any) -> list[TokenLogprob]:
    """Log-probabilities as OpenAI's API has them; what is none is left out."""
    if isinstance(told, dict) and isinstance(told.get("tokens"), list):
        told = {"content": _listed(told)}
    found = told.get("content") if isinstance(told, dict) else None
    return [_logprob(one) for one in found or () if isinstance(one, dict) and isinstance(one.get("token"), str)]


def _listed(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of a completion, where each part is a list of its own."""
    tokens, numbers, tops = (told.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs"))
    found = []
    for place, token in enumerate(tokens):
        top = tops[place] if place < len(tops) and isinstance(tops[place], dict) else {}
        number = numbers[place] if place < len(numbers) else None
        others = [{"token": other, "logprob": its} for other, its in top.items()]
        found.append({"token": token, "logprob": number, "top_logprobs": others})
    return found


def _logprob(one: dict[str, Any]) -> TokenLogprob:
    top = [
        TopLogprob(other["token"], _number(other), _bytes(other), _id(other))
        for other in one.get("top_logprobs") or ()
        if isinstance(other, dict) and isinstance(other.get("token"), str)
    ]
    return TokenLogprob(one["token"], _number(one), _bytes(one), top, _id(one))


def _id(one: dict[str, Any]) -> int | None:
    told = one.get("id")
    return told if isinstance(told, int) else None


def _number(one: dict[str, Any]) -> float:
    value = one.get("logprob")
    return float(value) if isinstance(value, (int, float)) else 0.0


def _bytes(one: dict[str, Any]) -> list[int]:
    told = one.get("bytes")
    return told if isinstance(told, list) else list(one["token"].encode())
