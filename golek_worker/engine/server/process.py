"""How is a server started, heard and ended?

It runs under golek_worker/guard.py, which ends it with this process however that ends. What it writes goes to our
standard error: while it loads as it is, later, unless it sounds like trouble, as lines for the log file alone.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque

from golek_worker.engine.base import ASIDE

LINES_KEPT = 20
CLOSE_S = 0.9
"""Of the second that the parent waits for us to end."""
_TROUBLE = re.compile(r"error|fail|fatal|exception|traceback|abort|out of memory|assert|[\d.]+ [EW] ", re.IGNORECASE)


class Started:
    """A server that we started."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        """Its last words."""
        self.is_loaded = False
        self._reading = asyncio.create_task(self._read())
        self.ended = asyncio.create_task(process.wait())

    @classmethod
    async def start(cls, command: list[str], surroundings: dict[str, str]) -> "Started":
        """Start `command` with these variables in its environment."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "golek_worker.guard", *command,
            stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=os.environ | surroundings,
        )  # fmt: skip
        return cls(process)

    @property
    def has_ended(self) -> bool:
        return self.ended.done()

    async def how_it_ended(self) -> str:
        """Its exit and its last words."""
        code = await self.ended
        await asyncio.wait({self._reading}, timeout=CLOSE_S)
        words = "; its last words: " + " / ".join(list(self.lines)[-3:]) if self.lines else ""
        return f"it ended with {how(code)}{words}"

    async def close(self) -> None:
        """End it, and return when it has ended, or soon; its guard sees to the rest."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await asyncio.wait({self.ended}, timeout=CLOSE_S)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # longer than a line may be: what of it was read is gone
                continue
            if not line:
                return
            self._pass_on(line.decode(errors="replace").rstrip())

    def _pass_on(self, text: str) -> None:
        if not text:
            return
        self.lines.append(text)
        aside = ASIDE if self.is_loaded and not _TROUBLE.search(text) else ""
        with contextlib.suppress(OSError):
            print(f"{aside}{text}", file=sys.stderr, flush=True)


def how(code: int) -> str:
    """The end of a guarded process, for people: its guard tells of a signal by 128 and its number."""
    try:
        return f"signal {signal.Signals(-code if code < 0 else code - 128).name}"
    except ValueError:
        return f"exit status {code}"


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
