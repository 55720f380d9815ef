"""Which events is a streamed message of Anthropic's API made of?

They depend on the pieces alone, so whoever has the same pieces writes the same n-th event. One block is open at a time:
thoughts, a text, or a call; a piece of another kind closes it and opens the next one. How many tokens the prompt has is
known at the end only, so `message_start` says 0 and `message_delta` all of it.
"""

from typing import Final, Literal

import msgspec

from golek_wire.anthropic import reply as form
from golek_wire.anthropic.reply import Json, Shown, Usage
from golek_wire.codec import encode
from golek_wire.openai import routed
from golek_wire.replies import Delta, FunctionCall, InferenceReply, ToolCallDelta

Kind = Literal["thinking", "text", "tool_use"]
_DELTAS: Final = {
    "thinking": ("thinking_delta", "thinking"),
    "text": ("text_delta", "text"),
    "tool_use": ("input_json_delta", "partial_json"),
}
"""By the kind of a block: the kind of its deltas, and their field."""


class MessageEvents:
    """The events of one message, in order: `opening`, `piece` after `piece`, `closing`."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._index = -1
        """Of the newest block."""
        self._kind: Kind | None = None
        """Of the open one."""
        self._call = -1
        """Of the open call, among the calls."""
        self._before = b""
        """What stands before the piece in the deltas of the open block."""

    def opening(self) -> list[bytes]:
        """Who speaks."""
        empty = form.Message(self._shown.id, self._shown.model, [], None, None, Usage(0, 0))
        return [_event("message_start", message=empty)]

    def piece(self, piece: str | Delta) -> list[bytes]:
        """What `piece` adds."""
        if isinstance(piece, str):
            return [*self._switch("text"), self._delta(piece)] if piece else []
        events: list[bytes] = []
        if piece.reasoning_content:
            events += [*self._switch("thinking"), self._delta(piece.reasoning_content)]
        if piece.text:
            events += [*self._switch("text"), self._delta(piece.text)]
        for call in piece.tool_calls or ():
            events += self._switch("tool_use", call)
            if call.arguments:
                events.append(self._delta(call.arguments))
        return events

    def closing(self, reply: InferenceReply) -> list[bytes]:
        """Why it ended and what it cost."""
        why: Json = {"stop_reason": form.stop_reason(reply), "stop_sequence": reply.stopped_by}
        cost = msgspec.structs.asdict(form.usage(reply))
        del cost["service_tier"]
        told = _event("message_delta", delta=why, usage=cost, **routed.about([reply]))
        return [*self._close(), told, _event("message_stop")]

    def _switch(self, kind: Kind, call: ToolCallDelta | None = None) -> list[bytes]:
        """The events that open a block of this kind, unless it is open."""
        if self._kind == kind and (call is None or call.index == self._call):
            return []
        events = self._close()
        self._index += 1
        self._kind = kind
        if call is not None:
            self._call = call.index
            block = form.tool_use(call.id, FunctionCall(call.name, ""))
        else:
            block = form.text("") if kind == "text" else form.thinking("")
        name, field = _DELTAS[kind]
        head = f'"index":{self._index},"delta":{{"type":"{name}","{field}":'
        self._before = b'event: content_block_delta\ndata: {"type":"content_block_delta",' + head.encode()
        return [*events, _event("content_block_start", index=self._index, content_block=block)]

    def _delta(self, text: str) -> bytes:
        return self._before + encode(text) + b"}}\n\n"

    def _close(self) -> list[bytes]:
        """The events that end the open block; none where none is open."""
        kind, self._kind = self._kind, None
        if kind is None:
            return []
        events = [_event("content_block_stop", index=self._index)]
        if kind == "thinking":
            delta = {"type": "signature_delta", "signature": ""}
            events.insert(0, _event("content_block_delta", index=self._index, delta=delta))
        return events


def _event(kind: str, **fields: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))
