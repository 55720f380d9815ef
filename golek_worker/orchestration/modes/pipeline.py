"""pipeline: one stage after the other, each goes on with the text so far.

request -> draft -> refine -> validate -> response
"""

from golek_wire.errors import InferenceServiceError
from golek_worker.orchestration import materials
from golek_worker.orchestration.asking import Course, failed
from golek_worker.orchestration.base import Ask, Case, Outcome, Said, Step
from golek_worker.orchestration.failing import failure


async def run(case: Case, ask: Ask) -> Outcome:
    """The text of the last stage; of the last one that came to a text where a stage fails for good: a partial answer.

    Raises what `failing.failure` makes of it where the first stage fails.
    """
    course = Course(case, ask)
    stages = case.cast.stages
    said: Said | None = None
    for place, (name, member) in enumerate(stages):
        left = len(stages) - place
        step = Step(
            name, member, name, reads=(materials.draft(said),) if said is not None else (),
            is_final=left == 1, acts=left == 1 and case.may_act, depth=left,
        )  # fmt: skip
        end = await course.tried(step, later=left - 1)
        if isinstance(end, Said):
            said = end
        else:
            return _cut_short(step, end, said)
    assert said is not None, "a pipeline has a stage"
    return Outcome(said)


def _cut_short(step: Step, error: InferenceServiceError, said: Said | None) -> Outcome:
    if said is None:
        raise failure([(step, error)])
    return Outcome(said, failed=failed([(step, error)], [said]), left=step.depth, error=error)
