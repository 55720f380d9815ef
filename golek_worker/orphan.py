"""How does a child process end with its parent?

On Linux the kernel is asked for a signal. It comes when the *thread* that spawned the child ends, so a parent spawns
from a thread that stays.

    python -m golek_worker.orphan MODULE ARGUMENT...

runs a module that is told to end, by SIGTERM, when whoever started it is gone.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(by: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux for a signal when the parent ends, and end now if it has; elsewhere nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os._exit(0)


def main() -> None:
    """Be the module that the first argument names, until the parent ends."""
    die_with_parent(signal.SIGTERM)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
