"""When does a process speak without being asked?

A worker's heartbeat every 30 s, and at each change of status; a load report, of a worker and of a gateway, every second
while anything waits, runs or ended since the last one, else every 10 s. What is passed in to send them must not raise:
a signal that is lost is followed by the next one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

HEARTBEAT_S = 30.0
BUSY_REPORT_S = 1.0
IDLE_REPORT_S = 10.0

Send = Callable[[], Awaitable[None]]


class Heart:
    """Sends a heartbeat on time, and at once when told."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._changed = asyncio.Event()

    def beat_now(self) -> None:
        """Something changed that others should know."""
        self._changed.set()

    async def run(self) -> None:
        """Beat, for as long as the worker lives."""
        while True:
            self._changed.clear()
            await self._send()
            await _within(HEARTBEAT_S, self._changed)


class Reports:
    """Sends a load report on time, more often under load, and at once when told."""

    def __init__(self, send: Send, is_busy: Callable[[], bool], ended: Callable[[], int]) -> None:
        """`is_busy` says whether anything waits or runs, `ended` how many requests have ended so far."""
        self._send = send
        self._is_busy = is_busy
        self._ended = ended
        self._changed = asyncio.Event()

    def report_now(self) -> None:
        """Something changed that others should know, or somebody asks."""
        self._changed.set()

    async def run(self) -> None:
        """Report, for as long as the process lives."""
        due, told = 0.0, (False, 0)
        while True:
            now = self._is_busy(), self._ended()
            # The report after the last busy one says that it is over: else readers would wait for one each second.
            if self._changed.is_set() or now[0] or now != told or time.monotonic() >= due:
                self._changed.clear()
                told, due = now, time.monotonic() + IDLE_REPORT_S
                await self._send()
            await _within(BUSY_REPORT_S, self._changed)


async def _within(seconds: float, changed: asyncio.Event) -> None:
    """Wait so long, or until `changed`."""
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return
