"""Which answers are the same, compared as they are?

For short and structured answers. Pure.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from golek_wire.requests import InferenceRequest
from golek_worker.orchestration.base import Agreement

SHORT: Final = 64
"""Characters of an answer that is compared as it is, after `normal`."""
_NUMBER: Final = re.compile(r"[-+]?(?:\d+(?:,\d{3})*|\d*)(?:\.\d+)?")
_FENCED: Final = re.compile(r"```\w*\n(.*?)\n?```", re.DOTALL)
_AROUND: Final = " \t\n\"'`*_“”‘’«»"  # noqa: RUF001 - quotes as typesetters have them
_CLOSING: Final = ".!,;:。！"  # noqa: RUF001 - of other scripts, too


def is_structured(request: InferenceRequest) -> bool:
    """Whether the answer has a form that the request gives, which makes equal answers equal texts."""
    form, params = request.response_format, request.params
    has_form = form is not None and form.type != "text"
    return has_form or bool(params.choice or params.regex or params.grammar)


def are_short(texts: Sequence[str]) -> bool:
    """Whether every answer is one short line."""
    return all("\n" not in text.strip() and len(normal(text)) <= SHORT for text in texts)


def normal(text: str) -> str:
    """`text` without what makes no other answer of it: case, blanks, quotes, the closing stop, how numbers are
    written; JSON without its order and blanks.
    """
    if (value := _json(text)) is not None:
        return value
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    before = None
    while before != plain:
        before = plain
        plain = plain.strip(_AROUND).rstrip(_CLOSING)
    return _number(plain) or plain


def count(texts: Sequence[str]) -> Agreement:
    """The groups of equal texts, the largest first; of equally large ones the one whose first answer came first."""
    groups = dict[str, list[int]]()
    for place, text in enumerate(texts):
        groups.setdefault(normal(text), []).append(place)
    votes = sorted(map(tuple, groups.values()), key=lambda group: (-len(group), group[0]))
    shown = [texts[group[0]].strip() for group in votes]
    has_majority = len(votes[0]) * 2 > len(texts)
    others = shown[1:] if has_majority else shown
    return Agreement(
        len(votes[0]) / len(texts),
        "exact",
        agreed=(shown[0],) if has_majority else (),
        conflicts=tuple(others) if len(votes) > 1 else (),
        votes=tuple(votes),
    )


def _number(plain: str) -> str:
    """The same for `1,000`, `1000` and `1000.0`; empty for what is no number."""
    if not _NUMBER.fullmatch(plain) or not any(map(str.isdecimal, plain)):
        return ""
    value = Decimal(plain.replace(",", ""))
    return f"{value.normalize() + 0:f}"


def _json(text: str) -> str | None:
    """JSON objects and lists in one spelling; None for anything else."""
    fenced = _FENCED.fullmatch(text.strip())
    try:
        value = json.loads(fenced[1] if fenced is not None else text, parse_float=Decimal, parse_int=Decimal)
        return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list) else None
    except (ValueError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case Decimal() if value.is_finite():
            return {"number": f"{value.normalize() + 0}"}
        case _:
            return value if isinstance(value, str | bool | None) else str(value)
