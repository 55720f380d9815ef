"""How is one process kept running?

It is started, watched and started again when it dies: after half a second at first, then after twice as long each time,
up to half a minute. One that ended as it was told to is let go; one that does not come up five times in a row is given
up, and one whose settings are wrong at once.
"""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Protocol

from msgspec import Struct

from golek_worker import process
from golek_worker.process import ProcessId
from golek_worker.supervisor.tail import Tail

FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
STEADY_S: Final = 60.0
"""Who ran for so long begins again with the shortest pause."""
TRIES: Final = 5
POLL_S: Final = 0.1
TELL_S: Final = 5.0
"""So often a person is told how far it is."""
KILL_AFTER_DRAIN_S: Final = 2.0
TOLD_ONCE: Final = ("settings.remark",)
"""What it says at every start: the same each time."""

Say = Callable[[str], None]
State = Literal["new", "starting", "ready", "waiting", "ended", "given up", "elsewhere"]
"""`waiting` to be started again; `ended` as it was told to; `elsewhere` runs one that somebody else started."""


class LaunchError(Exception):
    """It cannot be started, now or later; the message says why."""


class RunsElsewhereError(Exception):
    """One that somebody else started runs already; the message says which."""


class Launched(Struct, frozen=True):
    """A process that was started."""

    popen: "subprocess.Popen[bytes]"
    id: ProcessId
    log: Path


class Program(Protocol):
    """What is kept running."""

    @property
    def name(self) -> str:
        """As its lines are marked."""

    @property
    def drain_s(self) -> float:
        """So long it may take to end."""

    async def launch(self, *, again: bool) -> Launched:
        """Start its process. Raises LaunchError and RunsElsewhereError."""

    async def is_ready(self) -> bool:
        """Whether it does what it is there for."""

    def how_far(self) -> str:
        """What takes its time before it is ready, as a download; empty where nothing does."""

    def problem(self, launched: Launched) -> str:
        """Why it ended, as it says itself; empty when it does not."""

    def forget(self) -> None:
        """Its process is gone: take away what it left about itself."""


class Child:
    """One program, kept running by `run` until it is told to end."""

    def __init__(self, program: Program, say: Say) -> None:
        self.program = program
        self.name = program.name
        self.state: State = "new"
        self.problem = ""
        """Why it was given up."""
        self.settled = asyncio.Event()
        """Set when it is ready for the first time, or over."""
        self.over = asyncio.Event()
        """Set when nothing more will come of it."""
        self._say = say
        self._stopping = asyncio.Event()
        self._launched: Launched | None = None
        self._was_launched = False

    @property
    def pid(self) -> int | None:
        """Of its process, while there is one."""
        return self._launched.id.pid if self._launched is not None else None

    async def run(self) -> None:
        """Keep it running. Returns when it is over."""
        try:
            await self._run()
        finally:
            self.settled.set()
            self.over.set()

    async def _run(self) -> None:
        pause, failures = FIRST_S, 0
        while not self._stopping.is_set():
            began = time.monotonic()
            is_first = pause == FIRST_S
            launched = await self._launch(again=not is_first)
            if launched is None:
                return
            was_ready = await self._watch(launched)
            if self._ended_as_told(launched):
                return
            is_wrong = launched.popen.returncode == process.MISCONFIGURED
            if is_wrong and is_first:
                self._give_up(self.program.problem(launched) or self._cause(launched))
                return
            failures = 0 if was_ready and not is_wrong else failures + 1
            if failures >= TRIES:
                self._give_up(f"it did not come up {TRIES} times in a row; the last time: {self._cause(launched)}")
                return
            if time.monotonic() - began >= STEADY_S:
                pause = FIRST_S
            self._say(f"{self._cause(launched)}; it is started again in {pause:g} s")
            self.state = "waiting"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(LONGEST_S, pause * 2)
        self.state = "ended"

    def tell_to_end(self) -> None:
        """Let it finish what it does; it is not started again."""
        self._stopping.set()
        if self._launched is not None:
            process.terminate(self._launched.id)

    def kill(self) -> None:
        """End it now."""
        self._stopping.set()
        if self._launched is not None and self._launched.popen.poll() is None:
            self._launched.popen.kill()

    async def _launch(self, *, again: bool) -> Launched | None:
        """Its process; None when there is none to watch."""
        try:
            self._launched = await self.program.launch(again=again)
        except LaunchError as error:
            self._give_up(str(error))
            return None
        except RunsElsewhereError as error:
            self._say(f"{error}; it is used, and left running at the end")
            self.state = "elsewhere"
            return None
        self.state = "starting"
        if self._stopping.is_set():
            self.tell_to_end()
        return self._launched

    async def _watch(self, launched: Launched) -> bool:
        """Tell what it logs until it has ended. True when it was ready meanwhile."""
        lines = Tail(launched.log, TOLD_ONCE if self._was_launched else ())
        self._was_launched = True
        was_ready, tell_at = False, time.monotonic() + TELL_S
        while launched.popen.poll() is None:
            for line in lines.new():
                self._say(line)
            if not was_ready and await self.program.is_ready():
                was_ready = True
                self.state = "ready"
                self.settled.set()
            if not was_ready and time.monotonic() >= tell_at:
                tell_at += TELL_S
                if far := self.program.how_far():
                    self._say(far)
            await asyncio.sleep(POLL_S)
        for line in lines.new():
            self._say(line)
        return was_ready

    def _ended_as_told(self, launched: Launched) -> bool:
        """True when it is not to be started again."""
        self._launched = None
        told = self._stopping.is_set()
        if not told and launched.popen.returncode != 0:
            return False
        self.program.forget()
        self._say("stopped" if told else "ended, as somebody told it to; it is not started again")
        self.state = "ended"
        return True

    def _cause(self, launched: Launched) -> str:
        """What became of it, in a clause."""
        code = launched.popen.returncode
        how = f"died of signal {-code}" if code < 0 else f"ended with code {code}"
        problem = self.program.problem(launched)
        return f"{how}: {problem}" if problem else how

    def _give_up(self, why: str) -> None:
        self.problem = why
        self._say(f"given up: {why}")
        self.state = "given up"
