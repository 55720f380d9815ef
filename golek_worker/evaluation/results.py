"""What came of the questions, and what do the figures say? Plain values, and arithmetic with them."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Literal

from msgspec import Struct, field, structs

Z_95: Final = 1.959964
SURE: Final = 0.05

Verdict = Literal["helps", "not shown", "no help", "harms"]
"""Against the best single model, on the same questions. `helps`, `harms`: better or worse, and by more than chance.
`not shown`: better, but by no more than chance may do. `no help`: as good, or worse by no more than chance may do."""


class Answer(Struct, frozen=True, omit_defaults=True):
    """What one configuration made of one question."""

    question: str
    """Its id."""
    right: bool
    text: str = ""
    error: str = ""
    """The code of the error, where there is no answer."""
    message: str = ""
    ms: float = 0.0
    """Until the whole answer was there, as the caller saw it."""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = None
    partial: bool = False
    mode: str = ""
    """Of one that several models gave."""
    models: list[str] = field(default_factory=list[str])
    """Those that answered a step."""
    steps: int = 0
    rounds: int = 0
    agreement: float | None = None
    method: str = ""
    confidence: float | None = None
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Models of it without an answer: the code of the error."""
    branches: dict[str, str] = field(default_factory=dict[str, str])
    """What each of several said by itself, by `<model>` or, of one that answers several times, `<model>#2`."""
    synthesizer: str = ""
    """Of an ensemble: whose word counts where as many say one thing as another."""


class Figures(Struct, frozen=True, omit_defaults=True):
    """One row of the table."""

    name: str
    mode: str
    models: list[str]
    asked: int
    right: int
    accuracy: float
    low: float
    """Of the 95 % interval, by Wilson."""
    high: float
    errors: dict[str, int]
    """How many answers are an error, by its code."""
    partial: int
    tokens_in: float
    """Of a question, on average."""
    tokens_out: float
    p50_ms: float | None
    p95_ms: float | None
    cost_usd: float | None
    """Of all questions; None where nothing has a price."""
    agreement: float | None
    """On average, where it was measured."""
    error: str = ""
    """The first one's words."""
    said: dict[str, str] = field(default_factory=dict[str, str])
    """The words of the first error of each code."""
    difference: float | None = None
    """To the accuracy of the best single model."""
    p_value: float | None = None
    """How likely chance alone makes a difference as large: McNemar's exact test."""
    verdict: Verdict | None = None


class Row(Struct, frozen=True):
    """A configuration, and all its answers."""

    name: str
    mode: str
    """`single`, another mode, `preset` where it could not be found out; of what is computed from answers that others
    gave `offline` and `bound`."""
    models: list[str]
    answers: list[Answer]


def figures(row: Row, best: Row | None = None) -> Figures:
    """What the answers of a row come to, against `best` where that is another one."""
    answers = row.answers
    right, asked = sum(answer.right for answer in answers), len(answers)
    low, high = interval(right, asked)
    measured = [answer.agreement for answer in answers if answer.agreement is not None]
    times = sorted(answer.ms for answer in answers if answer.ms and not answer.error)
    prices = [answer.cost_usd for answer in answers if answer.cost_usd is not None]
    found = Figures(
        name=row.name, mode=row.mode, models=row.models, asked=asked, right=right, accuracy=right / asked,
        low=low, high=high, errors=dict(Counter(answer.error for answer in answers if answer.error)),
        partial=sum(answer.partial for answer in answers),
        tokens_in=sum(answer.tokens_in for answer in answers) / asked,
        tokens_out=sum(answer.tokens_out for answer in answers) / asked,
        p50_ms=percentile(times, 0.5), p95_ms=percentile(times, 0.95), cost_usd=sum(prices) if prices else None,
        agreement=sum(measured) / len(measured) if measured else None,
        error=next((answer.message for answer in answers if answer.error), ""),
        said={answer.error: answer.message for answer in reversed(answers) if answer.error},
    )  # fmt: skip
    has_answers = any(not answer.error for answer in answers)
    return _compared(found, row, best) if best is not None and has_answers else found


def _compared(found: Figures, row: Row, best: Row) -> Figures:
    others = {answer.question: answer.right for answer in best.answers}
    better = sum(answer.right and not others[answer.question] for answer in row.answers)
    worse = sum(not answer.right and others[answer.question] for answer in row.answers)
    likely = mcnemar(better, worse)
    difference = (better - worse) / len(row.answers)
    return structs.replace(found, difference=difference, p_value=likely, verdict=verdict(better, worse, likely))


def verdict(better: int, worse: int, likely: float) -> Verdict:
    """What may be said of a mode that had so many questions right that the best single model had wrong, and so many
    wrong that it had right.
    """
    if better > worse:
        return "helps" if likely < SURE else "not shown"
    return "harms" if better < worse and likely < SURE else "no help"


def best_single(rows: Sequence[Row]) -> Row | None:
    """The single model with the most right answers, the first of several; None where none answered alone."""
    singles = [row for row in rows if row.mode == "single" and not all(answer.error for answer in row.answers)]
    return max(singles, key=lambda row: sum(answer.right for answer in row.answers), default=None)


def interval(right: int, asked: int) -> tuple[float, float]:
    """Where the true share lies with 95 % certainty, by Wilson's formula."""
    share, square = right / asked, Z_95**2
    middle = (share + square / (2 * asked)) / (1 + square / asked)
    half = Z_95 / (1 + square / asked) * math.sqrt(share * (1 - share) / asked + square / (4 * asked**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(better: int, worse: int) -> float:
    """How likely a fair coin falls as unevenly as `better` against `worse`, or more so."""
    tosses = better + worse
    tail = sum(math.comb(tosses, heads) for heads in range(min(better, worse) + 1))
    return min(1.0, float(2 * tail / (1 << tosses)))


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value that so many are not above, of values in order; None of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def as_summary(rows: Sequence[Row]) -> dict[str, Any]:
    """All figures, and which single model the others are compared with."""
    best = best_single(rows)
    return {
        "best_single": best.name if best is not None else None,
        "rows": [figures(row, best if row.mode not in ("single", "bound") else None) for row in rows],
    }
