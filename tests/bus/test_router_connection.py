"""A router whose connection breaks while others answer for it."""

import asyncio
from pathlib import Path

import pytest

from golek_client import Golek
from tests.bus.test_router import router
from tests.support.proxy import Proxy
from tests.support.workers import WorkerProcess

WORDS = " ".join(f"w{i}" for i in range(20))
AWAY_S = 2.0
"""Longer than the worker writes, and shorter than a job may go without a sign of who has it."""


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_came_while_it_was_away_is_asked_for_again(
    nats_server: str, golek: Golek, tmp_path: Path, streamed: bool
) -> None:
    """What workers answered meanwhile went nowhere: nobody waits for a deadline, and no text comes twice."""
    async with Proxy(nats_server) as between:
        with WorkerProcess(nats_server, tmp_path / "echo", ENGINE_STEP_MIN_MS=50, WORKER_CONCURRENCY=8):
            there = router("", tmp_path / "router", NATS_URL=between.url)
            await asyncio.to_thread(there.start)
            try:

                async def ask() -> str:
                    if not streamed:
                        return (await golek.ask("auto", WORDS, deadline=60)).text
                    async with golek.stream("auto", WORDS, deadline=60) as stream:
                        pieces = [piece async for piece in stream]
                    assert "".join(pieces) == stream.reply.text
                    return stream.reply.text

                asked = [asyncio.create_task(ask()) for _ in range(8)]
                async with asyncio.timeout(10):
                    while (await golek.health("echo")).active < len(asked):
                        await asyncio.sleep(0.02)
                between.cut()
                await asyncio.sleep(AWAY_S)
                await between.heal()
                async with asyncio.timeout(20):
                    assert await asyncio.gather(*asked) == [WORDS] * len(asked)
                async with asyncio.timeout(10):
                    while (await golek.health("router")).active:
                        await asyncio.sleep(0.05)
            finally:
                there.end()
