"""Which events is a streamed response made of?

`ResponseWriter` turns the pieces of an answer into the events of OpenAI's Responses API, in its order. They depend on
nothing but what it is given, so any gateway writes the same n-th event.

One item is open at a time: thoughts, a text, or a call. A piece of another kind closes it and opens the next one.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import Struct

from golek_wire.errors import InferenceServiceError
from golek_wire.openai import response_body as body
from golek_wire.openai.response_body import Echo, Json
from golek_wire.replies import Delta, FunctionCall, InferenceReply, TokenLogprob, ToolCall, ToolCallDelta

_encode = msgspec.json.Encoder().encode


class _Open(Struct):
    """The item that is being written."""

    kind: Literal["rs", "msg", "fc"]
    id: str
    text: list[str]
    logprobs: list[TokenLogprob]
    call: ToolCallDelta | None = None
    """The first piece of a call, with its name."""

    @property
    def whole(self) -> str:
        return "".join(self.text)


class ResponseWriter:
    """Writes the events of one response. Each method gives whole events as bytes, ready to be sent."""

    def __init__(self, asked: Echo, key: str, model: str, created: int) -> None:
        """`created` is in seconds since 1970; `model` is the name the caller used."""
        self._asked = asked
        self._key = key
        self._model = model
        self._created = created
        self._number = 0
        self._open: _Open | None = None
        self._output: list[Json] = []
        self._envelope = (b"", b"")
        """Of the deltas of the open item: what stands between the number and the piece, and behind it."""

    def begin(self) -> list[bytes]:
        """The events before the first piece."""
        response = body.unfinished(self._asked, self._key, self._model, self._created)
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def piece(self, piece: Delta | str) -> list[bytes]:
        """The events of what the model wrote next."""
        if isinstance(piece, str):
            return [*self._switch("msg"), self._delta(piece)] if piece else []
        return list(self._pieces(piece))

    def end(self, reply: InferenceReply) -> list[bytes]:
        """The last events, once the pieces were all of `reply`."""
        is_cut = reply.finish_reason in body.CUT
        events = [] if self._open or self._output else list(self._switch("msg"))
        events += self._close("incomplete" if is_cut else "completed")
        response = body.finished(self._asked, self._key, self._model, self._created, reply, self._output)
        events.append(self._event("response.incomplete" if is_cut else "response.completed", response=response))
        return events

    def fail(self, error: InferenceServiceError) -> list[bytes]:
        """The last events of an answer that broke off."""
        events = self._close("incomplete")
        response = body.failed(self._asked, self._key, self._model, self._created, error, self._output)
        return [*events, self._event("response.failed", response=response)]

    def _pieces(self, piece: Delta) -> Iterator[bytes]:
        if piece.reasoning_content:
            yield from self._switch("rs")
            yield self._delta(piece.reasoning_content)
        if piece.text or piece.logprobs:
            yield from self._switch("msg")
            yield self._delta(piece.text, piece.logprobs)
        for call in piece.tool_calls or ():
            yield from self._switch("fc", call)
            if call.arguments:
                yield self._delta(call.arguments)

    def _switch(self, kind: Literal["rs", "msg", "fc"], call: ToolCallDelta | None = None) -> list[bytes]:
        """The events that open an item of this kind, unless it is open."""
        now = self._open
        if now is not None and now.kind == kind and (call is None or (now.call and now.call.index == call.index)):
            return []
        events = self._close("completed")
        index = len(self._output)
        now = self._open = _Open(kind, body.item_id(kind, self._key, index), [], [], call)
        events.append(self._event("response.output_item.added", output_index=index, item=self._begun(now)))
        place: Json = {"item_id": now.id, "output_index": index}
        if kind != "fc":
            place["content_index"] = 0
            events.append(self._event("response.content_part.added", **place, part=_part(now)))
        self._envelope = _envelope(kind, place)
        return events

    def _begun(self, now: _Open) -> Json:
        """The item as it is announced: empty."""
        if now.kind == "fc":
            assert now.call is not None
            call = ToolCall(now.call.id, FunctionCall(now.call.name, ""))
            return body.function_call(now.id, call, "in_progress")
        item = (
            body.message(now.id, "", None, "in_progress")
            if now.kind == "msg"
            else body.reasoning(now.id, "", "in_progress")
        )
        return item | {"content": []}

    def _delta(self, text: str, logprobs: list[TokenLogprob] | None = None) -> bytes:
        now = self._open
        assert now is not None
        now.text.append(text)
        before, after = self._envelope
        if logprobs:
            now.logprobs += logprobs
            after = b',"logprobs":' + _encode(body.likelihoods(logprobs)) + b"}\n\n"
        number = self._number
        self._number = number + 1
        return b"%b%d%b%b" % (before, number, b',"delta":' + _encode(text), after)

    def _close(self, status: body.ItemStatus) -> list[bytes]:
        """The events that end the open item; none where none is open."""
        now = self._open
        if now is None:
            return []
        self._open = None
        index, text = len(self._output), now.whole
        place: Json = {"item_id": now.id, "output_index": index}
        if now.kind == "fc":
            assert now.call is not None
            item = body.function_call(now.id, ToolCall(now.call.id, FunctionCall(now.call.name, text)), status)
            events = [self._event("response.function_call_arguments.done", **place, name=now.call.name, arguments=text)]
        else:
            place["content_index"] = 0
            if now.kind == "msg":
                item = body.message(now.id, text, now.logprobs, status)
                likely = body.likelihoods(now.logprobs)
                events = [self._event("response.output_text.done", **place, text=text, logprobs=likely)]
            else:
                item = body.reasoning(now.id, text, status)
                events = [self._event("response.reasoning_text.done", **place, text=text)]
            events.append(self._event("response.content_part.done", **place, part=_part(now)))
        self._output.append(item)
        return [*events, self._event("response.output_item.done", output_index=index, item=item)]

    def _event(self, kind: str, **fields: object) -> bytes:
        number = self._number
        self._number = number + 1
        data = _encode({"type": kind, "sequence_number": number, **fields})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _part(now: _Open) -> Json:
    """The content of the open item, as far as it is written."""
    return (
        body.text_part(now.whole, now.logprobs) if now.kind == "msg" else {"type": "reasoning_text", "text": now.whole}
    )


def _envelope(kind: str, place: Json) -> tuple[bytes, bytes]:
    """What stands around number and piece in the deltas of an item: encoded once, for there are many."""
    name = {"msg": "response.output_text.delta", "rs": "response.reasoning_text.delta"}.get(
        kind, "response.function_call_arguments.delta"
    )
    head = f'event: {name}\ndata: {{"type":"{name}",'.encode() + _encode(place)[1:-1] + b',"sequence_number":'
    return head, (b',"logprobs":[]}\n\n' if kind == "msg" else b"}\n\n")
