"""Which presets does this machine know, how large are they, and would they run here?

A preset's models are looked for as `golek models` does: their files, the catalogue, deployments. Their sizes are those
of the files; of a file that is not here, what the catalogue says.
"""

import contextlib
import difflib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, structs

from golek_wire.orchestration import Mode, Preset
from golek_worker import settings
from golek_worker.engine.llamacpp import memory
from golek_worker.folder import FolderHeader
from golek_worker.free_memory import free_bytes
from golek_worker.gguf import GGUFError
from golek_worker.machine import engine_check, fitting, modelfiles, runfile, startable, vllm_check
from golek_worker.machine.fitting import GB, Device, Load, Placed, Tier
from golek_worker.machine.lifecycle import ENVS
from golek_worker.machine.modelfiles import Found, ModelError
from golek_worker.orchestration import casting, prompts
from golek_worker.orchestration.base import Member
from golek_worker.orchestration.casting import Wanted
from golek_worker.orchestration.presets import PresetsError, short_of
from golek_worker.orchestration.prompts import stages
from golek_worker.providers.catalog import ProvidersError
from golek_worker.registry.artifacts import kind_of
from golek_worker.registry.resolve import MissingModelError, resolve
from golek_worker.router.roles import NO_ROLES
from golek_worker.router.table import LOCAL_PREFIX, Table
from golek_worker.router.tables import TablesError
from golek_worker.routing import naming
from golek_worker.settings import Settings

ROUTER: Final = "router"
HERE: Final = ("present", "no file")
"""States of models that can run at once."""


class Part(Struct, frozen=True):
    """A model of a preset, on this machine."""

    model: str
    state: str
    """`present`, `missing` (it can be downloaded), `begun`, `broken`, `to be made`, `unavailable`; `no file` of an
    engine without one, `elsewhere` of a cloud's model or an alias, `unknown`."""
    size_bytes: int | None = None
    deployment: str = ""
    """What `golek presets start` starts for it."""
    runs: str = ""
    """How its worker of this machine is; empty where there is none."""
    problem: str = ""

    @property
    def is_elsewhere(self) -> bool:
        """Whether no worker here need serve it: a router finds who does."""
        return self.state == "elsewhere"


class Row(Struct, frozen=True):
    """A preset, as it is listed."""

    id: str
    mode: Mode | None
    models: list[str]
    size_gb: float | None
    """Of its models' files, in GB of 10⁹ bytes; None where the size of one is not known."""
    stated_gb: float | None
    tier: Tier | None
    hardware: str
    here: int
    """Models that can run at once: their files are here, or they need none."""
    of: int
    duties: dict[str, str]
    stages: list[tuple[str, str]]
    about: str
    origin: str


class Checked(Struct, frozen=True):
    """Whether a preset would run here."""

    preset: Preset
    parts: list[Part]
    places: dict[str, Placed]
    """By model: those that are to be loaded yet."""
    problems: list[str]
    devices: list[Device]


def router_settings(envs: Path = ENVS) -> tuple[str, Settings]:
    """The deployment that routes, and its settings; the usual one's defaults where there is none."""
    for name in (ROUTER, *sorted(_names(envs))):
        chosen, _ = settings.read(settings.env_file(name, envs))
        if chosen is not None and chosen.engine == "router":
            return name, chosen
    own, listed = settings.shared("PRESETS_FILE") or "", settings.shared("MODELS_FILE") or ""
    return "", Settings(model_name=ROUTER, engine="router", presets_file=own, models_file=listed)


def known(envs: Path = ENVS) -> dict[str, Preset]:
    """All presets by id. Raises ModelError for a file that is wrong."""
    try:
        return naming.read_presets(router_settings(envs)[1]).by_id
    except PresetsError as error:
        raise ModelError(str(error)) from None


def problems(envs: Path = ENVS) -> list[str]:
    """What in the files of presets has no effect; a sentence each. Raises as `known`."""
    try:
        return list(naming.read_presets(router_settings(envs)[1]).problems)
    except PresetsError as error:
        raise ModelError(str(error)) from None


