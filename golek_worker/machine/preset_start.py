"""How is a preset brought up on this machine?

Its models' workers and a router are started as `make start` does, one after the other, so that each finds the memory
that those before it left. What runs already is left as it is.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from golek_worker import settings
from golek_worker.machine import fitting, lifecycle, preset_facts
from golek_worker.machine.lifecycle import ENVS, Say, StartError
from golek_worker.machine.preset_facts import Checked


def needed(checked: Checked, envs: Path = ENVS) -> list[str]:
    """The deployments that a preset needs on this machine, the router last. Raises StartError where none routes."""
    models = [part.deployment for part in checked.parts if part.deployment and not part.runs]
    router, _ = preset_facts.router_settings(envs)
    if not router:
        raise StartError("no deployment has ENGINE=router; envs/worker.router.env ships with it")
    return [*dict.fromkeys(models), router]


async def start(checked: Checked, *, force: bool = False, envs: Path = ENVS, say: Say = print) -> None:
    """Start what does not run yet. Raises StartError naming all that is in the way; with `force` what does not fit is
    started all the same.
    """
    wrong = [one for one in checked.problems if not (force and _is_about_room(checked, one))]
    if wrong:
        anyway = "; --force starts it all the same" if all(_is_about_room(checked, one) for one in wrong) else ""
        raise StartError("\n".join(wrong) + anyway)
    for part in checked.parts:
        if part.runs:
            say(f"{part.model} runs already ({part.runs})")
    for deployment in needed(checked, envs):
        with _put_on(checked, deployment, envs):
            await lifecycle.start(deployment, envs=envs, say=say)


def _is_about_room(checked: Checked, problem: str) -> bool:
    return any(place.short and problem.startswith(f"{place.model}: needs ") for place in checked.places.values())


@contextlib.contextmanager
def _put_on(checked: Checked, deployment: str, envs: Path) -> Iterator[None]:
    """Where there are several GPUs, the worker gets the one that was chosen for it, unless its settings name some."""
    model = next((part.model for part in checked.parts if part.deployment == deployment), "")
    place = checked.places.get(model)
    gpus = [one.name for one in checked.devices if one.name != fitting.MEMORY]
    chosen, _ = settings.read(settings.env_file(deployment, envs))
    if place is None or place.where not in gpus or len(gpus) < 2 or (chosen is not None and chosen.gpu_names):
        yield
        return
    os.environ["GPU_DEVICES"] = place.where
    try:
        yield
    finally:
        del os.environ["GPU_DEVICES"]
