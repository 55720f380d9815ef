"""What a worker hears of its engine's stderr, crash reports and the log file get what is for them; and how an engine
comes and goes.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from golek_worker.engine.base import ASIDE, EngineConfig, Finished
from golek_worker.engine.host import EngineDied, EngineHost
from tests.engine.driver import children, counting

TINY = Path(__file__).resolve().parents[2] / "data/models/golek-tiny/model.gguf"


async def test_messages_of_a_load_are_no_crash_report() -> None:
    """All lines reach `on_stderr`; the ring that is copied to the dead letter queue has only warnings and worse."""
    ready, heard = asyncio.Event(), list[str]()
    config = EngineConfig(engine="llamacpp", model_path=str(TINY), slots=1, ctx_size=256, threads=1)
    host = EngineHost(config, 10.0, ready.set, heard.append)
    running = asyncio.create_task(host.run())
    async with asyncio.timeout(30):
        await ready.wait()
        await host.close()
        await running
    asides = [line for line in heard if line.startswith(ASIDE)]
    assert len(asides) > 20
    assert any("general.architecture" in line for line in asides)
    assert [line for line in heard if line not in asides] == list(host.stderr)


class Echoing:
    """A host with an echo engine, and the event that tells each change."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.host = EngineHost(EngineConfig("echo", "", 2, 0, 0), 10.0, self.changed.set)
        self.running = asyncio.create_task(self.host.run())

    async def until(self, is_so: Callable[[EngineHost], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_so(self.host):
                self.changed.clear()
                await self.changed.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.host.close()
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


async def test_an_unloaded_engine_is_gone_without_a_crash_and_comes_back() -> None:
    """Unloading ends the child, counts as no crash and keeps what is known of the model; loading makes another one."""
    async with Echoing() as echoing, asyncio.timeout(20):
        host = echoing.host
        await echoing.until(lambda host: host.serving)
        (child,) = children()
        known = host.ready
        await host.unload()
        assert (child.is_running(), host.serving, host.unloaded, host.problem) == (False, False, True, None)
        assert host.ready is known
        assert await host.submit(counting("early", 1)).next() == EngineDied(ran=False)
        host.load()
        assert host.loading == 0.0
        await echoing.until(lambda host: host.serving)
        assert isinstance(await host.submit(counting("late", 1)).next(), str | Finished)
        assert host.loading is None


@pytest.mark.parametrize("wait_s", [0.0, 0.002, 0.05])
async def test_an_engine_that_is_unloaded_while_it_loads_is_ended(wait_s: float) -> None:
    """Neither before its process is made nor before it is ready does a load outlive an `unload`."""
    async with Echoing() as echoing, asyncio.timeout(5):
        await asyncio.sleep(wait_s)
        await echoing.host.unload()
        assert not echoing.host.serving
        assert children() == []
