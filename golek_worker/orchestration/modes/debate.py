"""debate: all answer at once, read each other and answer again until they agree, and one makes one answer of theirs.

    request -> [answer, answer] -> compare -> [rebut, rebut] -> compare -> reconcile -> response

Answers that are the same need nobody to reconcile them.
"""

from collections.abc import Sequence

from golek_worker.orchestration import consensus, materials, participants
from golek_worker.orchestration.asking import Branches, Course
from golek_worker.orchestration.base import PARTICIPANT, RECONCILER, Agreement, Ask, Case, Outcome, Said, Step
from golek_worker.orchestration.failing import failure


async def run(case: Case, ask: Ask) -> Outcome:
    """The reconciled answer; the last agreement is its confidence, and flagged where it is too small. A partial
    answer, the best branch, where nobody reconciles.

    Raises what `failing.failure` makes of it where no branch has an answer.
    """
    debate = _Debate(case, ask)
    branches = await debate.open()
    saids = branches.saids
    if not saids:
        raise failure(branches.errors)
    number = 1
    found = await debate.compare(saids, number)
    while len(saids) > 1 and number < case.limits.max_rounds and not _agree(found, case):
        number += 1
        rebutted = await debate.rebut(saids, number)
        if rebutted is None:
            break
        saids = rebutted
        found = await debate.compare(saids, number)
    ending = participants.Ending(debate.course, saids, found, branches.failed, len(case.cast.members), number)
    if ending.must_write or not (consensus.is_unanimous(found) or len(saids) == 1):
        return await ending.written("reconcile", RECONCILER)
    return ending.given(participants.best(saids, found, debate.reconciler.model))


class _Debate:
    """The rounds of one case."""

    def __init__(self, case: Case, ask: Ask) -> None:
        self.course = Course(case, ask)
        self.reconciler = case.cast.duties[RECONCILER]
        self._case = case
        self._rounds = case.limits.max_rounds
        self._compares = consensus.may_compare(self.course)

    async def open(self) -> Branches:
        """The first answers of all."""
        case = self._case
        rounds = self._rounds if len(case.cast.members) > 1 else 1
        depth = rounds * (1 + self._compares) + 1
        return await self.course.together(participants.answers(case, depth), self._later(1, len(case.cast.members)))

    def _later(self, number: int, members: int) -> int:
        """Steps that may follow the answers of a round."""
        left = self._rounds - number if members > 1 else 0
        return left * members + (left + 1) * self._compares + 1

    async def compare(self, saids: Sequence[Said], number: int) -> Agreement:
        left = self._rounds - number
        depth = left * (1 + self._compares) + 2
        step = Step("compare", self.reconciler, RECONCILER, number, depth=depth)
        later = left * len(saids) + left * self._compares + 1
        return await consensus.agreement(saids, self.course, step, later)

    async def rebut(self, saids: Sequence[Said], number: int) -> list[Said] | None:
        """What each says once it has read the others: what it said before, where it fails. None where all fail."""
        depth = (self._rounds - number + 1) * (1 + self._compares) + 1
        steps = [
            Step("rebut", said.step.member, PARTICIPANT, number, materials.answers(saids, place), depth=depth,
                 draw=said.step.draw)
            for place, said in enumerate(saids)
        ]  # fmt: skip
        branches = await self.course.together(steps, self._later(number, len(saids)))
        if not branches.saids:
            return None
        return [end if isinstance(end, Said) else said for end, said in zip(branches.ends, saids, strict=True)]


def _agree(found: Agreement, case: Case) -> bool:
    return found.value is not None and found.value >= case.limits.threshold
