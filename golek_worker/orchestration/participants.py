"""What have debate and ensemble in common: answers of all members, and how one comes of them?"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from golek_wire.errors import InferenceServiceError
from golek_worker.orchestration import consensus, materials, votes
from golek_worker.orchestration.asking import Course
from golek_worker.orchestration.base import PARTICIPANT, Agreement, Case, Outcome, Said, Step

NOBODYS: Final = "The answer is none of those that were given"


def answers(case: Case, depth: int) -> list[Step]:
    """One step for each member; a model that stands there several times draws with another seed each time."""
    models = [member.model for member in case.cast.members]
    return [
        Step("answer", member, PARTICIPANT, depth=depth, draw=models[:place].count(member.model))
        for place, member in enumerate(case.cast.members)
    ]


def may_write(course: Course) -> int:
    """How many steps it may take to make one answer of all: none where answers are counted."""
    return 0 if votes.is_structured(course.case.request) and not course.case.may_act else 1


def best(saids: Sequence[Said], found: Agreement, model: str) -> Said:
    """The answer to give of those there are: of the largest group; of tied ones, and of those that were not counted,
    that of `model`; otherwise the first.
    """
    groups = consensus.places_of_majority(found) or [tuple(range(len(saids)))]
    places = [place for group in groups for place in group]
    own = [place for place in places if saids[place].step.member.model == model]
    return saids[(own or sorted(places))[0]]


class Ending(Struct, frozen=True):
    """Answers, and what is known of them: how a debate or an ensemble may end."""

    course: Course
    saids: Sequence[Said]
    found: Agreement
    failed: Mapping[str, str]
    asked: int
    """Members."""
    rounds: int = 1

    @property
    def must_write(self) -> bool:
        """Whether one has to write the answer whatever the others say: it alone is offered the tools."""
        return self.course.case.may_act

    def given(self, said: Said, error: InferenceServiceError | None = None) -> Outcome:
        """The answer is `said`; with an `error` a partial one, because nobody wrote one of all."""
        failed = {model: code for model, code in self.failed.items() if model != said.step.member.model}
        left = 0 if error is None else 1
        share = self._share(said)
        flags = (*self._flags(), *((NOBODYS,) if share == 0 else ()))
        confidence = self.found.value if share is None else share
        return Outcome(said, self.rounds, confidence, self.found, flags, failed, left, error)

    async def written(self, name: str, duty: str) -> Outcome:
        """The answer is written by whoever has the `duty`; where that fails the best there is."""
        member = self.course.case.cast.duties[duty]
        reads = (*materials.answers(self.saids), *materials.listed(materials.DISAGREEMENTS, self.found.conflicts))
        acts = self.course.case.may_act
        said = await self.course.tried(Step(name, member, duty, self.rounds, reads, is_final=True, acts=acts), later=0)
        if isinstance(said, InferenceServiceError):
            return self.given(best(self.saids, self.found, member.model), said)
        return self.given(said)

    def _share(self, said: Said) -> float | None:
        """How many of the answers say the same as `said`, where they were counted."""
        if not self.found.votes or said.acts:
            return None
        same = votes.normal(said.text)
        return sum(votes.normal(one.text) == same for one in self.saids) / len(self.saids)

    def _flags(self) -> tuple[str, ...]:
        """What is to be known of the agreement."""
        least, value = self.course.case.limits.threshold, self.found.value
        if self.asked > 1 and len(self.saids) == 1:
            return (f"Only one of {self.asked} answered: nothing to compare it with",)
        if value is None:
            return ("How far the answers agree is not known",) if len(self.saids) > 1 else ()
        return (f"The agreement of {value:.2f} is below {least:.2f}",) if value < least else ()
