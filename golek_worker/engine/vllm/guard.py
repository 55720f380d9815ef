"""How does no process of vLLM's outlive its worker?

vLLM's EngineCore is a process of its own, below the engine's child. It notices a parent that ends in good order, not
one that is killed: then it stays, with all its memory. vLLM calls plugins of the group `vllm.general_plugins` in every
process that it starts; this one ends the process with its parent. What is to be mended of vLLM in those processes is
done here, too (`seeds`).
"""

import multiprocessing
import multiprocessing.connection
import os
import threading

from golek_worker.orphan import die_with_parent

PARENT = "GOLEK_ENGINE_PID"
"""Variable with the process that started EngineCore, from a thread that stays."""


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
    if os.environ.get(PARENT) == str(os.getppid()):
        die_with_parent()  # by the kernel: also while native code computes, or the process is stopped
    from golek_worker.engine.vllm import seeds  # which needs vLLM

    seeds.mend()


def _watch(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(0)
