"""Does one text say the contrary of another?

By rule, without a model: two sentences contradict each other when they are about the same (nearly all their words are
shared) and differ in a figure that counts the same, in a negation of a shared word, or in a word for its opposite.
What the rule cannot see: contraries in other words (`Paris` and `Lyon` as the capital), in other units (`5 minutes`
and `600 seconds`), over several sentences, of who did what to whom; and it knows English only. It is made to be right
where it says so, not to find everything: questions, conditions, bounds such as `at least 5`, other names and other
times do not contradict.
"""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Final

from golek_worker.orchestration import statements
from golek_worker.orchestration.opposites import are_opposite
from golek_worker.orchestration.sentences import sentences
from golek_worker.orchestration.statements import Statement

SHARED: Final = 0.75
"""Of the words of the shorter sentence so many also stand in the other one."""
OVERLAP: Final = 0.5
"""Of the words of both, so many stand in both."""


def contradicts(text: str, decision: str) -> bool:
    """Whether some sentence of `text` says the contrary of a sentence of `decision`."""
    return bool(contradicted(text, [decision]))


def contradicted(text: str, decisions: Sequence[str]) -> list[str]:
    """Those of `decisions` that `contradicts` is true of; the text is read once for all."""
    said = _read(text) if decisions else []
    return [one for one in decisions if any(contradict(*pair) for pair in product(said, _read(one)))]


def contradict(one: Statement, other: Statement) -> bool:
    """Whether these two statements cannot both be so."""
    if not (one.is_claim and other.is_claim) or _at_other_times(one, other):
        return False
    mine, theirs = set(one.words), set(other.words)
    opposed = [pair for pair in product(mine - theirs, theirs - mine) if are_opposite(*pair)]
    shared = mine & theirs
    if not _are_about_the_same(one, other, shared, opposed):
        return False
    if _differ_in_figures(one, other):
        return True
    negated = [word for word in shared if (word in one.negated) != (word in other.negated)]
    turned = [pair for pair in opposed if (pair[0] in one.negated) == (pair[1] in other.negated)]
    return bool(negated) != bool(turned)


def _read(text: str) -> list[Statement]:
    return [statements.read(sentence) for sentence in sentences(text)]


def _at_other_times(one: Statement, other: Statement) -> bool:
    return bool(one.opening and other.opening and one.opening != other.opening)


def _are_about_the_same(one: Statement, other: Statement, shared: set[str], opposed: list[tuple[str, str]]) -> bool:
    mine, theirs = set(one.words) - {a for a, _ in opposed}, set(other.words) - {b for _, b in opposed}
    if mine == theirs:
        return bool(shared) or _only_figures(one, other) or len(opposed) == 1
    if one.names & (mine - shared) and other.names & (theirs - shared):
        return False
    if mine - shared and theirs - shared and not ({one.words[0]} & theirs or {other.words[0]} & mine):
        return False
    common = len(shared) + len(opposed)
    return (
        bool(shared)
        and (common >= 2 or one.words[0] == other.words[0])
        and common / (len(opposed) + min(len(mine), len(theirs))) >= SHARED
        and common / (len(opposed) + len(mine | theirs)) >= OVERLAP
    )


def _only_figures(one: Statement, other: Statement) -> bool:
    """Whether both are one number, date, yes or no, and nothing else."""
    return all(sum(map(len, each.figures.values())) == 1 for each in (one, other))


def _differ_in_figures(one: Statement, other: Statement) -> bool:
    """Whether something that both count has no figure in common."""
    both = one.figures.keys() & other.figures.keys()
    return any(not any(_equal(a, b) for a, b in product(one.figures[what], other.figures[what])) for what in both)


def _equal(one: str, other: str) -> bool:
    """As numbers, where both are: 3.14 is 3.14159 written shorter, and 5.0 is 5."""
    if one == other:
        return True
    try:
        first, second = Decimal(one), Decimal(other)
    except InvalidOperation:
        return False
    places = [-exponent if isinstance(exponent := number.as_tuple().exponent, int) else 0 for number in (first, second)]
    is_rounded = min(places) > 0 and round(first, min(places)) == round(second, min(places))
    return is_rounded or first == second
