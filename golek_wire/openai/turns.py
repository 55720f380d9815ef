"""What does a conversation in OpenAI's form say?

Contents may be lists of parts: texts are joined line by line, images go along for those models that read them; what is
neither is refused by name. Turns with OpenAI's former `function_call` and role `function` become calls and results of
tools.
"""

from typing import Any, Literal

from msgspec import Struct

from golek_wire import images
from golek_wire.errors import BadRequestError
from golek_wire.requests import Message


class Part(Struct, frozen=True, omit_defaults=True):
    """A part of a turn's content."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None
    image_url: dict[str, Any] | str | None = None


Content = str | list[str | Part] | None


class ChatMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    function_call: dict[str, Any] | None = None
    """OpenAI's former form of a call."""
    reasoning_content: str | None = None
    """What the assistant thought, as it was given with the answer."""
    refusal: str | None = None


def conversation(turns: list[ChatMessage]) -> list[Message]:
    """The messages of a conversation. Raises BadRequestError naming the part that is neither text nor image."""
    messages: list[Message] = []
    for number, turn in enumerate(turns):
        place = f"messages[{number}]"
        content, parts = contents(turn.content, f"{place}.content")
        if turn.role == "function":
            messages.append(Message("tool", content, turn.name, tool_call_id=_last_call(messages, place)))
        elif turn.function_call is not None:
            call = {"id": f"call_{number}", "type": "function", "function": turn.function_call}
            messages.append(Message("assistant", content, turn.name, [call]))
        else:
            messages.append(
                Message(
                    turn.role,
                    turn.refusal if content is None else content,
                    turn.name,
                    turn.tool_calls or None,
                    turn.tool_call_id,
                    turn.reasoning_content,
                    parts,
                )
            )
    return messages


def contents(content: Content, place: str) -> tuple[str | None, list[dict[str, Any]] | None]:
    """A turn's content as one text, and its parts where one is an image. Raises BadRequestError for others."""
    if content is None or isinstance(content, str):
        return content, None
    return images.content([_part(part, f"{place}[{number}]") for number, part in enumerate(content)])


def _part(part: str | Part, place: str) -> dict[str, Any]:
    if isinstance(part, str):
        return images.text(part)
    if part.type == "image_url":
        image = part.image_url
        url, detail = (image.get("url"), image.get("detail")) if isinstance(image, dict) else (image, None)
        return images.part(url, f"{place}.image_url.url", detail)
    text = part.refusal if part.type == "refusal" else part.text
    if part.type not in ("text", "input_text", "output_text", "refusal"):
        raise BadRequestError(
            f"{place}: {part.type[:32]!r} is neither text nor image; send parts of type `text` or `image_url`",
            param=place,
        )
    if text is None:
        raise BadRequestError(f"{place}.text: is missing", param=f"{place}.text")
    return images.text(text)


def _last_call(messages: list[Message], place: str) -> str:
    """The id of the call that a turn of the role `function` answers."""
    for message in reversed(messages):
        if message.tool_calls:
            return str(message.tool_calls[-1].get("id", ""))
    raise BadRequestError(f"{place}.role: a `function` turn answers a call, and none came before it", param=place)
