"""What does a question say, whatever the order and the courtesy of its words?

`read` makes a `Sense` of it: an equal one only for questions that ask the same in the same words, or in words that are
known to say the same (`words`). Where a person would see no difference there may be one here: a cache in doubt asks the
model. Pure.
"""

import re
from collections.abc import Collection
from typing import Final

from msgspec import Struct

from golek_worker.cache import words

_QUOTED: Final = re.compile(r"```.*?```|`[^`]+`|\"[^\"]+\"|“[^”]+”|«[^»]+»|(?<!\w)'[^'\n]+'(?!\w)", re.DOTALL)
_SENTENCE: Final = re.compile(r"(?<=\w\w[.!?])\s+|(?<=[^\w\s][.!?])\s+|(?<=[!?])\s+|\n+")
_NUMBER: Final = re.compile(r"([$€£]?)([-+]?\d[\d,]*(?:\.\d+)?)(%|[A-Za-z]{1,4})?")
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_ORDINAL: Final = re.compile(r"\d+(?:st|nd|rd|th)", re.IGNORECASE)
_WORD: Final = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*'?")
_INITIALS: Final = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]?")
_SIGNS: Final = {"$": "dollar", "€": "euro", "£": "pound", "%": "%"}
_QUOTES: Final = {0x2018: "'", 0x2019: "'"}
"""Apostrophes as typesetters have them."""
_LITERAL: Final = "\x02"
"""Before what counts letter by letter; a private mark, which no question keeps."""
_SPACE: Final = "\x03"
"""Stands for a space in such a literal."""
_SILENT: Final = words.SILENT | words.TENSES.keys() | (words.ASKING.keys() - {"when"})
_UNIT: Final = 3
"""A unit of so few letters is told by their case: mW is not MW."""


class Sense(Struct, frozen=True):
    """What a question says."""

    asks: frozenset[str]
    """Who, when, why, how or whether; nothing where it is what or which."""
    tense: frozenset[str]
    sentences: tuple[str, ...]
    """The words of each, without the spaces between: a treehouse is a tree house."""
    bag: tuple[str, ...]
    """All words that count, sorted."""

    @property
    def numbers(self) -> list[str]:
        return [word for word in self.bag if not word.startswith(_LITERAL) and any(map(str.isdigit, word))]

    @property
    def negations(self) -> list[str]:
        return [word for word in self.bag if word in words.NEGATIONS]

    @property
    def literals(self) -> list[str]:
        """Code, and what was quoted."""
        return [word for word in self.bag if word.startswith(_LITERAL)]


def read(text: str) -> Sense:
    """The sense of `text`."""
    text = text.translate(_QUOTES).replace(_LITERAL, "").replace(_SPACE, "")
    text = _QUOTED.sub(lambda found: f" {_LITERAL}{_unquoted(found[0])} ", text)
    asks, tense, sentences, bag = set[str](), set[str](), list[str](), list[str]()
    for sentence in filter(None, (_framed(_spaced(raw)) for raw in _SENTENCE.split(text))):
        listed = sentence.split(" ")
        if listed[0] in words.OPENING:
            asks.add("whether")
        asks |= {asked for word in listed if (asked := words.ASKING.get(word))}
        tense |= {said for word in listed if (said := words.TENSES.get(word))}
        is_mixed = bool(words.TENSES.keys() & listed and words.PRESENT & set(listed))
        said_words = _paired(_counted(_in_order(listed), keep=words.PRESENT | words.TENSES.keys() if is_mixed else ()))
        bag += said_words
        sentences.append("".join(said_words))
    return Sense(frozenset(asks), frozenset(tense), tuple(sentences), tuple(sorted(bag)))


def _unquoted(quoted: str) -> str:
    inner = quoted.strip("`") if quoted.startswith("`") else quoted[1:-1]
    return re.sub(r"\s", _SPACE, inner)


def _spaced(sentence: str) -> str:
    """The sentence in lower case, words and commas apart by one space; literals are as they were."""
    listed: list[str] = []
    for raw in sentence.split():
        listed += _tokens(raw, is_first=not listed, after_number=bool(listed) and listed[-1][-1:].isdigit())
    text = " ".join(listed)
    for pattern, by in words.CONTRACTIONS:
        text = pattern.sub(by, text)
    return text


