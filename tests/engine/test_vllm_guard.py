"""What vLLM starts ends with the engine's child from its first moment: before vLLM calls any plugin there."""

import os
import subprocess
import sys

import psutil
import pytest

from golek_worker.engine.vllm.guard import PARENT
from tests.support.leaving import left

GONE_S = 5.0
CHILD = f"""
import importlib.util, multiprocessing, os, sys, time

sys.modules["__main__"].__spec__ = importlib.util.find_spec("golek_worker.engine.child")
os.environ["{PARENT}"] = {{parent}}
started = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
started.start()
print(started.pid, flush=True)
started.join()
"""
"""A stand-in for the engine's child while vLLM loads, which starts EngineCore as this does."""


def test_what_is_started_by_a_child_ends_with_it() -> None:
    """Killed at any moment of its load, it leaves nothing behind."""
    program = CHILD.format(parent="str(os.getpid())")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        started = psutil.Process(int(child.stdout.readline()))
        child.kill()
        assert left([started], GONE_S) == []


@pytest.mark.parametrize(("parent", "status"), [(os.getpid(), 1), (2**22 + 1, 0)])
def test_what_is_started_too_late_ends_at_once(parent: int, status: int) -> None:
    """Where the child is gone already; a process of EngineCore's own has another parent, and runs on."""
    program = CHILD.format(parent=f"'{parent}'").replace("args=(60,)", "args=('no time',)")
    child = subprocess.run([sys.executable, "-c", program + "sys.exit(started.exitcode)"], check=False, timeout=20)
    assert child.returncode == status
