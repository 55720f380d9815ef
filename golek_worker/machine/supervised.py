"""Does `golek serve` run on a data folder, and how is it stopped from elsewhere?

While it runs it holds a lock on `<GOLEK_DATA>/run/serve.lock`; `run/serve.json` says which process it is.
"""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from golek_worker import process
from golek_worker.process import ProcessId

STOP_S: Final = 90.0
"""It ends gateway and workers one after the other, each within its time."""


class SupervisedError(Exception):
    """Another one runs; the message says which."""


class SupervisorState(Struct, frozen=True, kw_only=True):
    """One `golek serve`."""

    pid: int
    created: float
    owns_broker: bool = False
    """Whether the broker ends with it."""

    @property
    def id(self) -> ProcessId:
        return ProcessId(self.pid, self.created)


def running(data: Path) -> SupervisorState | None:
    """The one that runs on `data`."""
    state = _read(data)
    return state if state is not None and process.is_running(state.id) else None


@contextlib.contextmanager
def hold(data: Path) -> Iterator[SupervisorState | None]:
    """Be the one supervisor of `data`; what is left of one that was killed is given. Raises SupervisedError."""
    path = data / "run" / "serve.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = running(data)
            who = f" (pid {other.pid})" if other is not None else ""
            raise SupervisedError(
                f"golek serve runs already on GOLEK_DATA={data}{who}; `golek load NAME` has it start another model"
            ) from None
        left = _read(data)
        try:
            yield left
        finally:
            _file(data).unlink(missing_ok=True)


def note(data: Path, *, owns_broker: bool) -> None:
    """Say that this process is the supervisor."""
    me = process.identify()
    state = SupervisorState(pid=me.pid, created=me.created, owns_broker=owns_broker)
    process.write_atomically(_file(data), msgspec.json.encode(state))


def stop(data: Path, say: Callable[[str], None] = print) -> bool:
    """Have it end all that it started, and wait for that. True when one ran."""
    known = running(data)
    if known is None:
        return False
    say(f"golek serve (pid {known.pid}) is told to stop all it started")
    process.terminate(known.id)
    if not process.wait_or_kill(known.id, STOP_S):
        say(f"golek serve killed: it did not stop in {STOP_S:.0f} s")
    return True


def _read(data: Path) -> SupervisorState | None:
    try:
        return msgspec.json.decode(_file(data).read_bytes(), type=SupervisorState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _file(data: Path) -> Path:
    return data / "run" / "serve.json"