def _tokens(raw: str, *, is_first: bool, after_number: bool) -> list[str]:
    """What a piece of text between two spaces says."""
    if raw.startswith(_LITERAL):
        return [raw]
    bare = raw.lstrip("([{\"'¿¡")
    core = bare.rstrip(".,;:!?)]}\"'")
    if bare[len(core) :].startswith("()"):  # a call, as code has it
        core += "()"
    ends = [","] if any(mark in bare[len(core) :] for mark in ",;:") else []
    if not core:
        return ends
    if _WORD.fullmatch(core):
        is_unit = after_number and len(core) <= _UNIT and not core.islower()
        is_name = core == "A" and not is_first
        return [core if is_unit or is_name else _lower(core), *ends]
    if _ORDINAL.fullmatch(core) or _INITIALS.fullmatch(core):
        return [core.replace(".", "").lower(), *ends]
    number = _NUMBER.fullmatch(core)
    if number is None or bare[len(core) :].startswith("!"):  # a factorial, perhaps
        return [_LITERAL + core, *ends]
    sign, value, unit = number.groups()
    said = [_value(value), _SIGNS.get(sign, ""), (unit or "")]
    return [*filter(None, said), *ends]


def _lower(word: str) -> str:
    """In lower case, an e-mail as email; other hyphens count: to re-sign is not to resign."""
    lower = word.lower()
    return lower.replace("-", "", 1) if lower.startswith("e-") else lower


def _value(number: str) -> str:
    """A number without thousands' commas. Zeros at the end count: version 3.10 is not 3.1."""
    return number.replace(",", "") if _THOUSANDS.fullmatch(number) else number


def _framed(sentence: str) -> str:
    """`sentence` without courtesy, its beginning as it is said most often."""
    before = None
    while before != sentence:
        before = sentence
        sentence = sentence.strip(" ,")
        head, comma, rest = sentence.partition(" ,")
        if words.COURTESIES.fullmatch(head.strip()):
            sentence = rest if comma else ""
        for pattern, by in words.FRAMES:
            sentence = pattern.sub(by, sentence, count=1)
    return sentence


def _in_order(listed: list[str]) -> list[str]:
    """The sentence with what it begins with, such as `in Python,`, at its end."""
    segments: list[list[str]] = [[]]
    for word in listed:
        if word == ",":
            segments.append([])
        else:
            segments[-1].append(word)
    last = segments.pop()
    moved = [segment for segment in segments if segment and segment[0] in words.JOINTS]
    stay = [[*segment, ","] for segment in segments if segment not in moved]
    return [word for segment in [*stay, last, *moved] for word in segment]


def _counted(listed: list[str], keep: Collection[str]) -> list[str]:
    """The words that count, each as all its spellings are; of those that do not, `keep`."""
    kept = [
        word
        for place, word in enumerate(listed)
        if word in keep or not (word in _SILENT or (word in words.HELPING and _helps(listed, place)))
    ]
    listed = [word if word.startswith(_LITERAL) or not word.islower() else words.plain(word) for word in kept]
    return listed[1:] if listed[:1] == [","] else listed


def _helps(listed: list[str], place: int) -> bool:
    """Whether the `do` at this place only helps to ask."""
    return place == 0 or listed[place - 1] in words.ASKING or listed[place - 1] == ","


def _paired(listed: list[str]) -> list[str]:
    """The words around each `and` or `or` in the order of the alphabet, where nothing follows that belongs to one,
    and nothing speaks of their order.
    """
    if words.ORDERED.intersection(listed):
        return listed
    listed = listed.copy()
    for place in range(1, len(listed) - 1):
        ends = place + 2 == len(listed) or listed[place + 2] in words.JOINTS or listed[place + 2] == ","
        if listed[place] in words.PAIRED and ends:
            listed[place - 1], listed[place + 1] = sorted((listed[place - 1], listed[place + 1]))
    return listed
