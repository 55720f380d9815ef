"""What did a model say of the answers of others?

Read as JSON where it was held to it, otherwise from the lines it was asked for; what cannot be read is None, for a
number that nobody gave is no number. Pure.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

POINTS: Final = 16
"""Of a list that a model makes, the first ones are read."""
POINT: Final = 400
"""Characters of one; the rest is cut off."""
LENGTH: Final = 120
"""Characters of one that is written under a schema: a model that knows no end shall find one."""
TOKEN: Final = 2
"""Characters that a token of a judgement has at least, on average."""
_SCORE_LENGTH: Final = len("0.85")


def _texts(most: int) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", "maxLength": LENGTH}, "maxItems": most}


_SCORED: Final = {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.01}
"""Of digits without end a small model makes use."""
CRITIQUE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"issues": _texts(6), "score": _SCORED},
    "required": ["issues", "score"],
    "additionalProperties": False,
}
"""The issues come first: a score is better once they are written."""
COMPARISON: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"agreed": _texts(4), "conflicts": _texts(4), "flagged": _texts(4)},
    "required": ["agreed", "conflicts", "flagged"],
    "additionalProperties": False,
}
_OBJECT: Final = re.compile(r"\{.*\}", re.DOTALL)
_SCORE: Final = re.compile(
    r"\bscore\b[\"'*_`]*\s*(?:[:=]|is)[\s\"'*_`]*(-?\d+(?:\.\d+)?)(?![\w.-]*\d)(?!\s*(?:to|and|or|-)\s*\d)"
    r"\s*(%|(?:/|out of)\s*\d+(?:\.\d+)?)?",
    re.IGNORECASE,
)
_LABELLED: Final = re.compile(r"^[\s\-*•\d.)]*[*_`]*([A-Za-z ]{2,24}?)[*_`]*\s*:[*_`]*\s*(.*)$")
_ITEM: Final = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+(.+)$")
_NOTHING: Final = frozenset(["", "none", "nothing", "no", "n/a", "no issues", "none found", "no issues found", "-"])
_CONFLICTS: Final = ("conflict", "conflicts", "disagree", "disagreed", "contradiction", "contradictions")
_LISTS: Final = {
    **dict.fromkeys(("agreed", "agree", "agreement"), "agreed"),
    **dict.fromkeys(_CONFLICTS, "conflicts"),
    **dict.fromkeys(("flagged", "only one", "single", "alone"), "flagged"),
}
_ISSUES: Final = dict.fromkeys(("issue", "issues", "problem", "problems", "objection", "objections"), "issues")


class Critique(Struct, frozen=True):
    """What a critic said of an answer."""

    score: float | None
    """0 to 1."""
    issues: tuple[str, ...] = ()
    is_broken: bool = False
    """It is JSON that breaks off, or that says neither: there is nothing in it to revise an answer by."""


class Comparison(Struct, frozen=True):
    """What a model found in answers that it compared."""

    agreed: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    flagged: tuple[str, ...] = ()

    @property
    def value(self) -> float | None:
        """The share of points on which they agree; None where it found no point at all."""
        points = len(self.agreed) + len(self.conflicts) + len(self.flagged)
        return len(self.agreed) / points if points else None


def longest(schema: dict[str, Any]) -> int:
    """How many characters JSON has at most that is written under a schema of lists of texts and a score."""
    return 2 + sum(len(f'"{name}": , ') + _longest_of(one) for name, one in _parts(schema))


def _parts(schema: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    parts: dict[str, dict[str, Any]] = schema.get("properties", {})
    return parts.items()


def _longest_of(schema: dict[str, Any]) -> int:
    if schema["type"] != "array":
        return _SCORE_LENGTH
    return 2 + int(schema["maxItems"]) * (int(schema["items"]["maxLength"]) + len('"",\n        '))


def within(schema: dict[str, Any], tokens: int) -> dict[str, Any]:
    """The schema with as many points, and where one is too many so short ones, that a model that is held to it finds
    its end within so many tokens.
    """
    for most, length in ((most, length) for length in (LENGTH, 60, 30, 15) for most in range(6, 0, -1)):
        small = {name: _smaller(one, most, length) for name, one in _parts(schema)}
        found = {**schema, "properties": small} if small else schema
        if longest(found) <= TOKEN * tokens:
            return found
    return found


def _smaller(schema: dict[str, Any], most: int, length: int) -> dict[str, Any]:
    if schema["type"] != "array":
        return schema
    items = {**schema["items"], "maxLength": min(length, schema["items"]["maxLength"])}
    return {**schema, "items": items, "maxItems": min(most, schema["maxItems"])}


def critique(text: str, draft: str = "") -> Critique:
    """The score is None where none can be read, or one that is not between 0 and 1. Who quotes a verdict that stands in
    the `draft` has not given it.
    """
    text = _without_quotes(text, draft)
    if (said := _object(text)) is not None and said.keys() & {"score", "issues"}:
        score, issues = _in_range(said.get("score")), _points(said.get("issues"))
        return Critique(score, issues, is_broken=score is None and not issues)
    if text.lstrip("` \njson").startswith("{"):
        return Critique(None, is_broken=True)  # cut off, and so may its score be
    return Critique(_score(text), tuple(_lists(text, _ISSUES).get("issues", ())))


def comparison(text: str) -> Comparison | None:
    """None where it cannot be read, or names no point."""
    said = _object(text)
    if said is not None and said.keys() & {"agreed", "conflicts", "flagged"}:
        found = Comparison(*(_points(said.get(name)) for name in ("agreed", "conflicts", "flagged")))
    else:
        lists = _lists(text, _LISTS)
        found = Comparison(*(tuple(lists.get(name, ())) for name in ("agreed", "conflicts", "flagged")))
    return found if found.value is not None else None


def _without_quotes(text: str, draft: str) -> str:
    """`text` without scores that stand in the draft as well. Who writes nothing but JSON quotes nobody."""
    if draft and not _is_json(text):
        quoted = {found[0].strip() for found in _SCORE.finditer(draft)}
        for one in sorted(quoted, key=len, reverse=True):
            text = text.replace(one, "")
    return text


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, whatever stands around it."""
    found = _OBJECT.search(text)
    try:
        said = json.loads(found[0]) if found is not None else None
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _in_range(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else None  # type: ignore[operator, arg-type]


def _score(text: str) -> float | None:
    """The last one that is written as `SCORE: 0.85`, `8.5/10` or `85%`."""
    found = list(_SCORE.finditer(text))
    if not found:
        return None
    value, scale = float(found[-1][1]), (found[-1][2] or "").lower()
    whole = 100.0 if scale == "%" else float(scale.lstrip("/outf ")) if scale else 1.0
    return _in_range(value / whole) if whole else None


def _points(value: object) -> tuple[str, ...]:
    return tuple(_told(str(item) for item in value if isinstance(item, str))) if isinstance(value, list) else ()


def _lists(text: str, names: dict[str, str]) -> dict[str, list[str]]:
    """The points below or behind each of `names`, as `ISSUE: …` or as a list under `Issues:`."""
    found, under = dict[str, list[str]](), ""
    for line in text.splitlines():
        labelled = _LABELLED.match(line)
        if labelled is not None and labelled[1].strip().lower() in names:
            under = names[labelled[1].strip().lower()]
            found.setdefault(under, []).append(labelled[2])
        elif (item := _ITEM.match(line)) is not None and under:
            found[under].append(item[1])
        elif line.strip():
            under = ""
    return {name: _told(points) for name, points in found.items()}


def _told(points: Iterable[str]) -> list[str]:
    """Those that say something, each once."""
    plain = (" ".join(point.split())[:POINT] for point in points)
    return list(dict.fromkeys(point for point in plain if point.lower().strip(' .*_`"') not in _NOTHING))[:POINTS]
