"""What do all requests have in common that a router has several models answer?

What each step is told, how much of each model's context is for what, and what is remembered between steps: all read or
opened when the router starts.
"""

from collections.abc import Callable

from msgspec import Struct

from golek_program.settings import SettingsError
from golek_worker.conducting.between_steps import open_handoffs
from golek_worker.orchestration import budgets, prompts
from golek_worker.orchestration.budgets import BudgetsError
from golek_worker.orchestration.context import Memory
from golek_worker.orchestration.prompts import Prompts, PromptsError
from golek_worker.settings import Settings


class Common(Struct, frozen=True):
    """All of that."""

    memory: Memory
    prompts: Prompts

    async def close(self) -> None:
        """Hang up where handoff states lie."""
        if self.memory.handoffs is not None:
            await self.memory.handoffs.close()


async def opened(chosen: Settings, digest_of: Callable[[str], str]) -> Common:
    """The common memory of a router with these settings; `digest_of` tells which file a model has loaded.

    Raises SettingsError for files that are wrong and stages that there are not, RuntimeError without the Redis that
    GOLEK_SESSION_STORE names.
    """
    try:
        told, rooms = prompts.read(), budgets.load()
    except (PromptsError, BudgetsError) as error:
        raise SettingsError([str(error)]) from None
    check_stages(chosen, told)
    return Common(Memory(told, rooms, await open_handoffs(chosen), digest_of), told)


def check_stages(chosen: Settings, told: Prompts) -> None:
    """Raise SettingsError for a stage of INFERENCE_PIPELINE_STAGES that nothing is told."""
    names = prompts.stages(chosen.inference_pipeline_stages)
    wrong = told.unknown_stages(names) if names else "at least one stage, got none"
    if wrong:
        raise SettingsError([f"INFERENCE_PIPELINE_STAGES={chosen.inference_pipeline_stages}: {wrong}"])
