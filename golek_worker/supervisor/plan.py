"""Which deployments does `golek serve` start?

(1) Those named behind it; (2) else those of INFERENCE_PRELOAD_MODELS; (3) else those of the preset INFERENCE_CONFIG,
which comes later and is an error until then; (4) else the one model that `.env` or the environment name, by MODEL_NAME,
MODEL_PATH or LLM_MODEL; (5) else golek-tiny, which is for a look.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from golek_program.settings import sources
from golek_program.settings.sources import Found
from golek_worker import settings
from golek_worker.machine import modelfiles, startable
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
    names, why = _named(arguments, service, found)
    known = {name: startable.deployment_of(name, envs) for name in names}
    if missing := [name for name, deployment in known.items() if deployment is None]:
        raise PlanError("\n".join(_unknown(name, envs) for name in missing))
    return Plan(list(dict.fromkeys(one for one in known.values() if one is not None)), why)


def _named(arguments: Sequence[str], service: Service, found: Found) -> tuple[list[str], str]:
    """What is named, and by whom. Raises PlanError."""
    if arguments:  # (1)
        return list(arguments), "as typed"
    if service.preloaded:  # (2)
        return service.preloaded, f"by {PRELOAD}"
    if preset := found.of(PRESET):  # (3)
        raise PlanError(
            f"{PRESET}={preset[0].value} (in {preset[0].source}): presets are not there yet; name the models instead, "
            f"as {PRELOAD}=phi-4,qwen2.5-7b or behind the command: golek serve phi-4 qwen2.5-7b"
        )
    if name := made.named(found):  # (4)
        says = (found.of("MODEL_NAME") or found.of("MODEL_PATH"))[0]
        return [made.safe(name)], f"by {says.name} in {says.source}"
    return [DEMO], f"for a look, for nothing names a model: it is small and knows little; {PRELOAD} names others"  # (5)


def _unknown(name: str, envs: Path) -> str:
    """What to do about a name: a sentence."""
    return (
        f"{modelfiles.unknown(name)}. To add it, copy {envs}/worker.example.env to "
        f"{envs}/worker.{made.safe(name)}.env, or name its file with LLM_MODEL"
    )
