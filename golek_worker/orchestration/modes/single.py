"""single: one model answers.

request -> answer -> response
"""

from golek_worker.orchestration.base import GENERATOR, Ask, Case, Outcome, Step


async def run(case: Case, ask: Ask) -> Outcome:
    """The model's answer. Raises what its step ends in."""
    member = case.cast.duties.get(GENERATOR, case.cast.members[0])
    return Outcome(await ask(Step("answer", member, GENERATOR, is_final=True, acts=case.may_act)))
