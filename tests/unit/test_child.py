"""A process that is kept running."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from golek_worker import process
from golek_worker.supervisor import child as module
from golek_worker.supervisor.child import Child, Launched, LaunchError, RunsElsewhereError

STAYS = "import signal; print('up', flush=True); signal.pause()"
ENDS_WELL = "pass"
FAILS = "import sys; sys.exit('no luck')"


class Script:
    """A program that is one line of Python; `refusals` are raised instead of its next starts."""

    name = "script"
    drain_s = 1.0

    def __init__(self, folder: Path, code: str, *refusals: Exception) -> None:
        self.folder, self.code = folder, code
        self.refusals = list(refusals)
        self.launches: list[bool] = []
        self.forgotten = 0

    async def launch(self, *, again: bool) -> Launched:
        if self.refusals:
            raise self.refusals.pop()
        self.launches.append(again)
        log = self.folder / f"{len(self.launches)}.log"
        popen = process.spawn([sys.executable, "-c", self.code], log)
        return Launched(popen, process.identify(popen.pid), log)

    async def is_ready(self) -> bool:
        return (self.folder / f"{len(self.launches)}.log").read_text().startswith("up")

    def how_far(self) -> str:
        return "12 % of a download"

    def problem(self, launched: Launched) -> str:
        return launched.log.read_text().strip()

    def forget(self) -> None:
        self.forgotten += 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "POLL_S", 0.01)


async def until_ready(child: Child, pid: int | None = None) -> int:
    """Wait until a process other than `pid` is ready; its own."""
    async with asyncio.timeout(10):
        while child.state != "ready" or child.pid in (None, pid):
            await asyncio.sleep(0.01)
    assert child.pid is not None
    return child.pid


async def test_one_that_dies_is_started_again(tmp_path: Path) -> None:
    """As often as it was up; who is told to end ends, and is forgotten."""
    said: list[str] = []
    script = Script(tmp_path, STAYS)
    child = Child(script, said.append)
    running = asyncio.create_task(child.run())
    pid = None
    for _ in range(module.TRIES + 1):
        pid = await until_ready(child, pid)
        assert child.settled.is_set()
        os.kill(pid, signal.SIGKILL)
    pid = await until_ready(child, pid)
    child.tell_to_end()
    await asyncio.wait_for(running, 5)
    assert (child.state, script.forgotten, child.over.is_set()) == ("ended", 1, True)
    assert sum("died of signal 9: up; it is started again in" in line for line in said) == module.TRIES + 1
    assert said[-1] == "stopped"
    assert script.launches == [False, *[True] * (module.TRIES + 1)]


async def test_one_that_never_comes_up_is_given_up(tmp_path: Path) -> None:
    """After some tries, with what it said."""
    said: list[str] = []
    child = Child(Script(tmp_path, FAILS), said.append)
    await asyncio.wait_for(child.run(), 10)
    assert child.state == "given up"
    assert (
        child.problem == f"it did not come up {module.TRIES} times in a row; the last time: ended with code 1: no luck"
    )
    assert sum("it is started again" in line for line in said) == module.TRIES - 1


async def test_one_that_cannot_be_started_is_given_up_at_once(tmp_path: Path) -> None:
    """Wrong settings do not become right by themselves."""
    said: list[str] = []
    child = Child(Script(tmp_path, STAYS, LaunchError("CTX_SIZE=many: Expected `int`")), said.append)
    await asyncio.wait_for(child.run(), 5)
    assert (child.state, said) == ("given up", ["given up: CTX_SIZE=many: Expected `int`"])


async def test_one_whose_settings_are_wrong_is_given_up(tmp_path: Path) -> None:
    """At once when its first start shows it, though it was ready for a moment; later after some tries."""
    ends = f"sys.exit({process.MISCONFIGURED})"
    wrong = f"import sys, time; print('up: no such file', flush=True); time.sleep(0.2); {ends}"
    said: list[str] = []
    child = Child(Script(tmp_path, wrong), said.append)
    await asyncio.wait_for(child.run(), 5)
    assert (child.state, said[-1]) == ("given up", "given up: up: no such file")

    script = Script(tmp_path / "later", STAYS)
    child = Child(script, said.append)
    running = asyncio.create_task(child.run())
    pid = await until_ready(child)
    script.code = wrong
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(running, 20)
    assert child.problem.startswith(f"it did not come up {module.TRIES} times in a row; the last time: ended with code")


async def test_one_that_ended_as_told_is_let_go(tmp_path: Path) -> None:
    """Somebody drained it, or stopped it."""
    said: list[str] = []
    child = Child(Script(tmp_path, ENDS_WELL), said.append)
    await asyncio.wait_for(child.run(), 5)
    assert child.state == "ended"
    assert "as somebody told it to" in said[-1]


async def test_one_of_somebody_else_is_used(tmp_path: Path) -> None:
    """And not touched at the end."""
    said: list[str] = []
    child = Child(Script(tmp_path, STAYS, RunsElsewhereError("runs already (online, pid 7)")), said.append)
    await asyncio.wait_for(child.run(), 5)
    child.tell_to_end()
    assert (child.state, said) == (
        "elsewhere",
        ["runs already (online, pid 7); it is used, and left running at the end"],
    )


async def test_what_takes_its_time_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, until it is ready."""
    monkeypatch.setattr(module, "TELL_S", 0.01)
    said: list[str] = []
    child = Child(Script(tmp_path, "import time; time.sleep(0.3)"), said.append)
    await asyncio.wait_for(child.run(), 5)
    assert said.count("12 % of a download") > 1


async def test_one_that_is_deaf_is_killed(tmp_path: Path) -> None:
    """Who takes too long."""
    child = Child(Script(tmp_path, "import signal; signal.signal(15, signal.SIG_IGN); " + STAYS), lambda _: None)
    running = asyncio.create_task(child.run())
    await until_ready(child)
    child.tell_to_end()
    child.kill()
    await asyncio.wait_for(running, 5)
    assert child.state == "ended"
