"""What turns do the items of a Responses request make?

An assistant's turn is one message for a model, and several items there: its thoughts, its text, each of its calls.
Items that follow each other are joined into one turn.
"""

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Raw, Struct

from golek_wire import elements, images
from golek_wire.errors import BadRequestError
from golek_wire.requests import Message

_TEXTS = ("input_text", "output_text", "text", "refusal", "reasoning_text", "summary_text")
_KNOWN = "message, reasoning, function_call and function_call_output"
_FILES = {
    "input_file": "files are not kept here; send their text",
    "input_audio": "no model of this fleet hears",
}


class _MessageItem(Struct, frozen=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Raw]


class _Part(Struct, frozen=True):
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None


class _ReasoningItem(Struct, frozen=True):
    summary: list[Raw] | None = None
    content: list[Raw] | None = None


class _CallItem(Struct, frozen=True):
    call_id: str
    name: str
    arguments: str


class _OutputItem(Struct, frozen=True):
    call_id: str
    output: str | list[Raw]


def conversation(items: Sequence[Raw]) -> list[Message]:
    """The turns that `items` make. Raises BadRequestError naming the item and the field."""
    turns = _Turns()
    for number, raw in enumerate(items):
        turns.add(raw, f"input[{number}]")
    turns.end()
    return turns.messages


class _Turns:
    """The turns so far, and the assistant's one that is being put together."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._thoughts: str | None = None
        self._text: str | None = None
        self._calls: list[dict[str, Any]] = []

    def add(self, raw: Raw, place: str) -> None:
        """One more item."""
        match elements.type_of(raw, place, absent="message"):
            case "message":
                self._say(elements.read(raw, _MessageItem, place), place)
            case "reasoning":
                if self._text is not None or self._calls:
                    self.end()
                self._thoughts = (self._thoughts or "") + _thoughts(raw, place)
            case "function_call":
                self._calls.append(_call(elements.read(raw, _CallItem, place)))
            case "function_call_output":
                self.end()
                result = elements.read(raw, _OutputItem, place)
                text, parts = contents(result.output, f"{place}.output")
                self.messages.append(Message("tool", text, tool_call_id=result.call_id, parts=parts))
            case other:
                raise _unknown(other, place)

    def end(self) -> None:
        """The assistant's turn is complete. Thoughts alone are none: nobody answers for them."""
        if self._text is not None or self._calls:
            self.messages.append(
                Message(
                    "assistant", self._text, tool_calls=self._calls or None, reasoning_content=self._thoughts or None
                )
            )
        self._thoughts, self._text, self._calls = None, None, []

    def _say(self, item: _MessageItem, place: str) -> None:
        text, parts = contents(item.content, f"{place}.content")
        if item.role != "assistant":
            self.end()
            self.messages.append(Message(item.role, text, parts=parts))
            return
        if self._text is not None or self._calls:
            self.end()
        self._text = text


def contents(content: str | Sequence[Raw], place: str) -> tuple[str, list[dict[str, Any]] | None]:
    """A content's text, and its parts where one is an image. Raises BadRequestError for a part that is neither."""
    if isinstance(content, str):
        return content, None
    return images.content([_part(raw, f"{place}[{number}]") for number, raw in enumerate(content)])


def _part(raw: Raw, place: str) -> dict[str, Any]:
    if elements.type_of(raw, place) != "input_image":
        return images.text(_text(raw, place))
    part = elements.read(raw, _Part, place)
    return images.part(part.image_url, f"{place}.image_url", part.detail)


def joined(content: str | Sequence[Raw], place: str) -> str:
    """The text of a content, its parts joined by line ends. Raises BadRequestError for a part that is no text."""
    if isinstance(content, str):
        return content
    return "\n".join(_text(raw, f"{place}[{number}]") for number, raw in enumerate(content))


def _text(raw: Raw, place: str) -> str:
    kind = elements.type_of(raw, place)
    if kind not in _TEXTS:
        why = _FILES.get(kind, "is not known; a part is text, as input_text or output_text")
        raise BadRequestError(f"{place}.type: {kind[:60]!r}: {why}", param=f"{place}.type")
    part = elements.read(raw, _Part, place)
    text = part.refusal if kind == "refusal" else part.text
    if text is None:
        name = "refusal" if kind == "refusal" else "text"
        raise BadRequestError(f"{place}.{name}: is missing", param=f"{place}.{name}")
    return text


def _thoughts(raw: Raw, place: str) -> str:
    """What a reasoning item tells; of an encrypted one its summary, for nobody here can read it."""
    item = elements.read(raw, _ReasoningItem, place)
    return joined(item.content, f"{place}.content") if item.content else joined(item.summary or [], f"{place}.summary")


def _call(item: _CallItem) -> dict[str, Any]:
    return {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.arguments}}


def _unknown(kind: str, place: str) -> BadRequestError:
    if kind == "item_reference":
        why = "items are not kept one by one; send the item, or the whole response's id as `previous_response_id`"
    else:
        why = f"this fleet does not know such items; it knows {_KNOWN}"
    return BadRequestError(f"{place}.type: {kind[:60]!r}: {why}", param=f"{place}.type")
