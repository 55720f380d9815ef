"""How does a stream of the bus look as the server-sent events of a chat completion?

Each piece is one event. The events depend on what was asked, when, and on the pieces alone: whoever has the same pieces
writes the same n-th event, so a stream that is read again from another gateway goes on where it was left. What does not
change from event to event is encoded once; a piece of text costs half a microsecond.
"""

from collections.abc import Sequence
from typing import Any, Final

from golek_wire.codec import encode
from golek_wire.openai import routed
from golek_wire.openai.completion import FINGERPRINT, Shown, reason, usage
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Delta, InferenceReply, ToolCallDelta

DONE: Final = b"data: [DONE]\n\n"


def event(data: bytes) -> bytes:
    """One event of a line of JSON."""
    return b"data: " + data + b"\n\n"


class Envelope:
    """What stands around the choices of each chunk."""

    def __init__(self, shown: Shown, kind: str, *, numbered: bool) -> None:
        """`numbered` events have an `id`, counted from 0, by which a reader may ask for those that follow."""
        start = {
            "id": shown.id,
            "object": kind,
            "created": shown.created,
            "model": shown.model,
            "system_fingerprint": FINGERPRINT,
        }
        self.head = b"data: " + encode(start)[:-1] + b',"choices":['
        self.tail = b',"usage":null}\n\n' if shown.include_usage else b"}\n\n"
        self._tells_usage = shown.include_usage
        self.is_numbered = numbered
        self._number = 0

    def numbered(self, data: bytes) -> bytes:
        """`data` with its number before it, where events have one."""
        if not self.is_numbered:
            return data
        number, self._number = self._number, self._number + 1
        return b"id: %d\n%b" % (number, data)

    def around(self, choice: object, members: bytes = b"") -> bytes:
        """The event of one choice, with `members` behind those that all events have."""
        return self.numbered(self.head + encode(choice) + b"]" + members + self.tail)

    def step(self, step: StepEvent) -> bytes:
        """The event of a step of several models. It has no number: a reader that comes later is not told of it."""
        return self.head + b'],"orchestration_step":' + encode(step) + self.tail

    def ends(self, choices: Sequence[object], reply: InferenceReply) -> list[bytes]:
        """The last events of choices; the last one of them says how the reply came about, where no event follows."""
        route = b"" if self._tells_usage else routed.members([reply])
        *others, last = choices
        return [*map(self.around, others), self.around(last, route)]

    def usage(self, replies: list[InferenceReply]) -> list[bytes]:
        """The last event, where it was asked for: what all of it cost, and how it came about."""
        if not self._tells_usage:
            return []
        cost, route = encode(usage(replies)), routed.members(replies)
        return [self.numbered(self.head + b'],"usage":' + cost + route + b"}\n\n")]


class ChatEvents:
    """The events of one chat completion, in order: `opening`, `piece` after `piece`, `closing`."""

    def __init__(self, shown: Shown, *, numbered: bool = False) -> None:
        """`numbered` as for `Envelope`."""
        self._shown = shown
        self._envelope = Envelope(shown, "chat.completion.chunk", numbered=numbered)
        self._before = self._envelope.head + b'{"index":0,"delta":{"content":'
        self._behind = b'},"logprobs":null,"finish_reason":null}]' + self._envelope.tail

    def opening(self) -> list[bytes]:
        """Who speaks, for each choice."""
        delta = {"role": "assistant", "content": None, "refusal": None}
        return [self._envelope.around(_choice(index, delta)) for index in range(self._shown.choices)]

    def piece(self, piece: str | Delta) -> bytes:
        """What `piece` adds."""
        if isinstance(piece, str):
            return self._envelope.numbered(self._before + encode(piece) + self._behind)
        logprobs = None if piece.logprobs is None else {"content": piece.logprobs, "refusal": None}
        return self._envelope.around(_choice(piece.index, self._delta(piece), logprobs))

    def step(self, step: StepEvent) -> bytes:
        """That a step before the answer began or ended, for who asked for it: a chunk without choices."""
        return self._envelope.step(step)

    def closing(self, reply: InferenceReply) -> list[bytes]:
        """Why each choice ended, what it cost where that was asked, and the end."""
        ends = [
            _choice(choice.index, {}, None, reason(choice, former=self._shown.former)) for choice in reply.all_choices
        ]
        return [*self._envelope.ends(ends, reply), *self._envelope.usage([reply]), DONE]

    def _delta(self, piece: Delta) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if piece.reasoning_content:
            delta["reasoning_content"] = piece.reasoning_content
        if piece.text:
            delta["content"] = piece.text
        if piece.tool_calls and self._shown.former:
            delta["function_call"] = _function(piece.tool_calls[0])
        elif piece.tool_calls:
            delta["tool_calls"] = [_call(call) for call in piece.tool_calls]
        return delta


def _choice(
    index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, why: str | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": why}


def _call(call: ToolCallDelta) -> dict[str, Any]:
    """A piece of a call: id, type and name are in the first one alone."""
    if call.id:
        return {"index": call.index, "id": call.id, "type": "function", "function": _function(call)}
    return {"index": call.index, "function": _function(call)}


def _function(call: ToolCallDelta) -> dict[str, str]:
    return {"name": call.name, "arguments": call.arguments} if call.name else {"arguments": call.arguments}
