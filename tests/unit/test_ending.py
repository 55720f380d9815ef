"""A task whose end must be seen."""

import asyncio

import pytest

from golek_client.ending import end


async def test_whoever_waits_may_be_cancelled_twice() -> None:
    """Two deadlines at one moment: the wait goes on until the task has ended, and is cancelled then."""
    leaving, left = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            leaving.set()
            await left.wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(end(task))
    await leaving.wait()
    for _ in range(2):
        waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
    left.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert task.cancelled()


async def test_what_it_comes_to_is_dropped() -> None:
    """Nobody hears of an error of a task that is not wanted any more."""

    async def work() -> None:
        raise ValueError

    task = asyncio.create_task(work())
    await asyncio.wait((task,))
    await end(task)
    assert task.done()
