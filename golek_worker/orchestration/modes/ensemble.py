"""ensemble: all answer at once, and what most say is the answer.

    request -> [answer, answer, answer] -> compare -> synthesize -> response

Short and structured answers are counted, and the majority is the answer; of others one is written of all.
"""

from golek_worker.orchestration import consensus, participants
from golek_worker.orchestration.asking import Course
from golek_worker.orchestration.base import SYNTHESIZER, Ask, Case, Outcome, Step
from golek_worker.orchestration.failing import failure


async def run(case: Case, ask: Ask) -> Outcome:
    """The majority's answer, or one of all; the agreement is its confidence, and flagged where it is too small. A
    partial answer, the best branch, where nobody writes one of all.

    Raises what `failing.failure` makes of it where no branch has an answer.
    """
    course = Course(case, ask)
    synthesizer = case.cast.duties[SYNTHESIZER]
    compares, writes = consensus.may_compare(course), participants.may_write(course)
    branches = await course.together(participants.answers(case, 1 + compares + writes), later=compares + writes)
    saids = branches.saids
    if not saids:
        raise failure(branches.errors)
    found = consensus.UNKNOWN
    if len(saids) > 1:
        compare = Step("compare", synthesizer, SYNTHESIZER, depth=2)
        found = await consensus.agreement(saids, course, compare, later=1)
    ending = participants.Ending(course, saids, found, branches.failed, len(case.cast.members))
    if ending.must_write or not (found.votes or len(saids) == 1):
        return await ending.written("synthesize", SYNTHESIZER)
    return ending.given(participants.best(saids, found, synthesizer.model))
