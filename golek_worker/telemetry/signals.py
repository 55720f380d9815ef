"""When does a worker speak without being asked?

A heartbeat every 30 s, and at each change of status; a load report every second while anything waits or runs, else
every 10 s. What is passed in to send them must not raise: a signal that is lost is followed by the next one.
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
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._changed.wait()
            except TimeoutError:
                continue


async def report_load(report: Send, is_busy: Callable[[], bool]) -> None:
    """Report, more often under load, for as long as the worker lives."""
    due = 0.0
    while True:
        if is_busy() or time.monotonic() >= due:
            due = time.monotonic() + IDLE_REPORT_S
            await report()
        await asyncio.sleep(BUSY_REPORT_S)