def find(name: str, envs: Path = ENVS) -> Preset:
    """One preset. Raises ModelError for a name that is none, with what may have been meant."""
    everything = known(envs)
    if name in everything:
        return everything[name]
    same = [one for one in everything if one.lower() == name.lower()]
    near = same or difflib.get_close_matches(name, everything, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ModelError(f"{name}: no such preset; {hint}`golek presets list` has all")


def rows(presets: Iterable[Preset], envs: Path = ENVS) -> list[Row]:
    """Presets as they are listed; each model is looked for once."""
    table, found = _table(envs), dict[str, Part]()
    return [_row(preset, _parts(preset, table, envs, found)) for preset in presets]


def _row(preset: Preset, parts: list[Part]) -> Row:
    size = size_of(parts)
    return Row(
        preset.id,
        preset.mode,
        list(preset.models),
        None if size is None else round(size / GB, 1),
        preset.stated_gb,
        None if size is None else fitting.tier(size),
        preset.hardware,
        sum(part.state in HERE for part in parts),
        len(parts),
        dict(preset.duties),
        list(preset.stages),
        preset.about,
        preset.origin,
    )


def facts(preset: Preset, envs: Path = ENVS) -> dict[str, Any]:
    """All that is known of one; what is not known is left out."""
    parts = parts_of(preset, envs)
    row = _row(preset, parts)
    said = {
        "id": row.id,
        "mode": row.mode or f"{_mode(preset, envs)}, as INFERENCE_ORCHESTRATION_MODE says",
        "models": [_told(part) for part in parts],
        "who does what": {} if (wrong := _wrong(preset, envs)) else _cast(preset, envs),
        "problem": wrong,
        "about": row.about,
        "size_gb": row.size_gb,
        "stated_gb": row.stated_gb,
        "tier": row.tier,
        "mark": row.hardware,
        "from": row.origin,
    }
    return {key: value for key, value in said.items() if value not in ("", None, {})}


def _told(part: Part) -> dict[str, Any]:
    said = {
        "model": part.model,
        "state": part.state,
        "size_gb": round(part.size_bytes / GB, 1) if part.size_bytes else None,
        "deployment": part.deployment,
        "runs": part.runs,
        "problem": part.problem,
    }
    return {key: value for key, value in said.items() if value not in ("", None)}


def _mode(preset: Preset, envs: Path) -> Mode:
    return preset.mode or router_settings(envs)[1].inference_orchestration_mode


def _wrong(preset: Preset, envs: Path) -> str:
    """Why it cannot be asked: too few models, where its mode is that of the settings, or a stage that is not there.
    Empty where it can.
    """
    if short := short_of(_mode(preset, envs), preset.models):
        return f"models: {short}"
    wrong = prompts.read().wrong_stages(preset)
    return f"stages: {wrong}" if wrong else ""


def _cast(preset: Preset, envs: Path) -> dict[str, str]:
    """Who does what, by its own word and by roles, for a request that says nothing of it."""
    table, chosen = _table(envs), router_settings(envs)[1]
    roles = table.roles if table is not None else NO_ROLES
    members = [Member(name, preset.roles.get(name) or roles.by_model.get(name, ())) for name in preset.models]
    found = casting.cast(
        members,
        Wanted(
            mode=_mode(preset, envs), role=roles.of(""), chain=roles.chain,
            preset=preset.id, own_duties=preset.duties, own_stages=preset.stages,
            reconciles=chosen.inference_debate_reconcile_model,
            synthesizes=chosen.inference_ensemble_synthesis_model,
            usual_stages=tuple(stages(chosen.inference_pipeline_stages)),
        ),
    )  # fmt: skip
    duties = {duty: one.model for duty, one in found.duties.items()}
    staged = {f"{number}. {stage}": one.model for number, (stage, one) in enumerate(found.stages, 1)}
    return {**staged, **duties}


def parts_of(preset: Preset, envs: Path = ENVS) -> list[Part]:
    """Its models, each once, as they are on this machine."""
    return _parts(preset, _table(envs), envs, {})


def size_of(parts: Iterable[Part]) -> int | None:
    """Bytes of their files together; None where one is not known."""
    sizes = [part.size_bytes for part in parts if not part.is_elsewhere]
    return None if None in sizes else sum(size or 0 for size in sizes)


def check(preset: Preset, envs: Path = ENVS) -> Checked:
    """Whether it would run: are its models known and their files here, and does what does not run yet fit."""
    parts = parts_of(preset, envs)
    unusable = _wrong(preset, envs)
    wrong = [
        *([f"{preset.origin}: {preset.id}.{unusable}"] if unusable else []),
        *(f"{part.model}: {part.problem}" for part in parts if part.problem),
    ]
    loads = [load for part in parts if not part.problem and not part.runs and (load := _load(part)) is not None]
    gpus = engine_check.gpus() if any(load.may_use_gpu for load in loads) else []
    room = free_bytes()
    places = fitting.place(loads, gpus, room)
    wrong += [
        f"{one.model}: needs {memory.shown(one.bytes)}, and {memory.shown(one.short)} are missing where most is free"
        for one in places
        if one.short
    ]
    wrong += _disk(parts)
    if not router_settings(envs)[0]:
        wrong.append("no deployment has ENGINE=router; envs/worker.router.env ships with it")
    devices = [*gpus, Device(fitting.MEMORY, room)]
    return Checked(preset, parts, {one.model: one for one in places}, wrong, devices)


def _parts(preset: Preset, table: Table | None, envs: Path, found: dict[str, Part]) -> list[Part]:
    for model in preset.models:
        if model not in found:
            found[model] = _part(model, table, envs)
    return [found[model] for model in dict.fromkeys(preset.models)]


def _part(name: str, table: Table | None, envs: Path) -> Part:
    """1. An alias, or a cloud's model. 2. A deployment without a file. 3. A model with one. 4. A name nobody knows."""
    plain = name.removeprefix(LOCAL_PREFIX)
    plan = (table.member(name, {}) or table.lost(name)) if table is not None else None
    if plan is not None and plan.sort != "model":
        return Part(name, "elsewhere", 0)  # 1
    deployment = startable.deployment_of(plain, envs)
    chosen = settings.read(settings.env_file(deployment, envs))[0] if deployment is not None else None
    runs = _running(plain, chosen)
    if chosen is not None and chosen.model_lies_in == "none":
        return Part(name, "no file", 0, deployment or "", runs)  # 2
    found = modelfiles.find(deployment or plain)
    row = modelfiles.describe(found)
    if not found.is_known and not runs:
        return Part(name, "unknown", None, problem=modelfiles.unknown(plain).partition("; known are")[0])  # 4
    problem = row.problem or _why_not(found, row.state)
    if row.kind not in ("", "inference"):
        problem = f"a model of kind {row.kind} takes no chats"
    size = row.size_bytes or (round(found.entry.about_gb * GB) if found.entry and found.entry.about_gb else None)
    return Part(name, row.state, size, deployment or "", runs, "" if runs else problem)  # 3


def _why_not(found: Found, state: str) -> str:
    """Why a model cannot be had; empty where it is here or can be downloaded."""
    if state not in ("unavailable", "to be made"):
        return ""
    try:
        resolve(found.chosen)
    except MissingModelError as error:
        return str(error)
    return ""


def _running(model: str, chosen: Settings | None) -> str:
    """How a worker of this machine is that serves the model; empty without one."""
    data = (chosen or Settings(model_name="any", golek_data=settings.shared("GOLEK_DATA") or "data")).data
    states = [one for one in runfile.read_all(data) if model in (one.model_name, one.deployment)]
    return next((one.state for one in states if one.state != "failed" and runfile.alive(one)), "")


def _load(part: Part) -> Load | None:
    """What it will take: by its file's header, else its size alone; None for one that takes nothing of its own."""
    if part.state in ("no file", "elsewhere") or not part.size_bytes:
        return None
    found = modelfiles.find(part.deployment or part.model.removeprefix(LOCAL_PREFIX))
    chosen = found.chosen
    needed = part.size_bytes
    if found.header is not None:
        if isinstance(found.header, FolderHeader):
            needed = vllm_check.needs(chosen, found.header).total
            return Load(part.model, needed, chosen.gpu_layers != 0, tuple(chosen.gpu_names))
        with contextlib.suppress(OSError, GGUFError):
            weights = memory.weight_bytes(found.files[0], found.header)
            shape = memory.shape_of(
                kind_of(found.files[0]), chosen.worker_concurrency, chosen.ctx_size, chosen.model_threads,
                found.header, weights,
            )  # fmt: skip
            needed = memory.needs(found.header, weights, shape).total
    return Load(part.model, needed, chosen.gpu_layers != 0, tuple(chosen.gpu_names))


def _disk(parts: Iterable[Part]) -> list[str]:
    """Whether what is to be downloaded has room."""
    wanted = sum(part.size_bytes or 0 for part in parts if part.state in ("missing", "begun") and not part.runs)
    folder = Path(settings.shared("GOLEK_DATA") or "data")
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    if wanted <= free:
        return []
    return [f"{memory.shown(wanted)} are to be downloaded, and {nearest} has {memory.shown(free)} left"]


def _table(envs: Path) -> Table | None:
    """What the router of this machine would serve; None where its files are wrong, which its start will say."""
    chosen = structs.replace(router_settings(envs)[1], inference_config="")
    try:
        return naming.read_table(chosen, naming.open_clouds(chosen, os.environ))
    except (TablesError, ProvidersError):
        return None


def _names(envs: Path) -> Iterable[str]:
    found = (file.name.removeprefix("worker.").removesuffix(".env") for file in envs.glob("worker.*.env"))
    return (name for name in found if name != "example")


def shown_gb(size: float | None) -> str:
    """Gigabytes, for people."""
    return "-" if size is None else f"{size:.1f}"
