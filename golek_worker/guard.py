"""How does a program that we start end with us, and everything with it that it started?

    python -m golek_worker.guard COMMAND ARGUMENT...

The guard stands between its starter and the command, which gets a session of its own. When the guard's standard input
ends, which it does with the starter however that dies, or on SIGTERM, it asks the whole session to end, and kills what
is left of it after GRACE_S. A guard that is killed itself takes the command along on Linux (PR_SET_PDEATHSIG), where
it also adopts what the command leaves behind.

Exit status: the command's, 128 + the signal where one ended it, 127 where it could not be started.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from golek_worker.orphan import die_with_parent

GRACE_S = 1.0
"""From the wish to end until nobody is asked any more."""
LOOK_S = 0.02
STATUS_NOT_STARTED = 127
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Run the command of the arguments until it ends, or until nobody wants it any more."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    leave, left = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # a function here is the default there
        signal.signal(number, lambda _number, _frame: None)
    os.set_blocking(left, False)
    signal.set_wakeup_fd(left, warn_on_full_buffer=False)
    try:
        process = subprocess.Popen(
            sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - there is one thread only
        )  # fmt: skip
    except OSError as error:
        print(f"{sys.argv[1]}: {error.strerror}", file=sys.stderr, flush=True)
        sys.exit(STATUS_NOT_STARTED)
    threading.Thread(target=_wait, args=(process, left), daemon=True).start()
    _until_unwanted(leave)
    _end(process)
    code = process.wait()
    sys.exit(code if code >= 0 else 128 - code)


def _wait(process: "subprocess.Popen[bytes]", left: int) -> None:
    process.wait()
    os.write(left, b"\0")


def _until_unwanted(leave: int) -> None:
    """Return at the end of standard input, on a signal other than one for Ctrl-C, or when the command has ended."""
    while True:
        readable, _, _ = select.select([0, leave], [], [])
        if 0 in readable and not os.read(0, 4096):
            return
        if leave in readable and set(os.read(leave, 4096)) - {signal.SIGINT}:
            return


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Nothing of the command is left when this returns, as far as it can be found."""
    by = time.monotonic() + GRACE_S
    _signal(process.pid, signal.SIGTERM)
    while time.monotonic() < by and (process.poll() is None or _others(process.pid)):
        _reap(process.pid)
        time.sleep(LOOK_S)
    _signal(process.pid, signal.SIGKILL)
    process.wait()
    for _ in range(10):  # each may leave children of its own behind
        if not (others := _others(process.pid)):
            return
        for pid in others:
            _kill(pid)
        _reap(process.pid)


def _signal(session: int, number: signal.Signals) -> None:
    """To all who are still in the command's process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, number)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _others(command: int) -> list[int]:
    """Children of ours beside the command: what it left behind."""
    try:
        told = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in told.split() if int(pid) != command]


def _reap(command: int) -> None:
    for pid in _others(command):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


if __name__ == "__main__":
    main()
