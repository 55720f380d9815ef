"""Would the deployments of this machine run, each with its engine?"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from golek_worker import settings
from golek_worker.doctor.finding import Finding
from golek_worker.machine import check
from golek_worker.machine.lifecycle import ENVS
from golek_worker.registry.artifacts import ArtifactError, find
from golek_worker.settings import Settings


async def findings(envs: Path = ENVS) -> AsyncIterator[Finding]:
    """A line for each that has an env file. One whose model is not here yet is not needed: nobody has used it."""
    for file in sorted(envs.glob("worker.*.env")):
        name = file.name.removeprefix("worker.").removesuffix(".env")
        if name != "example":
            yield await of(name, envs)


async def of(name: str, envs: Path = ENVS, *, asked: bool = False) -> Finding:
    """Whether one would run; one that somebody `asked` for is needed in any case."""
    file = settings.env_file(name, envs)
    wrong = await check.problems(file)
    chosen, _ = settings.read(file)
    is_here = chosen is None or await asyncio.to_thread(_is_here, chosen)
    if wrong:
        verdict = "cannot" if asked or is_here else "could be"
        return Finding(
            name, verdict, _engine(chosen) + "; ".join(wrong), f"golek worker check {name}", asked or is_here
        )
    assert chosen is not None
    notes = [*check.about_model(chosen), *check.memory_note(chosen)]
    says = _engine(chosen) + ("; ".join(notes) or "has all that it needs")
    return Finding(name, "ok" if is_here else "could be", says, f"make start WORKER={name}")


def _engine(chosen: Settings | None) -> str:
    return f"ENGINE={chosen.engine}: " if chosen is not None else ""


def _is_here(chosen: Settings) -> bool:
    if chosen.model_lies_in == "none":
        return True
    try:
        return find(chosen) is not None
    except ArtifactError:
        return True  # something lies there, and is not right
