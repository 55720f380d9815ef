"""A program under guard ends with whoever started it, and so does all that it started."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.leaving import left

GUARD = [sys.executable, "-m", "golek_worker.guard"]
GONE_S = 5.0
STUBBORN = "trap '' TERM; sleep 60 & (setsid sleep 60 &) ; echo ready; wait; sleep 60"
"""It hears no SIGTERM, and has a child in a session of its own."""


def family(guard: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The guard and all below it, once the program says that it is ready."""
    assert guard.stdout is not None
    assert guard.stdout.readline() == b"ready\n"
    until = time.monotonic() + GONE_S
    while len(found := psutil.Process(guard.pid).children(recursive=True)) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    return found


def started(*command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([*GUARD, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("how", ["closed", "terminated"])
def test_all_of_a_stubborn_program_ends(how: str) -> None:
    """Also what hears no SIGTERM, and what left the session."""
    with started("sh", "-c", STUBBORN) as guard:
        below = family(guard)
        if how == "closed":
            assert guard.stdin is not None
            guard.stdin.close()
        else:
            guard.send_signal(signal.SIGTERM)
        guard.wait(GONE_S)
        assert left(below, GONE_S) == []


def test_a_killed_guard_takes_its_program_along() -> None:
    """Nobody else would end it."""
    with started("sh", "-c", "echo ready; exec sleep 60") as guard:
        assert guard.stdout is not None
        guard.stdout.readline()
        (program,) = psutil.Process(guard.pid).children()
        guard.kill()
        assert left([program], GONE_S) == []


@pytest.mark.parametrize(("line", "status"), [("exit 3", 3), ("kill -9 $$", 128 + 9)])
def test_the_status_is_the_programs(line: str, status: int) -> None:
    """A signal counts as shells count it."""
    with started("sh", "-c", line) as guard:
        assert guard.wait(GONE_S) == status


def test_a_program_that_is_missing_is_said() -> None:
    """As shells say it."""
    with subprocess.Popen([*GUARD, "/no/such/program"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as guard:
        _, said = guard.communicate()
        assert guard.returncode == 127
        assert b"/no/such/program: No such file" in said
