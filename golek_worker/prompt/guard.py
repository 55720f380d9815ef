"""What if a caller's text holds the names of control tokens?

The whole prompt is made into tokens with these names recognised, so a text with `<|im_end|>` in it would end its own
turn and could begin another one. A caller's text is data: each name in it gets a seam behind its first character, a
private-use character that the request does not have. The seam passes the template; then it is taken out, and the
prompt is cut there before it becomes tokens, so that no part holds the name. A text without names is left alone.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest

_SEAMS = range(0xE000, 0xF8FF)


class Guard:
    """The names of one model's control tokens."""

    def __init__(self, names: Sequence[str]) -> None:
        self._by_start: dict[str, tuple[str, ...]] = {}
        """By their first two characters."""
        for name in names:
            if len(name) > 1:
                self._by_start[name[:2]] = (*self._by_start.get(name[:2], ()), name)
        self._firsts = sorted({start[0] for start in self._by_start})

    def sewn(self, request: InferenceRequest) -> tuple[InferenceRequest, str]:
        """`request` with seams in what it says, and the seam; itself and an empty string where there is no name."""
        if not self._is_needed(request):
            return request, ""
        seam = _seam(codec.encode(request).decode())
        return (
            msgspec.structs.replace(
                request,
                input=self._sew(request.input, seam),
                messages=self._sew(request.messages, seam),
                tools=self._sew(request.tools, seam),
            ),
            seam,
        )

    def _is_needed(self, request: InferenceRequest) -> bool:
        """Whether a text of `request` holds a name. Usual requests have a few texts, and are asked often."""
        if request.input is not None and self._holds_name(request.input):
            return True
        for message in request.messages or ():
            if message.content is not None and self._holds_name(message.content):
                return True
            more = (
                message.tool_calls or message.reasoning_content or message.name or message.tool_call_id or message.parts
            )
            if more and self._holds_name(codec.encode(message).decode()):
                return True
        return request.tools is not None and self._holds_name(codec.encode(request.tools).decode())

    def _holds_name(self, text: str) -> bool:
        for first in self._firsts:
            if first in text:
                return bool(self._places(text))
        return False

    def _places(self, text: str) -> list[int]:
        """Behind the first character of each name in `text`; names may overlap."""
        found = []
        for first in self._firsts:
            at = text.find(first)
            while at >= 0:
                names = self._by_start.get(text[at : at + 2])
                if names is not None and text.startswith(names, at):
                    found.append(at + 1)
                at = text.find(first, at + 1)
        return sorted(found)

    def _sew(self, value: Any, seam: str) -> Any:
        """`value` with a seam in each name, wherever it is a text."""
        if isinstance(value, str):
            places = self._places(value)
            return seam.join([value[a:b] for a, b in zip([0, *places], [*places, len(value)], strict=True)])
        if isinstance(value, dict):
            return {self._sew(key, seam): self._sew(item, seam) for key, item in value.items()}
        if isinstance(value, list):
            return [self._sew(item, seam) for item in value]
        if isinstance(value, msgspec.Struct):
            return msgspec.structs.replace(
                value, **{name: self._sew(getattr(value, name), seam) for name in value.__struct_fields__}
            )
        return value


def unpicked(text: str, seam: str) -> tuple[str, list[int]]:
    """`text` without its seams, and where they were. A template that escapes the text escapes the seam, too."""
    escaped = f"\\u{ord(seam):04x}"
    parts = text.replace(escaped, seam).split(seam)
    cuts, at = [], 0
    for part in parts[:-1]:
        at += len(part)
        cuts.append(at)
    return "".join(parts), cuts


def _seam(text: str) -> str:
    """A private-use character that is not in `text`."""
    found = next((chr(code) for code in _SEAMS if chr(code) not in text), None)
    if found is None:
        raise BadRequestError("The request holds every private-use character from U+E000 to U+F8FE; leave one out")
    return found
