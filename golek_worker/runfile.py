"""Which workers run on this machine, and how far is each?

Every replica writes `<GOLEK_DATA>/run/<deployment>-<replica>.json`; `make start`, `stop` and `list-workers` read them.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from golek_wire.signals import WorkerStatus


class RunState(Struct, frozen=True, kw_only=True):
    """One replica, as it describes itself."""

    worker_id: str
    deployment: str
    replica: int
    pid: int
    created: float
    """When the process began, from psutil: with `pid` it names one process for ever."""
    state: WorkerStatus = "starting"
    problem: str | None = None
    """Why `state` is `failed`."""
    model_name: str = ""
    nats_url: str = ""
    log: str = ""
    """The replica's own log."""


def process_created(pid: int | None = None) -> float:
    """When `pid`, or this process, began. Raises psutil.NoSuchProcess."""
    return float(psutil.Process(pid).create_time())


def is_process(pid: int, created: float) -> bool:
    """True while the process that had this pid then still runs; a successor with its pid does not count."""
    try:
        process = psutil.Process(pid)
        # Clock ticks round the time differently on each reading of some kernels.
        return abs(process.create_time() - created) < 0.5 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def alive(state: RunState) -> bool:
    """True while the replica's own process runs."""
    return is_process(state.pid, state.created)


def file(data: Path, deployment: str, replica: int) -> Path:
    """Where a replica's state lies."""
    return data / "run" / f"{deployment}-{replica}.json"


def write(data: Path, state: RunState) -> None:
    """Replace the replica's file; readers see the old one or the new one, never a part."""
    write_atomically(file(data, state.deployment, state.replica), msgspec.json.encode(state))


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


def write_atomically(path: Path, content: bytes) -> None:
    """Write `path` beside itself and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as part:
            part.write(content)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _read(path: Path) -> RunState | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
