"""What do steps come to that a flow can go on without?

Errors as values, so that a branch that fails stops nobody else. A cancelled request is no such error: it ends the flow,
and with it all that runs beside it.
"""

import asyncio
from collections.abc import Sequence

from msgspec import Struct, structs

from golek_wire.errors import InferenceServiceError, JobCancelledError, OrchestrationFailedError
from golek_worker.orchestration.base import Ask, Case, Said, Step

Said_or_error = Said | InferenceServiceError


class Branches(Struct, frozen=True):
    """What steps came to that were asked at once."""

    steps: tuple[Step, ...]
    ends: tuple[Said_or_error, ...]
    """By the place of the step."""

    @property
    def saids(self) -> list[Said]:
        """The usable answers, in the order of the steps."""
        return [end for end in self.ends if isinstance(end, Said)]

    @property
    def errors(self) -> list[tuple[Step, InferenceServiceError]]:
        ended = zip(self.steps, self.ends, strict=True)
        return [(step, end) for step, end in ended if isinstance(end, InferenceServiceError)]

    @property
    def failed(self) -> dict[str, str]:
        """The code of the first error, by model, of those that gave no answer at all."""
        return failed(self.errors, self.saids)


class Course:
    """A flow's steps are asked through it: it counts them, so that each one says how many there are."""

    def __init__(self, case: Case, ask: Ask) -> None:
        self.case = case
        self.ask = ask
        self.asked = 0

    def placed(self, steps: Sequence[Step], later: int) -> list[Step]:
        """`steps`, which are asked next, with their `total`: `later` more may follow."""
        self.asked += len(steps)
        return [structs.replace(step, total=self.asked + later) for step in steps]

    async def tried(self, step: Step, later: int) -> Said_or_error:
        """What `step` comes to; an answer without any text is an error as well. Raises JobCancelledError."""
        [placed] = self.placed([step], later)
        return await _tried(self.ask, placed)

    async def together(self, steps: Sequence[Step], later: int) -> Branches:
        """What `steps` come to, asked at once. Raises JobCancelledError; whatever is raised, none of them goes on."""
        placed = self.placed(steps, later)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_tried(self.ask, step)) for step in placed]
        except BaseExceptionGroup as raised:
            raise raised.exceptions[0] from None
        return Branches(tuple(placed), tuple(task.result() for task in tasks))


async def _tried(ask: Ask, step: Step) -> Said_or_error:
    try:
        said = await ask(step)
    except JobCancelledError:
        raise
    except InferenceServiceError as error:
        return error
    if said.is_usable:
        return said
    return OrchestrationFailedError(f"{step.member.model} answered {step.name} without any text")


def failed(errors: Sequence[tuple[Step, InferenceServiceError]], saids: Sequence[Said] = ()) -> dict[str, str]:
    """The code of the first error, by model, of those that have said nothing."""
    answered = {said.step.member.model for said in saids}
    codes = dict[str, str]()
    for step, error in errors:
        if step.member.model not in answered:
            codes.setdefault(step.member.model, error.code)
    return codes
