"""What of a harmony completion is the answer?

gpt-oss writes messages, each in a channel: `analysis` for its thoughts, `commentary` for tool calls, `final` for the
caller. Only the final channel's text is passed on, as it grows. The names are OpenAI's; a completion begins inside the
header of its first message, for the prompt ends with `<|start|>assistant`.
"""

import codecs
import re
from typing import Literal

_START, _MESSAGE = "<|start|>", "<|message|>"
_END_MESSAGE = "<|end|>"
_ENDS = (_END_MESSAGE, "<|return|>", "<|call|>")
_NAMES = (_START, "<|channel|>", _MESSAGE, *_ENDS)
TO_FINAL = "<|channel|>final<|message|>"
"""What a model writes behind the prompt to open the final channel."""
_split = re.compile("(" + "|".join(map(re.escape, _NAMES)) + ")").split
_channel = re.compile(r"<\|channel\|>([^\s<]*)").search
_utf8 = codecs.getincrementaldecoder("utf-8")


class FinalChannel:
    """The final channel of one completion, fed token by token or as text with the names of control tokens.

    Texts of several final messages follow each other. Between a message's end and the next start nothing belongs to
    anybody; in a message only its end has a meaning. How a fed text is cut into pieces changes nothing.
    """

    __slots__ = ("_decode", "_header", "_held", "_state", "ended")

    def __init__(self, *, opened: bool = False) -> None:
        """`opened`: the completion is resumed, inside its final channel."""
        self._decode = _utf8("replace").decode
        self._state: Literal["header", "shown", "hidden", "between"] = "shown" if opened else "header"
        self._header = ""
        """What was read of a message's header."""
        self._held = ""
        self.ended = False
        """True after `<|return|>` or `<|call|>`: the completion is over."""

    def write_token(self, piece: bytes, *, control: bool) -> str:
        """What the next token adds to the answer. A model that writes a name as plain text only quotes it."""
        text = self._decode(piece)
        return self._control(text) if control else self._text(text)

    def write(self, piece: str) -> str:
        """What a further piece of text adds; the beginning of a name is held back until it is decided."""
        *decided, rest = _split(self._held + piece)
        shown = [self._control(part) if part in _NAMES else self._text(part) for part in decided]
        self._held = _begun_name(rest)
        shown.append(self._text(rest[: len(rest) - len(self._held)]))
        return "".join(shown)

    def end(self) -> str:
        """No further text comes: what was held back is no name."""
        held, self._held = self._held, ""
        return self._text(held)

    def _control(self, name: str) -> str:
        if self.ended:
            return ""
        if name in _ENDS:
            self.ended = name != _END_MESSAGE
            self._state = "between"
        elif name == _START and self._state in ("header", "between"):
            self._state, self._header = "header", ""
        elif name == _MESSAGE and self._state == "header":
            channel = _channel(self._header)
            self._state = "shown" if channel is not None and channel[1] == "final" else "hidden"
        else:
            return self._text(name)
        return ""

    def _text(self, text: str) -> str:
        if self._state == "header":
            self._header += text
        return text if self._state == "shown" else ""


def _begun_name(text: str) -> str:
    """The longest end of `text` with which a name begins; empty when there is none."""
    at = text.rfind("<")
    end = text[at:] if at >= 0 else ""
    return end if any(name.startswith(end) for name in _NAMES) else ""
