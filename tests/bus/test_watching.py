"""The fleet is watched on a real bus."""

import asyncio
from pathlib import Path

from golek_client import Golek
from golek_client.fleet import ModelState
from golek_client.watching import Watch
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.workers import WorkerProcess


async def state(watch: Watch, wanted: str) -> ModelState:
    """The model `echo` once it has this status."""
    async with asyncio.timeout(20):
        while (model := watch.model("echo")) is None or model.status != wanted:
            await asyncio.sleep(0.02)
    return model


async def test_who_begins_to_watch_need_not_wait(broker: NatsServer, tmp_path: Path) -> None:
    """Workers say at once how they are and how busy, though each would only have in 30 s and in 10 s."""
    with WorkerProcess(broker.url, tmp_path / "data"):
        async with Golek(broker.url) as golek:
            earlier = golek.watch()
            await earlier.open()
            async with asyncio.timeout(3):
                while not (await state(earlier, "online")).replicas:
                    await asyncio.sleep(0.02)
            watch = golek.watch()
            await watch.open()
            async with asyncio.timeout(3):
                while not ((model := watch.model("echo")) and model.replicas and model.capacity):
                    await asyncio.sleep(0.02)
            assert model.replicas[0].health is not None
            assert (model.slots, model.capacity) == (64, 2000)


async def test_workers_are_seen_to_come_and_go(broker: NatsServer, tmp_path: Path) -> None:
    """From the bucket at once, then by heartbeats and reports; and again after the connection broke. A message that is
    none of ours is passed over."""
    with WorkerProcess(broker.url, tmp_path / "data") as worker:
        async with Golek(broker.url) as golek:
            watch = golek.watch()
            await watch.open()
            assert watch.is_connected
            assert (await state(watch, "online")).record is not None
            async with raw.connected(broker.url) as client:
                await client.publish("models.echo.heartbeat", b"\xff")
                await client.publish("monitoring.inference.echo", b'{"model_name": 3}')
            async with asyncio.timeout(20):
                while not (model := await state(watch, "online")).replicas or not model.capacity:
                    await asyncio.sleep(0.02)
            assert (model.slots, model.capacity) == (64, 2000)
            broker.restart()
            heard = model.replicas[0].heard_at
            async with asyncio.timeout(20):
                while not watch.is_connected or (await state(watch, "online")).replicas[0].heard_at == heard:
                    await asyncio.sleep(0.02)
            worker.end()
            assert (await state(watch, "offline")).replicas == []
