"""Is this a mark?"""

from collections.abc import Iterable


class Matcher:
    """Finds marks in a text that comes character by character; what may become one is held back until that is decided.

    No mark is part of another one; where two could begin in each other, the one that begins first counts.
    """

    __slots__ = ("_beginnings", "_marks", "held")

    def __init__(self, marks: Iterable[str]) -> None:
        self._marks = frozenset(marks)
        self._beginnings = frozenset(mark[:length] for mark in self._marks for length in range(1, len(mark)))
        self.held = ""
        """What may still become a mark."""

    def char(self, character: str) -> tuple[str, str]:
        """The text that is now known to be plain, and the mark behind it; either may be empty."""
        held = self.held + character
        if held in self._beginnings:
            self.held = held
            return "", ""
        if held in self._marks:
            self.held = ""
            return "", held
        end = next((at for at in range(1, len(held)) if held[at:] in self._beginnings), len(held))
        self.held = held[end:]
        return held[:end], ""

    def rest(self) -> str:
        """What was held back; it is no mark."""
        held, self.held = self.held, ""
        return held

    def may_begin(self, text: str) -> bool:
        """True when some character of `text` could begin a mark, or one is begun."""
        return bool(self.held) or not self._beginnings.isdisjoint(text)
