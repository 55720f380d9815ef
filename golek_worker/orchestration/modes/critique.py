"""critique: one model writes, another one judges, the first revises.

    request -> generate -> critique -> revise -> critique -> ... -> response

It ends with an answer whose score is high enough, as it is, or with the revision of the last round, which nobody has
judged. A critique that cannot be read is nothing to revise by: it ends with the answer that was to be judged.
"""

from typing import Final

from golek_wire.errors import InferenceServiceError
from golek_worker.orchestration import materials, verdicts
from golek_worker.orchestration.asking import Course, failed
from golek_worker.orchestration.base import CRITIC, GENERATOR, Ask, Case, Material, Outcome, Said, Step
from golek_worker.orchestration.failing import failure
from golek_worker.orchestration.verdicts import Critique

UNREAD: Final = "What the critic said could not be read"


async def run(case: Case, ask: Ask) -> Outcome:
    """The answer, its score as the confidence; a partial one where critic or reviser fail for good.

    Raises what `failing.failure` makes of it where the first answer fails.
    """
    course = Course(case, ask)
    steps = _Steps(case)
    first = steps.generate()
    draft = await course.tried(first, later=first.depth - 1)
    if isinstance(draft, InferenceServiceError):
        raise failure([(first, draft)])
    if draft.acts:
        return Outcome(draft)
    verdict = Critique(None)
    for number in range(1, case.limits.max_rounds + 1):
        step = steps.critique(number, draft)
        said = await course.tried(step, later=step.depth - 1)
        if isinstance(said, InferenceServiceError):
            blame = failed([(step, said)], [draft])
            return Outcome(draft, number, None, None, verdict.issues, blame, step.depth, said)
        before, verdict = verdict, verdicts.critique(said.text, draft.text)
        if verdict.is_broken or (verdict.score is not None and verdict.score >= case.limits.threshold):
            flagged = (*before.issues, UNREAD) if verdict.is_broken else verdict.issues
            return Outcome(draft, number, verdict.score, flagged=flagged)
        step = steps.revise(number, draft, _objections(verdict, said))
        revised = await course.tried(step, later=step.depth - 1)
        if isinstance(revised, InferenceServiceError):
            return Outcome(draft, number, verdict.score, None, verdict.issues, {}, step.depth, revised)
        if revised.acts:
            return Outcome(revised, number)
        draft = revised
    return Outcome(draft, case.limits.max_rounds, flagged=verdict.issues)


class _Steps:
    """The steps of one case. A round is two of them, so `depth` counts down by one each."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._rounds = case.limits.max_rounds
        self._generator = case.cast.duties[GENERATOR]
        self._critic = case.cast.duties[CRITIC]

    def generate(self) -> Step:
        return Step("generate", self._generator, GENERATOR, acts=self._case.may_act, depth=1 + 2 * self._rounds)

    def critique(self, number: int, draft: Said) -> Step:
        schema = verdicts.CRITIQUE if self._critic.follows_schemas else None
        depth = 2 * (self._rounds - number + 1)
        return Step("critique", self._critic, CRITIC, number, (materials.draft(draft),), schema, depth=depth)

    def revise(self, number: int, draft: Said, objections: Material) -> Step:
        left = self._rounds - number
        return Step(
            "revise", self._generator, GENERATOR, number, (materials.draft(draft), objections),
            is_final=left == 0, acts=self._case.may_act, depth=1 + 2 * left,
        )  # fmt: skip


def _objections(verdict: Critique, said: Said) -> Material:
    """What the reviser reads: the list of issues, or the critic's own words where no list could be read."""
    critic = said.step.member.model
    if verdict.issues:
        return materials.listed(materials.OBJECTIONS, verdict.issues, critic)[0]
    if verdict.score is not None:
        return Material(materials.OBJECTIONS, f"It is not good enough yet: {verdict.score:.2f} of 1.", critic)
    return Material(materials.OBJECTIONS, said.text, critic)
