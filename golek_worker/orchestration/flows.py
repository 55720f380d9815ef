"""Which flow does a mode stand for?"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from golek_wire.orchestration import Mode
from golek_worker.orchestration.base import Ask, Case, Outcome
from golek_worker.orchestration.modes import critique, debate, ensemble, pipeline, single

Flow = Callable[[Case, Ask], Awaitable[Outcome]]
FLOWS: Final[Mapping[Mode, Flow]] = {
    "single": single.run,
    "critique": critique.run,
    "debate": debate.run,
    "ensemble": ensemble.run,
    "pipeline": pipeline.run,
}


async def run(case: Case, ask: Ask) -> Outcome:
    """How the case's flow ends. Raises the InferenceServiceError of one that has nothing to give."""
    return await FLOWS[case.cast.mode](case, ask)
