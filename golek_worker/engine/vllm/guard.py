"""How does no process of vLLM's outlive its worker?

vLLM's EngineCore is a process of its own, below the engine's child. It notices a parent that ends in good order, not
one that is killed: then it stays, with all its memory. vLLM calls plugins of the group `vllm.general_plugins` in every
process that it starts; this one ends the process with its parent. What is to be mended of vLLM in those processes is
done here, too (`seeds`, `logits`).
"""

import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
from pathlib import Path

from golek_worker.orphan import die_with_parent

PARENT = "GOLEK_ENGINE_PID"
"""Variable with the process that started EngineCore, from a thread that stays."""


def begin() -> None:
    """In a process that vLLM starts, before it loads anything: end with the engine's child. `register` comes too late
    for one that is killed meanwhile, for EngineCore first waits until its parent has spoken to it.
    """
    parent = os.environ.get(PARENT) if sys.platform.startswith("linux") else None
    if parent == str(os.getppid()):
        die_with_parent()  # by the kernel: also while native code computes, or the process is stopped
    elif parent is not None and not _is_there(int(parent)):
        os._exit(0)


def register() -> None:
    """End this process when the one that started it is gone; in the first one, nothing.

    It leaves the process group too, which a Ctrl-C in a terminal is sent to: the worker decides when an engine ends.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if os.getpid() != os.getpgid(0):
        os.setpgid(0, 0)
    threading.Thread(target=_watch, args=(parent.sentinel,), name="golek-guard", daemon=True).start()
    begin()
    from golek_worker.engine.vllm import logits, seeds  # which need vLLM

    seeds.mend()
    logits.mend()


def _is_there(pid: int) -> bool:
    """Whether Linux knows this process as one that runs, and not as one that nobody has waited for yet."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return told.rpartition(")")[2].split()[0] != "Z"


def _watch(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(0)
