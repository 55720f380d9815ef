"""What does a sentence state: about what, with which figures, and what does it negate?

A `Statement` is what two sentences are compared by. English; in other languages words and figures are found, but no
negations. Pure.
"""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from golek_worker.orchestration import opposites
from golek_worker.orchestration.opposites import stem

_TOKEN: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}"
    r"|\d+(?:\.\d+){2,}"
    r"|\d{1,2}:\d{2}(?::\d{2})?"
    r"|[$€£]?(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:%|[A-Za-zµ°]{1,4}(?![\w-]))?(?!\w)"
    r"|\w+(?:[-'.]\w+)*"
    r"|[-,;:()~<>≤≥≈?]"
)  # fmt: skip
_NUMBER: Final = re.compile(r"([$€£]?)(-?\d+(?:,\d{3})*(?:\.\d+)?)(%|[A-Za-zµ°]{1,4})?")
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")
_DOTTED: Final = re.compile(r"\d+(?:\.\d+){2,}")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_YEAR: Final = re.compile(r"[12]\d{3}")
_BEFORE_YEARS: Final = frozenset(["in", "since", "year", "by", "until", "from", "of", "before", "after", "during"])
_PUNCTUATION: Final = frozenset("-,;:()?")
_MONTHS: Final = frozenset(
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
     "december"]
)  # fmt: skip
_WEEKDAYS: Final = frozenset(["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"])
_CARDINALS: Final = {
    name: str(value)
    for value, name in enumerate(
        ["zero", "", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
    if name
}
_SCALES: Final = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SIGNS: Final = {"$": "dollar", "€": "euro", "£": "pound", "percent": "%"}
_CONTRACTED: Final = re.compile(r"\b(can)'?t\b|\b(won)'t\b|\b(\w+)n't\b", re.IGNORECASE)


class Statement(Struct, frozen=True):
    """What a sentence says."""

    words: tuple[str, ...]
    """Stems of what it is about, in order, each once."""
    names: frozenset[str]
    """Those of them that are written as names, not counting its first word."""
    negated: frozenset[str]
    """Those of them that stand behind a negation."""
    figures: Mapping[str, frozenset[str]]
    """Numbers, dates and times, by what they count; those that leave room, such as `at least 5`, are left out."""
    opening: frozenset[str]
    """The date it begins with: what is said then need not be so at another time."""
    is_claim: bool
    """False of questions and conditions."""


class _Reading:
    """A sentence that is being read."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.lower = [token.lower() for token in tokens]
        self.words = dict[str, None]()
        self.names, self.negated, self.opening = set[str](), set[str](), set[str]()
        self.figures = dict[str, set[str]]()
        self.negates = False

    def read(self, place: int) -> int:
        """Take the token at `place`; gives the place of the next one."""
        token, lower = self.tokens[place], self.lower[place]
        if lower in _PUNCTUATION:
            self.negates = False
        elif place == 0 and lower in ("yes", "no") and self._at(1) in ("", *_PUNCTUATION):
            self._count("answer", lower)
        elif lower in opposites.NEGATIONS:
            self.negates = self._does_negate(place)
        elif lower in _CARDINALS or token[:1].isdigit() or token[:1] in "$€£-":
            return self._figure(place)
        elif token[:1].isupper() and lower in _MONTHS:
            self._count("month", lower)
        elif lower in _WEEKDAYS:
            self._count("weekday", lower)
        elif self._is_word(place):
            self._word(token, is_name=place > 0 and token[0].isupper())
        return place + 1

    def _at(self, place: int) -> str:
        return self.lower[place] if 0 <= place < len(self.lower) else ""

    def _is_word(self, place: int) -> bool:
        is_letter = len(self.tokens[place]) == 1 and self.tokens[place].isupper() and place > 0
        return is_letter or (self.lower[place] not in opposites.SILENT and self.lower[place][0].isalnum())

    def _word(self, token: str, *, is_name: bool) -> None:
        word = token if len(token) == 1 else stem(token)
        self.words.setdefault(word)
        if is_name:
            self.names.add(word)
        if self.negates:
            self.negated.add(word)
            self.negates = False

    def _does_negate(self, place: int) -> bool:
        after = self._at(place + 1)
        bound = after in ("more", "less", "fewer", "later") and self._at(place + 2) == "than"
        numbered = self.lower[place] == "no" and after[:1].isdigit()
        return not (after in opposites.BARE or bound or numbered or self._at(place - 1) == "or")

    def _count(self, what: str, value: str) -> None:
        self.negates = False
        self.figures.setdefault(what, set()).add(value)
        if not self.words and what in ("date", "month", "weekday", "year"):
            self.opening.add(value)

    def _figure(self, place: int) -> int:
        """Take the number at `place`, with what it counts."""
        token, before = self.tokens[place], self._at(place - 1)
        for pattern, what in ((_DAY, "date"), (_CLOCK, "time"), (_DOTTED, "version")):
            if pattern.fullmatch(token):
                self._count(what, token)
                return place + 1
        found = _NUMBER.fullmatch(_CARDINALS.get(self.lower[place], token))
        if found is None:
            self._word(token, is_name=False)
            return place + 1
        sign, digits, unit = found.groups()
        if before in opposites.LABELS:
            self.words.setdefault(f"{before} {digits}")
            self.names.add(f"{before} {digits}")
            return place + 1
        if before in _MONTHS or (self._at(place + 1) in _MONTHS and self.tokens[place + 1][0].isupper()):
            self._count("date" if _YEAR.fullmatch(digits) else "day", digits)
            return place + 1
        if _YEAR.fullmatch(digits) and before in _BEFORE_YEARS and not sign and not unit:
            self._count("year", digits)
            return place + 1
        return self._amount(place, digits.replace(",", ""), (unit or _SIGNS.get(sign, "")).lower())

    def _amount(self, place: int, digits: str, unit: str) -> int:
        place, first = place + 1, place
        if self._at(place) in _SCALES:
            digits, place = f"{float(digits) * _SCALES[self._at(place)]:.0f}", place + 1
        if not unit and self._at(place) in _SIGNS:
            unit, place = _SIGNS[self._at(place)], place + 1
        if not unit:
            follows = place < len(self.tokens) and self.lower[place] not in _PUNCTUATION and self._is_word(place)
            is_plain = follows and not self.tokens[place][0].isdigit()
            unit = stem(self.tokens[place]) if is_plain else next(reversed(self.words), "")
        loose = self._at(first - 1) in opposites.BOUNDS or (self._at(first - 1), self._at(first - 2)) == ("to", "up")
        if not (loose or self._in_range(first - 1, first - 2) or self._in_range(place, place + 1)):
            self._count(unit, digits)
        return place

    def _in_range(self, joint: int, other: int) -> bool:
        """Whether there is one more number on the other side of a joint: a range, or a list."""
        digit = self._at(other)[:1].isdigit() or self._at(other) in _CARDINALS
        return digit and self._at(joint) in ("and", "or", "to", "-", ",")


def read(sentence: str) -> Statement:
    """What `sentence` states; it has plain quotes and dashes, as `sentences` gives it."""
    plain = _CONTRACTED.sub(lambda found: f"{found[1] or ('will' if found[2] else found[3])} not", sentence)
    reading = _Reading(_TOKEN.findall(plain))
    place = 0
    while place < len(reading.tokens):
        place = reading.read(place)
    return Statement(
        tuple(reading.words), frozenset(reading.names), frozenset(reading.negated),
        {what: frozenset(values) for what, values in reading.figures.items()}, frozenset(reading.opening),
        not (sentence.rstrip().endswith("?") or opposites.CONDITIONS.intersection(reading.lower)),
    )  # fmt: skip
