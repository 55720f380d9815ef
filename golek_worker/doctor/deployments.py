"""Would the deployments of this machine run, each with its engine?"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from golek_worker import settings
from golek_worker.doctor.finding import Finding, Verdict
from golek_worker.machine import check
from golek_worker.machine.lifecycle import ENVS
from golek_worker.registry.artifacts import find
from golek_worker.settings import Settings


async def findings(envs: Path = ENVS) -> AsyncIterator[Finding]:
    """A line for each that has an env file."""
    for name in names(envs):
        yield await of(name, envs)


def names(envs: Path) -> list[str]:
    """The deployments with an env file."""
    found = (file.name.removeprefix("worker.").removesuffix(".env") for file in envs.glob("worker.*.env"))
    return sorted(name for name in found if name != "example")


async def of(name: str, envs: Path = ENVS, *, asked: bool = False) -> Finding:
    """Whether one would run. It is needed when somebody `asked` for it, or when it has run here before."""
    file = settings.env_file(name, envs)
    wrong = await check.problems(file)
    chosen, _ = settings.read(file)
    if wrong:
        is_needed = asked or chosen is None or await asyncio.to_thread(chosen.log_file.exists)
        verdict: Verdict = "cannot" if is_needed else "could be"
        return Finding(name, verdict, _said(chosen, wrong), is_needed=is_needed)
    assert chosen is not None
    wanted = await asyncio.to_thread(check.about_model, chosen)
    notes = [*wanted, *check.memory_note(chosen)] or ["has all that it needs"]
    return Finding(name, "could be" if _is_missing(chosen) else "ok", _said(chosen, notes), f"make start WORKER={name}")


def _said(chosen: Settings | None, sentences: list[str]) -> str:
    says = "; ".join(sentences)
    return says if chosen is None or says.startswith("ENGINE=") else f"ENGINE={chosen.engine}: {says}"


def _is_missing(chosen: Settings) -> bool:
    """Whether its model is to be downloaded first."""
    return chosen.model_lies_in != "none" and find(chosen) is None
