"""When a process reports without being asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from golek_worker.telemetry import signals
from golek_worker.telemetry.signals import Reports


class Told:
    """A process that reports, by a clock that runs a hundred times as fast."""

    def __init__(self) -> None:
        self.active = 0
        self.ended = 0
        self.sent: asyncio.Queue[int] = asyncio.Queue()
        self.reports = Reports(self._send, lambda: self.active > 0, lambda: self.ended)

    async def _send(self) -> None:
        self.sent.put_nowait(self.active)

    async def next(self) -> int:
        async with asyncio.timeout(5):
            return await self.sent.get()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Told"]:
        task = asyncio.create_task(self.reports.run())
        try:
            assert await self.next() == 0
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "BUSY_REPORT_S", 0.01)


async def test_reports_come_often_while_something_runs_and_once_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So nobody waits for the next one of a worker that has become idle."""
    monkeypatch.setattr(signals, "IDLE_REPORT_S", 1000.0)
    async with Told().running() as told:
        told.active = 1
        assert [await told.next() for _ in range(3)] == [1, 1, 1]
        told.active = 0
        while await told.next():
            pass
        for _ in range(10):  # so many times it could have reported again
            await asyncio.sleep(0.01)
        assert told.sent.empty()


async def test_what_began_and_ended_between_two_looks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet of short requests is not taken for an idle one."""
    monkeypatch.setattr(signals, "IDLE_REPORT_S", 1000.0)
    async with Told().running() as told:
        told.ended = 7
        assert await told.next() == 0


async def test_an_idle_process_reports_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seldom, so that others know that it lives."""
    monkeypatch.setattr(signals, "IDLE_REPORT_S", 0.03)
    async with Told().running() as told:
        assert [await told.next() for _ in range(3)] == [0, 0, 0]


async def test_who_asks_need_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report at once, whenever the next one is due."""
    monkeypatch.setattr(signals, "BUSY_REPORT_S", 1000.0)
    monkeypatch.setattr(signals, "IDLE_REPORT_S", 1000.0)
    async with Told().running() as told:
        told.reports.report_now()
        assert await told.next() == 0
