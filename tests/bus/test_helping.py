"""A queue without room, and jobs that somebody else takes out of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from golek_client import Golek, QueueFullError
from golek_client.bus_client import BusClient
from golek_client.connection import close, connect, flush
from golek_wire import subjects
from golek_wire.helping import Help
from golek_worker.bus import streams
from golek_worker.bus.helping import offer_help
from golek_worker.bus.jetstream import ServerClock, walk
from golek_worker.bus.lease import Lease
from golek_worker.bus.taking import Taker
from tests.support.workers import WorkerProcess

HELPER = "helper"
STREAM = subjects.job_stream(HELPER)
OFFER = Help("helper-1", HELPER, 3, "fifo")


@pytest.fixture
def worker(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """One slot, a queue for two jobs, and an engine that takes its time."""
    slow = {"ENGINE_STEP_MIN_MS": 100, "WORKER_CONCURRENCY": 1, "QUEUE_CAPACITY": 2}
    with WorkerProcess(nats_server, tmp_path / "echo", **slow) as worker:
        yield worker


@pytest.fixture
async def bus(nats_server: str) -> AsyncIterator[BusClient]:
    client = await connect(nats_server, "helper")
    yield client
    await close(client)


async def helper_stream(bus: BusClient) -> None:
    """A router's queue, with nobody who works it off."""
    await streams.ensure_stream(bus, streams.job_stream_config(HELPER, OFFER.capacity, "fifo"))
    await streams.ensure_consumer(bus, STREAM, streams.consumer_config(HELPER, "inference", "normal"))


async def stored(client: Client, stream: str) -> int:
    info = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"")).data)
    return int(info["state"]["messages"])


@pytest.mark.usefixtures("worker")
async def test_what_finds_no_room_goes_to_a_router(bus: BusClient, golek: Golek) -> None:
    """It lies in the router's queue, with whom it was asked for and its caller's inbox; when that is full, too, the
    caller hears of the queue that was meant.
    """
    await helper_stream(bus)
    await offer_help(bus, ["echo"], OFFER)
    await flush(bus)
    asking = [asyncio.create_task(golek.ask("echo", "a " * 200)) for _ in range(6)]
    done, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(done.pop().exception(), QueueFullError)
    assert len(waiting) == 5
    jobs = [job async for job in walk(bus, STREAM, "inference.job.")]
    assert len(jobs) == 3
    for job in jobs:
        assert job.headers["Golek-Asked"] == "inference echo"
        assert job.headers["Golek-Hops"] == "1"
        assert job.headers["Golek-Reply"].startswith("_INBOX.")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.usefixtures("worker")
async def test_a_cancelled_job_leaves_the_routers_queue(bus: BusClient, golek: Golek) -> None:
    """Who took it looks after it there, too."""
    await helper_stream(bus)
    await offer_help(bus, ["echo"], OFFER)
    await flush(bus)
    asking = [asyncio.create_task(golek.ask("echo", "a " * 200)) for _ in range(4)]
    async with asyncio.timeout(10):
        while await stored(bus, STREAM) < 2:
            await asyncio.sleep(0.02)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    async with asyncio.timeout(10):
        while await stored(bus, STREAM):
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("worker")
async def test_without_a_router_it_is_refused(golek: Golek) -> None:
    """As ever."""
    asking = [asyncio.create_task(golek.ask("echo", "a " * 200)) for _ in range(3)]
    done, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(done.pop().exception(), QueueFullError)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.usefixtures("worker")
async def test_what_waits_is_taken_and_no_more(bus: BusClient, golek: Golek) -> None:
    """Of a queue with one job that runs and one that waits the second is taken; where none is left nothing is."""
    asking = [asyncio.create_task(golek.ask("echo", "a " * 200)) for _ in range(2)]
    async with asyncio.timeout(10):
        while await stored(bus, subjects.job_stream("echo")) < 2:
            await asyncio.sleep(0.02)
    leases: list[Lease] = []
    taker = Taker(bus, ServerClock())
    assert await taker.take("echo", "inference", ["normal"], 10, leases.append) == 1
    assert await taker.take("echo", "inference", ["normal"], 10, leases.append) == 0
    await leases[0].nak()
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


@pytest.mark.usefixtures("worker")
async def test_a_worker_that_is_free_comes_first(bus: BusClient, golek: Golek) -> None:
    """Whoever only helps gets nothing while a worker of the model waits for jobs."""
    leases: list[Lease] = []
    taker = Taker(bus, ServerClock())
    for _ in range(5):
        asking = asyncio.create_task(golek.ask("echo", "a b"))
        taken = await taker.take("echo", "inference", ["normal"], 10, leases.append)
        assert (await asking).text == "a b"
        assert taken == 0
