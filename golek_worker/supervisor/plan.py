"""Which deployments does `golek serve` start?

(1) Those named behind it; (2) else those of INFERENCE_PRELOAD_MODELS, with a router where INFERENCE_ORCHESTRATION_MODE
has several of them answer together; (3) else the models of the preset INFERENCE_CONFIG, and a router; (4) else the one
model that `.env` or the environment name, by MODEL_NAME, MODEL_PATH or LLM_MODEL; (5) else golek-tiny, which is for a
look. A preset behind the command is its models and a router, too.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from golek_program.settings import sources
from golek_program.settings.sources import Found
from golek_wire.orchestration import Preset
from golek_worker import settings
from golek_worker.machine import modelfiles, preset_facts, startable
from golek_worker.machine.modelfiles import ModelError
from golek_worker.router.table import LOCAL_PREFIX
from golek_worker.settings import made
from golek_worker.settings.service import Service

DEMO: Final = "golek-tiny"
PRESET: Final = "INFERENCE_CONFIG"
PRELOAD: Final = "INFERENCE_PRELOAD_MODELS"


class PlanError(Exception):
    """What was asked for cannot be served; the message is all there is to say."""


class Plan(Struct, frozen=True):
    """What is started."""

    deployments: list[str]
    why: str
    """Who named them: the end of a sentence."""


def plan(arguments: Sequence[str], service: Service, envs: Path, environment: Mapping[str, str] = os.environ) -> Plan:
    """The deployments to start. Raises PlanError naming every name that nothing is known of."""
    found = sources.find(envs.parent, environment, None, settings.KNOWN)
    names, why = _named(arguments, service, found, envs)
    known = {name: startable.deployment_of(name, envs) for name in names}
    if missing := [name for name, deployment in known.items() if deployment is None]:
        raise PlanError("\n".join(_unknown(name, envs) for name in missing))
    return Plan(list(dict.fromkeys(one for one in known.values() if one is not None)), why)


def _named(arguments: Sequence[str], service: Service, found: Found, envs: Path) -> tuple[list[str], str]:
    """What is named, and by whom. Raises PlanError."""
    if arguments:  # (1)
        return [one for name in arguments for one in _of_preset(name, envs) or [name]], "as typed"
    if service.preloaded:  # (2)
        mode = found.of("INFERENCE_ORCHESTRATION_MODE")
        together = bool(mode) and mode[0].value != "single"
        return [*service.preloaded, *([_router(envs)] if together else [])], f"by {PRELOAD}"
    if preset := found.of(PRESET):  # (3)
        try:
            return _local(preset_facts.find(preset[0].value, envs), envs), f"by {PRESET}={preset[0].value}"
        except ModelError as error:
            raise PlanError(f"{PRESET} (in {preset[0].source}): {error}") from None
    if name := made.named(found):  # (4)
        says = (found.of("MODEL_NAME") or found.of("MODEL_PATH"))[0]
        return [made.safe(name)], f"by {says.name} in {says.source}"
    return [DEMO], f"for a look, for nothing names a model: it is small and knows little; {PRELOAD} names others"  # (5)


def _of_preset(name: str, envs: Path) -> list[str]:
    """What a preset of this name needs; nothing where a deployment or a model is called so, or nothing is."""
    if startable.deployment_of(name, envs) is not None:
        return []
    try:
        return _local(preset_facts.find(name, envs), envs)
    except ModelError:
        return []


def _local(preset: Preset, envs: Path) -> list[str]:
    """The models of a preset that a worker here must serve, and a router: aliases and clouds are its affair."""
    models = [
        one.model.removeprefix(LOCAL_PREFIX) for one in preset_facts.parts_of(preset, envs) if not one.is_elsewhere
    ]
    return [*models, _router(envs)]


def _router(envs: Path) -> str:
    """The deployment that routes. Raises PlanError."""
    found, _ = preset_facts.router_settings(envs)
    if not found:
        raise PlanError(f"several models that answer together need a router, and no file of {envs} has ENGINE=router")
    return found


def _unknown(name: str, envs: Path) -> str:
    """What to do about a name: a sentence."""
    return (
        f"{modelfiles.unknown(name)}. To add it, copy {envs}/worker.example.env to "
        f"{envs}/worker.{made.safe(name)}.env, or name its file with LLM_MODEL"
    )
