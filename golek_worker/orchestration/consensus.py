"""How far do answers agree, and how is that found out?

By the first of three that can tell: as they are, where all are short or structured; by the vectors of their sentences,
where an embedding model answers; by a model that compares what they claim. Where none can, nobody knows, and no number
is made up.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import structs

from golek_worker.orchestration import claims, materials, verdicts, votes
from golek_worker.orchestration.asking import Course
from golek_worker.orchestration.base import Agreement, Said, Step

UNKNOWN: Final = Agreement(None)


async def agreement(saids: Sequence[Said], course: Course, compare: Step, later: int) -> Agreement:
    """How far `saids` agree. `compare` is the step of whoever compares claims, should it come to that; `later` steps
    may follow it. A comparison that fails says nothing. Raises JobCancelledError.
    """
    texts = [said.text for said in saids]
    if len(texts) < 2:
        return UNKNOWN
    if votes.is_structured(course.case.request) or votes.are_short(texts):
        return votes.count(texts)
    found = await _by_vectors(texts, course)
    return found if found.value is not None else await _by_claims(saids, course, compare, later)


def may_compare(course: Course) -> int:
    """How many steps a comparison may take: none where the request gives the form of the answer."""
    return 0 if votes.is_structured(course.case.request) else 1


def places_of_majority(found: Agreement) -> list[tuple[int, ...]]:
    """The largest groups of equal answers: one, or those that are tied."""
    return [group for group in found.votes if len(group) == len(found.votes[0])]


def is_unanimous(found: Agreement) -> bool:
    """Whether all answers are the same text, in all that counts."""
    return len(found.votes) == 1


async def _by_vectors(texts: Sequence[str], course: Course) -> Agreement:
    said = await asyncio.to_thread(claims.claims, texts)
    vectors = await course.ask.embed([claim.text for claim in said]) if said else None
    if vectors is None or len(vectors) != len(said):
        return UNKNOWN
    return await asyncio.to_thread(claims.agreement, said, vectors, len(texts))  # up to 8,000 products of vectors


async def _by_claims(saids: Sequence[Said], course: Course, compare: Step, later: int) -> Agreement:
    schema = verdicts.COMPARISON if compare.member.follows_schemas else None
    step = structs.replace(compare, reads=materials.answers(saids), schema=schema)
    said = await course.tried(step, later)
    read = verdicts.comparison(said.text) if isinstance(said, Said) else None
    if read is None:
        return UNKNOWN
    return Agreement(read.value, "claims", read.agreed, read.conflicts, read.flagged)
