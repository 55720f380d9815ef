"""Which models could this machine start, whether or not a worker of it runs?

Those of its env files, which say at a start what they lack, and those of its catalogue and list that are here or can be
downloaded.
"""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from golek_wire import subjects
from golek_wire.hosts import Startable
from golek_worker import settings
from golek_worker.machine import check, modelfiles, runfile
from golek_worker.machine.lifecycle import ENVS
from golek_worker.machine.modelfiles import Found
from golek_worker.registry.entries import CatalogError
from golek_worker.registry.resolve import MissingModelError, resolve
from golek_worker.settings import Settings, made


def machine() -> str:
    """The name of this machine, as one subject token."""
    return subjects.model_token(socket.gethostname())


def here(envs: Path = ENVS) -> list[Startable]:
    """All of them by name, a deployment's before the catalogue's. Reads files: call it from a thread."""
    found: dict[str, Startable] = {}
    for one in (*_deployments(envs), *_written()):
        found.setdefault(one.name, one)
    return sorted(found.values(), key=lambda one: one.name)


def deployment_of(name: str, envs: Path = ENVS) -> str | None:
    """The deployment to start for `name`: itself, or the first whose model is called so; None when there is none."""
    if settings.find(settings.env_file(name, envs)) is not None:
        return name
    token = subjects.model_token(name)
    for deployment, chosen in _readable(envs):
        if subjects.model_token(chosen.model_name) == token:
            return deployment
    return None


def _readable(envs: Path) -> Iterator[tuple[str, Settings]]:
    """The deployments whose settings can be read."""
    for file in sorted(envs.glob("worker.*.env")):
        name = file.name.removeprefix("worker.").removesuffix(".env")
        chosen, mistakes = settings.read(file) if name != "example" else (None, [])
        if chosen is not None and not mistakes:
            yield name, chosen


def _deployments(envs: Path) -> Iterator[Startable]:
    for name, chosen in _readable(envs):
        if chosen.engine == "router":  # it has no model
            continue
        runs = _runs(name, chosen)
        if chosen.model_lies_in == "none":
            yield Startable(chosen.model_name, name, chosen.guessed_kind, context_size=chosen.ctx_size, runs=runs)
            continue
        yield _told(modelfiles.find(name), name, runs=runs)


def _written() -> Iterator[Startable]:
    """The models of catalogue and list, started by their own names."""
    try:
        names = modelfiles.names()
    except CatalogError:  # `golek models list` says what is wrong there
        return
    for name in names:
        if not made.may_name_a_file(name):
            continue
        found = modelfiles.find(name)
        if found.entry is None or (found.entry.kind == "vision" and not found.files):  # which nobody can download
            continue
        with contextlib.suppress(MissingModelError):  # its file is not here and cannot be had
            resolve(found.chosen)
            yield _told(found, name, runs=_runs(name, found.chosen))


def _told(found: Found, deployment: str, *, runs: bool) -> Startable:
    """One model that needs a file."""
    row = modelfiles.describe(found)
    return Startable(
        name=found.chosen.model_name,
        deployment=deployment,
        kind=row.kind or check.kind(found.chosen),
        has_file=row.state == "present",
        size_bytes=row.size_bytes or 0,
        context_size=found.chosen.ctx_size or row.context_length,
        runs=runs,
        roles=row.roles,
    )


def _runs(deployment: str, chosen: Settings) -> bool:
    states = (state for state in runfile.read_all(chosen.data) if state.deployment == deployment)
    return any(state.state != "failed" and runfile.alive(state) for state in states)
