"""How does Golek start, recognise and stop a process that outlives the command that started it?

A process is named by pid and the moment it began, so that a later process with the same pid is never taken for it.
"""

import contextlib
import fcntl
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from msgspec import Struct

TAIL_BYTES = 16 * 1024
POLL_S = 0.01
MISCONFIGURED = os.EX_CONFIG
"""Exit status of a program whose settings are wrong."""
KILL_S = 5.0
"""How long the kernel may take to end a killed process."""


class ProcessId(Struct, frozen=True):
    """One process, for ever."""

    pid: int
    created: float
    """When it began, as psutil tells it."""


def identify(pid: int | None = None) -> ProcessId:
    """The process `pid`, or this one. Raises psutil.NoSuchProcess."""
    process = psutil.Process(pid)
    return ProcessId(process.pid, float(process.create_time()))


def is_running(known: ProcessId) -> bool:
    """True while this very process runs."""
    return _find(known) is not None


def raise_file_limit() -> int:
    """Let this process have as many open files, connections among them, as it may; tells how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit than it tells
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft


def spawn(command: Sequence[str | Path], log: Path) -> "subprocess.Popen[bytes]":
    """Start `command` in its own session, so that Ctrl-C here does not reach it; its output is appended to `log`.

    While it runs, `log` has a shared lock: by that others see that it is in use.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        fcntl.flock(output, fcntl.LOCK_SH)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


def is_in_use(log: Path) -> bool:
    """True while a process that was spawned with `log` runs."""
    try:
        with log.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def wait_unused(log: Path, patience_s: float) -> None:
    """Wait until nobody has `log` open: a process with threads may be seen to end before the last of them has."""
    deadline = time.monotonic() + patience_s
    while is_in_use(log) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def leave_running(process: "subprocess.Popen[bytes]") -> None:
    """Say that `process` is meant to outlive this one: Popen warns of a child that nobody waited for."""
    process.returncode = 0


def terminate(known: ProcessId) -> None:
    """Ask it to stop; nothing happens when it is gone."""
    process = _find(known)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()


def wait_or_kill(known: ProcessId, patience_s: float) -> bool:
    """Wait until it ends; kill it after `patience_s`. True when it ended by itself."""
    if _ended_within(known, patience_s):
        return True
    process = _find(known)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _ended_within(known, KILL_S)
    return False


def _ended_within(known: ProcessId, seconds: float) -> bool:
    """Poll: psutil waits for a zombie, too, and where nobody reaps orphans that is for ever."""
    deadline = time.monotonic() + seconds
    while is_running(known):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    with contextlib.suppress(ChildProcessError):  # if it was ours, nobody else will
        os.waitpid(known.pid, os.WNOHANG)
    return True


def last_lines(log: Path, lines: int = 10, since: int = 0) -> str:
    """The end of `log`, not reaching back before byte `since`."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since, size - TAIL_BYTES))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def size_of(log: Path) -> int:
    """Bytes of `log`, 0 without one."""
    return log.stat().st_size if log.exists() else 0


def write_atomically(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Write `path` beside itself and rename: readers see the old content or the new one, never a part.

    Without `replace` a file that exists stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if replace:
            part.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(part)
    finally:
        part.unlink(missing_ok=True)


def _find(known: ProcessId) -> psutil.Process | None:
    try:
        process = psutil.Process(known.pid)
        # Some kernels round the time differently from one reading to the next.
        same = abs(process.create_time() - known.created) < 0.5
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
