"""Which workers run on this machine, and how far is each?

Every replica writes `<GOLEK_DATA>/run/<deployment>-<replica>.json`; `make start`, `stop` and `list-workers` read them.
"""

import socket
from pathlib import Path

import msgspec
from msgspec import Struct

from golek_wire import subjects
from golek_wire.signals import WorkerStatus
from golek_worker import process
from golek_worker.registry.report import Progress


class RunState(Struct, frozen=True, kw_only=True):
    """One replica, as it describes itself."""

    worker_id: str
    deployment: str
    replica: int
    pid: int
    created: float
    """When the process began (`process.identify().created`): with `pid` it names one process for ever."""
    state: WorkerStatus = "starting"
    problem: str | None = None
    """Why `state` is `failed`."""
    remarks: list[str] = []
    """What whoever started it should know though it serves; a sentence each."""
    progress: Progress | None = None
    """How far the download of its model is, while there is one."""
    model_name: str = ""
    nats_url: str = ""
    log: str = ""
    """The replica's own log."""
    engine_log: str = ""
    """What its engine writes to stderr."""


def worker_id(deployment: str, replica: int) -> str:
    """The name of a replica in the fleet, safe in one subject token: `<deployment>-<host>-<replica>`."""
    return subjects.model_token(f"{deployment}-{socket.gethostname()}-{replica}")


def file(data: Path, deployment: str, replica: int) -> Path:
    """Where a replica's state lies."""
    return data / "run" / f"{deployment}-{replica}.json"


def write(data: Path, state: RunState) -> None:
    """Replace the replica's file; readers see the old one or the new one, never a part."""
    process.write_atomically(file(data, state.deployment, state.replica), msgspec.json.encode(state))


def write_first(data: Path, state: RunState) -> None:
    """Write the replica's file unless there is one: a starter says what it started, the worker itself knows better."""
    process.write_atomically(file(data, state.deployment, state.replica), msgspec.json.encode(state), replace=False)


def read(data: Path, deployment: str, replica: int) -> RunState | None:
    """The replica's state; None when it has none that can be read."""
    return _read(file(data, deployment, replica))


def read_all(data: Path) -> list[RunState]:
    """The states of all replicas, by deployment and replica."""
    states = [state for path in (data / "run").glob("*.json") if (state := _read(path)) is not None]
    return sorted(states, key=lambda state: (state.deployment, state.replica))


def remove(data: Path, deployment: str, replica: int) -> None:
    """Forget the replica; nothing happens when it is not known."""
    file(data, deployment, replica).unlink(missing_ok=True)


def alive(state: RunState) -> bool:
    """True while the replica's own process runs; a later process with its pid does not count."""
    return process.is_running(process.ProcessId(state.pid, state.created))


def _read(path: Path) -> RunState | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
