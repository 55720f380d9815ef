"""How does a step's own text get into the caller's conversation?

So that every chat template takes it. Some insist on alternating turns of user and assistant, some know no system, some
no tools. Therefore nothing is added but to a user turn, the last one; and where a model is offered no tools, calls and
their results become text of the user turn before them.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from golek_wire.requests import Message

RESULTS = "## Results of tools"


def folded(messages: Sequence[Message]) -> list[Message]:
    """The conversation without calls of tools: each call with its result is text of the user turn before it."""
    found: list[Message] = []
    calls: dict[str, str] = {}
    for message in messages:
        if message.role == "tool":
            told = calls.get(message.tool_call_id or "") or message.name or "tool"
            found = added(found, f"{told} gave:\n{message.content or ''}", under=RESULTS)
        elif message.role == "assistant" and message.tool_calls:
            calls |= {str(call.get("id", "")): _call(call) for call in message.tool_calls}
            if message.content and message.content.strip():
                found = added(found, message.content)
        else:
            found.append(message)
    return found


def added(messages: Sequence[Message], text: str, under: str = "") -> list[Message]:
    """The conversation with `text` at the end of its last user turn, `under` a heading that stands there once.

    Calls of tools and their results may follow that turn; behind anything else there is a new user turn.
    """
    turns = list(messages)
    at = len(turns) - 1
    while at >= 0 and (turns[at].role == "tool" or turns[at].tool_calls):
        at -= 1
    if at < 0 or turns[at].role != "user":
        said = f"{under}\n{text}" if under else text
        return [*turns, Message("user", said)]
    turn = turns[at]
    before = turn.content or ""
    said = f"{under}\n{text}" if under and under not in before else text
    content = f"{before}\n\n{said}" if before else said
    parts = None if turn.parts is None else [*turn.parts, {"type": "text", "text": said}]
    turns[at] = msgspec.structs.replace(turn, content=content, parts=parts)
    return turns


def _call(call: dict[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, dict):
        return "tool"
    return f"{function.get('name', 'tool')}({function.get('arguments', '')})"
