"""Which deployments are there, and what runs of each?"""

import re
from pathlib import Path

from msgspec import Struct

from golek_client.connection import shown
from golek_worker import process, settings
from golek_worker.bus import embedded
from golek_worker.machine import check, gateway, logfiles, monitor, runfile, services, supervised
from golek_worker.machine.lifecycle import ENVS
from golek_worker.machine.runfile import RunState
from golek_worker.settings import Settings

PROBLEM_LIMIT = 100
COLUMNS = ("NAME", "MODEL", "ENGINE", "RUNNING", "SUBJECT")


class Deployment(Struct, frozen=True):
    """One `envs/worker.<name>.env`."""

    name: str
    model: str = ""
    engine: str = ""
    running: str = "-"
    """State of each replica: `#1 online, #2 loading`; with ` at <URL>` for another broker than the deployment's."""
    subject: str = ""
    problem: str = ""
    """Why its settings cannot be read, or why a replica failed."""


def deployments(envs: Path = ENVS) -> list[Deployment]:
    """All deployments by name: those with an env file, and those that run without one."""
    files = {file.name.removeprefix("worker.").removesuffix(".env"): file for file in envs.glob("worker.*.env")}
    for state in runfile.read_all(_data()):
        files.setdefault(state.deployment, settings.env_file(state.deployment, envs))
    return [_deployment(name, file) for name, file in sorted(files.items()) if name != "example"]


def beside_workers() -> list[str]:
    """What else runs on this machine: the gateway, the monitor and `golek serve`, a line each."""
    data = _data()
    lines = [
        f"{kind.name} at {known.url} (pid {known.pid})"
        for kind in (gateway.KIND, monitor.KIND)
        if (known := services.running(kind, data)) is not None
    ]
    if (supervisor := supervised.running(data)) is not None:
        lines.append(f"golek serve (pid {supervisor.pid})")
    return lines


def table(rows: list[Deployment]) -> str:
    """`rows` as text in columns."""
    if not rows:
        return f"no deployments in {Path.cwd() / ENVS}; copy worker.example.env there to worker.<name>.env"
    cells = [COLUMNS, *((row.name, row.model, row.engine, row.running, row.subject) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    told: dict[str, list[str]] = {}
    for row in rows:
        told.setdefault(row.problem, []).append(row.name)
    return "\n".join([*lines, *(f"{', '.join(names)}: {problem}" for problem, names in told.items() if problem)])


def log_lines(name: str, loaded: Settings, worker_id: str | None, limit: int, *, engine: bool) -> str:
    """The path of the newest log that a replica of the deployment wrote, or its engine's, and the last lines of it."""
    folder = logfiles.boot_folder(loaded.data)
    if engine:
        folder = logfiles.engine_folder(loaded.data, loaded.worker_type or name)
    ids = re.escape(worker_id) if worker_id else rf"{re.escape(runfile.worker_id(name, 1)[:-1])}\d+"
    path = logfiles.newest_of(folder, re.compile(ids))
    if path is None:
        return f"{folder}: no log of {worker_id or name} yet"
    return f"{path}\n{process.last_lines(path, limit)}"


def _deployment(name: str, file: Path) -> Deployment:
    """What its file says, as far as it can be read, and what runs whatever it says."""
    loaded, mistakes = settings.read(file)
    data = loaded.data if loaded is not None else _data()
    states = [state for state in runfile.read_all(data) if state.deployment == name]
    running = ", ".join(f"#{state.replica} {_word(state)}{_elsewhere(state, loaded)}" for state in states) or "-"
    problems = [f"#{state.replica} failed: {_short(state)}" for state in states if state.state == "failed"]
    if mistakes:
        wrong = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else mistakes[0]
        problems.append(f"{wrong}; `golek worker check NAME` says more")
    if loaded is None:
        return Deployment(name, running=running, problem="; ".join(problems))
    subjects = " ".join(loaded.request_subjects(check.kind(loaded)))
    return Deployment(name, loaded.model_name, loaded.engine, running, subjects, "; ".join(problems))


def _data() -> Path:
    """The data folder of what belongs to no deployment."""
    return Path(settings.shared("GOLEK_DATA") or Settings(model_name="any").data)


def _short(state: RunState) -> str:
    """Why a replica failed, in a line; all of it was said when it was started, and stands in its log."""
    problem = state.problem or "it did not say why"
    return f"{problem if len(problem) <= PROBLEM_LIMIT else problem[:PROBLEM_LIMIT] + ' …'} (log: {state.log})"


def _elsewhere(state: RunState, loaded: Settings | None) -> str:
    """The broker of a replica that was started with another one than its settings name now."""
    same = loaded is None or not state.nats_url or embedded.same_address(state.nats_url, loaded.nats_url)
    return "" if same or not runfile.alive(state) else f" at {shown(state.nats_url)}"


def _word(state: RunState) -> str:
    if state.state == "failed" or runfile.alive(state):
        return str(state.progress) if state.progress is not None else state.state
    return f"gone (was {state.state})"
