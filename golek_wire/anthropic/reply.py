"""What is a message of Anthropic's API, made of a reply?"""

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from golek_wire.openai import routed
from golek_wire.openai.routed import Orchestrated
from golek_wire.replies import FunctionCall, InferenceReply

Json = dict[str, Any]
ID_PREFIX: Final = "msg_"
RAW_INPUT: Final = "_arguments"
"""The key in a call's input under which arguments stand that are no JSON object, as they were written."""
StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class Shown(Struct, frozen=True, omit_defaults=True):
    """What an answer's form depends on besides the answer."""

    job: str
    model: str
    """As the caller named it."""

    @property
    def id(self) -> str:
        """The id of the message."""
        return ID_PREFIX + self.job


class Usage(Struct, frozen=True):
    """What a message cost, in tokens."""

    input_tokens: int
    """Those that were computed; without those that were found in the cache."""
    output_tokens: int
    cache_read_input_tokens: int = 0
    """Found in the KV cache."""
    cache_creation_input_tokens: int = 0
    service_tier: str = "standard"


class Message(Orchestrated, frozen=True):
    """The answer to POST /v1/messages."""

    id: str
    model: str
    content: list[Json]
    """Blocks: thinking, text, tool_use."""
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: Usage
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"


class Count(Struct, frozen=True):
    """The answer to POST /v1/messages/count_tokens."""

    input_tokens: int


def message(reply: InferenceReply, shown: Shown) -> Message:
    """The whole answer: thoughts, then text, then calls."""
    content: list[Json] = []
    if reply.reasoning_content:
        content.append(thinking(reply.reasoning_content))
    if reply.text:
        content.append(text(reply.text))
    content += [tool_use(call.id, call.function) for call in reply.tool_calls or ()]
    why, cost = stop_reason(reply), usage(reply)
    return Message(shown.id, shown.model, content, why, reply.stopped_by, cost, **routed.about([reply]))


def stop_reason(reply: InferenceReply) -> StopReason:
    """Why the answer ended, in Anthropic's words. A partial one is one that was cut off."""
    if reply.finish_reason == "tool_calls":
        return "tool_use"
    if reply.finish_reason in ("length", "partial"):
        return "max_tokens"
    return "end_turn" if reply.stopped_by is None else "stop_sequence"


def usage(reply: InferenceReply) -> Usage:
    """What the answer cost."""
    return Usage(reply.tokens_in - reply.tokens_cached, reply.tokens_out, reply.tokens_cached)


def text(said: str) -> Json:
    """A block of text."""
    return {"type": "text", "text": said, "citations": None}


def thinking(thought: str) -> Json:
    """A block of thoughts. Nothing is signed here: they are read as they are when they come back."""
    return {"type": "thinking", "thinking": thought, "signature": ""}


def tool_use(identifier: str, function: FunctionCall) -> Json:
    """A call as a block."""
    return {"type": "tool_use", "id": identifier, "name": function.name, "input": arguments(function.arguments)}


def arguments(written: str) -> Json:
    """The arguments of a call. What is no JSON object, for it was cut off or is badly written, is not dropped."""
    try:
        found = msgspec.json.decode(written) if written else {}
    except (msgspec.DecodeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {RAW_INPUT: written}
