"""Which part of a growing text may be shown?

Models write bytes, a token at a time. Shown are whole UTF-8 characters only, and never a part of a stop string, however
the text is cut into tokens.
"""

import codecs
from collections.abc import Sequence

_utf8 = codecs.getincrementaldecoder("utf-8")


class TextWriter:
    """The text of one sequence, as it grows.

    The text ends before the stop string that is complete first; of two that end together, the longer one counts. What
    may still become a stop string is held back until that is decided. Bytes that are not UTF-8 become U+FFFD; an
    incomplete character at the very end is dropped.
    """

    __slots__ = ("_begun", "_decode", "_firsts", "_held", "_shown", "_stops", "stopped_by")

    def __init__(self, stops: Sequence[str] = (), shown: str = "") -> None:
        """`shown` is the beginning of the text, when that was shown before and the sequence goes on behind it.

        No stop string is looked for in it; one that begins in it and ends behind it ends the text where it is complete,
        though its beginning stays shown.
        """
        self._decode = _utf8("replace").decode
        self._stops = [_Progress(stop) for stop in stops]
        self._firsts = frozenset(stop[0] for stop in stops)
        for stop in self._stops:
            stop.pass_over(shown)
        self._begun = max([stop.matched for stop in self._stops], default=0)
        """Characters of a stop string that the text ends with."""
        self._held = ""
        self._shown = [shown] if shown else []
        self.stopped_by: str | None = None
        """The stop string that is complete; nothing is shown after it."""

    @property
    def stopped(self) -> bool:
        """True once a stop string is complete."""
        return self.stopped_by is not None

    @property
    def text(self) -> str:
        """All that was shown."""
        return "".join(self._shown)

    def write_bytes(self, piece: bytes) -> str:
        """What may be shown after the next token's bytes; often empty."""
        return self.write(self._decode(piece))

    def write(self, piece: str) -> str:
        """What may be shown after the next token's text; empty while it may be part of a stop string."""
        if not piece or self.stopped_by is not None:
            return ""
        if not self._stops or (not self._begun and self._firsts.isdisjoint(piece)):
            return self._show(piece)
        text = self._held + piece
        for i, character in enumerate(piece):
            complete = [stop.text for stop in self._stops if stop.advance(character)]
            if complete:
                self.stopped_by = max(complete, key=len)
                self._held = ""
                return self._show(text[: max(0, len(text) - len(piece) + i + 1 - len(self.stopped_by))])
        self._begun = max(stop.matched for stop in self._stops)
        free = max(0, len(text) - self._begun)
        self._held = text[free:]
        return self._show(text[:free])

    def end(self) -> str:
        """The sequence is over: what was held back after all belongs to the text."""
        held, self._held = self._held, ""
        return self._show(held)

    def _show(self, text: str) -> str:
        if text:
            self._shown.append(text)
        return text


class _Progress:
    """How much of one stop string the text's end matches (Knuth-Morris-Pratt: no character is looked at twice)."""

    __slots__ = ("_fallback", "matched", "text")

    def __init__(self, stop: str) -> None:
        self.text = stop
        self.matched = 0
        self._fallback = _fallbacks(stop)

    def advance(self, character: str) -> bool:
        """Take the text's next character; True when it completes the stop string."""
        while self.matched and self.text[self.matched] != character:
            self.matched = self._fallback[self.matched]
        if self.text[self.matched] == character:
            self.matched += 1
        return self.matched == len(self.text)

    def pass_over(self, text: str) -> None:
        """Take `text`, whatever is complete in it."""
        for character in text:
            if self.advance(character):
                self.matched = self._fallback[self.matched]


def _fallbacks(stop: str) -> list[int]:
    """For each number of matched characters, the next shorter prefix of `stop` that they end with."""
    fallback = [0, 0]
    matched = 0
    for character in stop[1:]:
        while matched and stop[matched] != character:
            matched = fallback[matched]
        if stop[matched] == character:
            matched += 1
        fallback.append(matched)
    return fallback
