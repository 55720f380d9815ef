"""Which claims of an answer do the others make, too, by the vectors of their sentences?

A sentence is a claim. Two of them are the same where their cosine is SAME or more and neither contradicts the other by
rule: vectors alone do not tell 8080 from 9090. Pure.
"""

from collections.abc import Sequence
from itertools import combinations
from operator import mul
from typing import Final

from msgspec import Struct

from golek_worker.orchestration import statements
from golek_worker.orchestration.base import Agreement
from golek_worker.orchestration.contradiction import contradict
from golek_worker.orchestration.sentences import sentences
from golek_worker.orchestration.statements import Statement

SAME: Final = 0.8
"""Cosine from which on two sentences make the same claim."""
ALIKE: Final = 0.6
"""Cosine from which on they may speak of the same, and are asked whether they contradict each other."""
MOST: Final = 128
"""Claims that are compared, of all answers together; of long answers the first ones."""
TOLD: Final = 16
"""Points that are told of each sort."""
LENGTH: Final = 400
"""Characters of a claim that is compared and told."""


class Claim(Struct, frozen=True):
    """A sentence of an answer."""

    place: int
    """Of the answer."""
    text: str
    statement: Statement


def claims(texts: Sequence[str]) -> list[Claim]:
    """The claims of all answers: sentences that state something, each once in its answer."""
    most = max(1, MOST // max(1, len(texts)))
    found = list[Claim]()
    for place, text in enumerate(texts):
        said = (Claim(place, one[:LENGTH], statements.read(one[:LENGTH])) for one in dict.fromkeys(sentences(text)))
        found += [claim for claim in said if _states(claim.statement)][:most]
    return found


def agreement(found: Sequence[Claim], vectors: Sequence[Sequence[float]], answers: int) -> Agreement:
    """How far so many `answers` agree.

    The value is the mean over the answers of the mean over an answer's claims of the share of other answers that make
    the claim, too. Agreed is what more than half of the answers claim, flagged what one alone does. An answer without
    any claim agrees with nobody; the value is None where no answer has one.
    """
    makers = [{claim.place} for claim in found]
    same, conflicts = [[place] for place in range(len(found))], list[str]()
    for one, other in combinations(range(len(found)), 2):
        first, second = found[one], found[other]
        cosine = sum(map(mul, vectors[one], vectors[other])) if first.place != second.place else 0.0
        if cosine < ALIKE:
            continue
        if contradict(first.statement, second.statement):
            conflicts.append(f"{first.text} / {second.text}")
        elif cosine >= SAME:
            makers[one].add(second.place)
            makers[other].add(first.place)
            same[one].append(other)
            same[other].append(one)
    told = _first_of_each(same)
    return Agreement(
        _value(found, makers, answers) if found else None,
        "embedding" if found else None,
        agreed=tuple(found[i].text for i in told if len(makers[i]) * 2 > answers)[:TOLD],
        conflicts=tuple(dict.fromkeys(conflicts))[:TOLD],
        flagged=tuple(found[i].text for i in told if len(makers[i]) == 1 and answers > 1)[:TOLD],
    )


def _states(statement: Statement) -> bool:
    return statement.is_claim and (len(statement.words) >= 2 or bool(statement.figures))


def _value(found: Sequence[Claim], makers: Sequence[set[int]], answers: int) -> float:
    shares: list[list[float]] = [[] for _ in range(answers)]
    for claim, made in zip(found, makers, strict=True):
        shares[claim.place].append((len(made) - 1) / (answers - 1) if answers > 1 else 1.0)
    return sum(sum(share) / len(share) for share in shares if share) / answers


def _first_of_each(same: Sequence[Sequence[int]]) -> list[int]:
    """Of claims that are the same the first one, with those that are said once."""
    told, seen = list[int](), set[int]()
    for place, others in enumerate(same):
        if place not in seen:
            told.append(place)
        seen.update(others)
    return told
