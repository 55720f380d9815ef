"""What is left of processes that should be gone."""

import asyncio
import time
from collections.abc import Iterable

import psutil


def left(processes: Iterable[psutil.Process], within_s: float) -> list[str]:
    """Wait until none of them runs any more, for so long at most; the commands of those that still do.

    One that has ended and that its parent has not yet asked for, a zombie, is gone: of an orphan that is up to the
    machine's first process.
    """
    deadline = time.monotonic() + within_s
    running = list(processes)
    while (running := [one for one in running if _runs(one)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [said for one in running if (said := _command(one)) is not None]


async def left_later(processes: Iterable[psutil.Process], within_s: float) -> list[str]:
    """The same, beside what else is awaited."""
    return await asyncio.to_thread(left, processes, within_s)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command(process: psutil.Process) -> str | None:
    """None of one that has gone just now."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return None
