"""When does a worker speak without being asked?

A heartbeat every 30 s, and at each change of status; a load report every second while anything waits or runs, else
every 10 s.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from golek_wire.errors import InferenceServiceError
from golek_wire.signals import LoadReport

log = structlog.get_logger("signals")

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
            await _quietly(self._send)
            self._changed.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._changed.wait()
            except TimeoutError:
                continue


class LoadReporter:
    """Sends load reports, more often under load."""

    def __init__(
        self, measure: Callable[[], Awaitable[LoadReport]], send: Callable[[LoadReport], Awaitable[None]]
    ) -> None:
        self._measure = measure
        self._send = send

    async def run(self, is_busy: Callable[[], bool]) -> None:
        """Report, for as long as the worker lives."""
        due = 0.0
        while True:
            if is_busy() or time.monotonic() >= due:
                due = time.monotonic() + IDLE_REPORT_S
                await _quietly(self._report)
            await asyncio.sleep(BUSY_REPORT_S)

    async def _report(self) -> None:
        await self._send(await self._measure())


async def _quietly(act: Send) -> None:
    """A signal that cannot be sent is a line in the log; the next one follows."""
    try:
        await act()
    except (InferenceServiceError, OSError, TimeoutError) as error:
        log.warning("signal.lost", problem=str(error))
