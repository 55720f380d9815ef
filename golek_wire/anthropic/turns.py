"""What turns do the messages of Anthropic's API make?

A user's message may hold images, and results of tools, which are turns of their own for a model; an assistant's holds
thoughts, text and calls, which are one. Blocks that no model can read are refused by name.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

from msgspec import Raw, Struct

from golek_wire import elements, images
from golek_wire.codec import encode
from golek_wire.errors import BadRequestError
from golek_wire.requests import Message

_WHY: Final = {
    "image": "an image stands in a user's turn or in a tool's result",
    "document": "documents are not read here; send their text",
    "search_result": "is not known; send its text",
}


class Turn(Struct, frozen=True):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Raw]
    """A text, or blocks: text, thinking, tool_use, tool_result."""


class _Text(Struct, frozen=True):
    text: str


class _Source(Struct, frozen=True):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class _Image(Struct, frozen=True):
    source: _Source


class _Thinking(Struct, frozen=True):
    thinking: str


class _ToolUse(Struct, frozen=True):
    id: str
    name: str
    input: dict[str, Any]


class _ToolResult(Struct, frozen=True):
    tool_use_id: str
    content: str | list[Raw] = ""
    is_error: bool | None = None


def conversation(system: str | Sequence[Raw] | None, turns: Sequence[Turn]) -> list[Message]:
    """The turns for a model. Raises BadRequestError naming the block that cannot be read."""
    if not turns:
        raise BadRequestError("messages: at least one message, got none", param="messages")
    if turns[-1].role == "assistant":
        raise BadRequestError(
            f"messages[{len(turns) - 1}].role: the last message is the assistant's; an answer cannot be begun for the "
            "model here, end with a user's",
            param=f"messages[{len(turns) - 1}].role",
        )
    messages = [Message("system", text)] if system and (text := joined(system, "system")) else []
    for number, turn in enumerate(turns):
        place = f"messages[{number}].content"
        if isinstance(turn.content, str):
            messages.append(Message(turn.role, turn.content))
        elif turn.role == "assistant":
            messages.append(_assistant(turn.content, place))
        elif turn.role == "system":
            messages.append(Message("system", joined(turn.content, place)))
        else:
            messages += _user(turn.content, place)
    return messages


def joined(content: str | Sequence[Raw], place: str) -> str:
    """The text of a content, its blocks joined by line ends. Raises BadRequestError for a block that is no text."""
    if isinstance(content, str):
        return content
    return "\n".join(_text(raw, f"{place}[{number}]") for number, raw in enumerate(content))


def _user(blocks: Sequence[Raw], place: str) -> list[Message]:
    """Results are turns of their own, in their places; texts and images beside each other are one."""
    messages: list[Message] = []
    parts: list[dict[str, Any]] = []
    for number, raw in enumerate(blocks):
        at = f"{place}[{number}]"
        if elements.type_of(raw, at) != "tool_result":
            parts.append(_part(raw, at))
            continue
        if parts:
            messages.append(_said(parts))
            parts = []
        result = elements.read(raw, _ToolResult, at)
        text, shown = _contents(result.content, f"{at}.content")
        said = f"Error: {text}" if result.is_error and not text.lower().startswith("error") else text
        messages.append(Message("tool", said, tool_call_id=result.tool_use_id, parts=shown))
    if parts or not messages:
        messages.append(_said(parts))
    return messages


def _said(parts: Sequence[dict[str, Any]]) -> Message:
    text, shown = images.content(parts)
    return Message("user", text, parts=shown)


def _contents(content: str | Sequence[Raw], place: str) -> tuple[str, list[dict[str, Any]] | None]:
    if isinstance(content, str):
        return content, None
    return images.content([_part(raw, f"{place}[{number}]") for number, raw in enumerate(content)])


def _part(raw: Raw, place: str) -> dict[str, Any]:
    """A text, or an image as the bus has it."""
    if elements.type_of(raw, place) != "image":
        return images.text(_text(raw, place))
    source = elements.read(raw, _Image, place).source
    if source.type == "url":
        return images.part(source.url, f"{place}.source.url")
    if source.type != "base64" or not source.data:
        raise BadRequestError(
            f"{place}.source.type: {source.type[:32]!r} is none of `base64`, with `data`, and `url`",
            param=f"{place}.source.type",
        )
    return images.part(f"data:{source.media_type};base64,{source.data}", f"{place}.source.media_type")


def _assistant(blocks: Sequence[Raw], place: str) -> Message:
    """Thoughts, text and calls are one turn. Thoughts that were made unreadable elsewhere are left out."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for number, raw in enumerate(blocks):
        at = f"{place}[{number}]"
        match elements.type_of(raw, at):
            case "thinking":
                thoughts.append(elements.read(raw, _Thinking, at).thinking)
            case "redacted_thinking":
                pass
            case "tool_use":
                use = elements.read(raw, _ToolUse, at)
                function = {"name": use.name, "arguments": encode(use.input).decode()}
                calls.append({"id": use.id, "type": "function", "function": function})
            case _:
                texts.append(_text(raw, at))
    text = "".join(texts)
    return Message(
        "assistant",
        text if text or not calls else None,
        tool_calls=calls or None,
        reasoning_content="".join(thoughts) or None,
    )


def _text(raw: Raw, place: str) -> str:
    kind = elements.type_of(raw, place)
    if kind != "text":
        why = _WHY.get(kind, "is not known here; text, thinking, tool_use and tool_result are")
        raise BadRequestError(f"{place}.type: {kind[:60]!r}: {why}", param=f"{place}.type")
    return elements.read(raw, _Text, place).text
