"""Does one holder of a job answer it, when several hold it and each doubts its lease?"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from golek_client import DeadlineExceededError, Golek
from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import close, connect
from golek_wire import subjects
from golek_worker.bus.fence import CLAIM_S, Fence
from golek_worker.bus.jetstream import NS, api
from golek_worker.bus.lease import Lease, SupersededError
from golek_worker.bus.results import STORE_PATIENCE_S, STORE_TIMEOUT_S
from golek_worker.bus.streams import (
    ACK_WAIT_S,
    PRIORITY_GROUP,
    consumer_config,
    ensure_consumer,
    ensure_stream,
    job_stream_config,
    results_config,
)
from golek_worker.job import Job, to_headers
from tests.support import raw
from tests.support.load import Overhearing, inboxes_of, left_in_queue
from tests.support.workers import ROOT, WorkerProcess

STREAM = subjects.job_stream("m")
ECHO = subjects.job_stream("echo")
CONSUMER = subjects.consumer("m", "inference", "normal")


@pytest.fixture
async def holders(nats_server: str) -> AsyncIterator[tuple[BusClient, BusClient]]:
    """Two connections, and a queue."""
    first, second = await connect(nats_server, "first"), await connect(nats_server, "second")
    await ensure_stream(first, job_stream_config("m", 100))
    await ensure_consumer(first, STREAM, consumer_config("m"))
    await ensure_stream(first, results_config(2**20))
    yield first, second
    await close(first)
    await close(second)


async def delivered(client: BusClient) -> Lease:
    """The next delivery; whoever gets one that no other is known of need not doubt it."""
    came: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
    inbox = client.new_inbox()

    async def take(message: Delivery) -> None:
        came.set_result(message)

    subscription = await client.subscribe_direct(inbox, take)
    body = b'{"batch":1,"expires":%d,"group":"%s"}' % (5 * NS, PRIORITY_GROUP.encode())
    await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}", body, reply=inbox)
    message = await came
    await client.withdraw(subscription)
    return Lease(client, message, time.time())


async def held_twice(holders: tuple[BusClient, BusClient], *, stream: bool = False) -> tuple[Lease, Lease]:
    """A job that both hold, the second after the server was told to give it away; the first doubts its lease."""
    job = Job("j", "r", "_INBOX.a", stream, "anonymous", 7, 60_000, uuid.uuid4().hex, {})
    subject = subjects.job("m", "inference", "normal")
    await holders[0].request(subject, b"{}", headers=to_headers(job))
    older = await delivered(holders[0])
    await older.nak()
    newer = await delivered(holders[1])
    assert (older.seq, older.num_delivered, newer.num_delivered) == (newer.seq, 1, 2)
    older.doubtful = True
    return older, newer


async def answer(lease: Lease) -> bool:
    """As a worker does it: ask, answer, ack."""
    may = await lease.is_mine()
    if may:
        await lease.ack()
    return may


async def test_one_of_two_holders_answers_that_end_at_once(holders: tuple[BusClient, BusClient]) -> None:
    """Thirty times of thirty one may, and the other hears that it may not."""
    for _ in range(30):
        leases = await held_twice(holders)
        assert sorted(await asyncio.gather(*map(answer, leases))) == [False, True]


async def test_a_lease_that_is_renewed_too_late_is_doubtful(holders: tuple[BusClient, BusClient]) -> None:
    """As after an engine that stood still: the server hears of it once the job is elsewhere."""
    older, newer = await held_twice(holders)
    older.doubtful = False
    older.renewed_at -= ACK_WAIT_S
    await older.renew()
    assert await newer.is_mine()
    await newer.ack()
    assert not await older.is_mine()


async def test_a_claim_holds_whatever_delivery_its_owner_has(holders: tuple[BusClient, BusClient]) -> None:
    """Who claimed and could not answer may try again; the other may not meanwhile."""
    older, newer = await held_twice(holders)
    assert await older.is_mine()
    waiting = asyncio.create_task(answer(newer))
    assert await older.is_mine()
    assert not waiting.done()
    await older.ack()
    assert await waiting is False


async def test_the_claim_of_a_dead_holder_is_taken_over(nats_server: str, holders: tuple[BusClient, BusClient]) -> None:
    """It was killed between claim and answer: the other one answers when the claim has run out, and not before."""
    _, newer = await held_twice(holders)
    script = f"""
import asyncio, os, signal
from golek_client.connection import connect
from golek_worker.bus import fence
fence.CLAIM_S = 2
async def main():
    assert await fence.Fence(await connect({nats_server!r}, "doomed"), {STREAM!r}, {newer.seq}).claim()
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    command = [sys.executable, "-c", script]
    dead = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False
    )
    assert dead.returncode == -signal.SIGKILL
    assert not await Fence(holders[1], STREAM, newer.seq).claim()
    async with asyncio.timeout(10):
        assert await answer(newer)


async def test_a_claim_lasts_longer_than_an_answer_is_tried_to_be_stored() -> None:
    """Else another holder would answer while the first still tries."""
    assert CLAIM_S > STORE_PATIENCE_S + STORE_TIMEOUT_S


async def test_the_older_holder_of_a_stream_gives_way(holders: tuple[BusClient, BusClient]) -> None:
    """While the newer one writes to the caller it leaves the job as it is; once it was answered, there is nothing to
    leave; the same worker that got the newest delivery itself goes on.
    """
    older, newer = await held_twice(holders, stream=True)
    await newer.announce()
    with pytest.raises(SupersededError):
        await older.is_mine()
    await newer.nak()
    newest = await delivered(holders[0])
    older.adopt(newest)
    assert await answer(older)
    async with asyncio.timeout(5):
        while await older.is_mine():  # until the server has read the ack
            await asyncio.sleep(0.01)
    assert not await newer.is_mine()


async def test_a_lease_that_nobody_doubts_claims_nothing(holders: tuple[BusClient, BusClient]) -> None:
    """The usual way asks the server nothing."""
    job = Job("j", "r", "_INBOX.a", False, "anonymous", 7, 60_000, "_INBOX.a", {})
    await holders[0].request(subjects.job("m", "inference", "normal"), b"{}", headers=to_headers(job))
    lease = await delivered(holders[0])
    assert await lease.is_mine()
    info = await api(holders[0], f"STREAM.INFO.{subjects.RESULTS_STREAM}")
    assert info["state"]["last_seq"] == 0


async def redelivered(url: str, count: int) -> None:
    """Wait until so many jobs that run were delivered a second time."""
    consumer = subjects.consumer("echo", "inference", "normal")
    async with raw.connected(url) as client:
        while True:
            info = json.loads((await client.request(f"$JS.API.CONSUMER.INFO.{ECHO}.{consumer}", b"")).data)
            if info["num_redelivered"] >= count:
                return
            await asyncio.sleep(0.05)


async def left(url: str, count: int) -> None:
    """Wait until so few jobs are in the queue."""
    while await left_in_queue(url, "echo") > count:
        await asyncio.sleep(0.05)


async def test_a_frozen_worker_and_who_took_its_jobs_meet_at_the_deadline(nats_server: str, tmp_path: Path) -> None:
    """Both run the same jobs and both are ended by one deadline: each caller gets one final message."""
    paced = {"ENGINE_STEP_MIN_MS": 50, "WORKER_CONCURRENCY": 16}
    data = tmp_path / "data"
    with WorkerProcess(nats_server, data, **paced) as first:
        async with Overhearing(nats_server) as heard, Golek(nats_server, deadline=11) as golek:
            await heard.listen(inboxes_of(golek))
            asked = [asyncio.create_task(golek.ask("echo", "a", max_tokens=5000, ignore_eos=True)) for _ in range(16)]
            while (await golek.health("echo")).active < 16:
                await asyncio.sleep(0.02)
            first.signal(signal.SIGSTOP)
            with WorkerProcess(nats_server, data, "echo", 2, **paced):
                await redelivered(nats_server, 16)
                first.signal(signal.SIGCONT)
                ends = await asyncio.gather(*asked, return_exceptions=True)
                assert [type(end) for end in ends] == [DeadlineExceededError] * 16
                await left(nats_server, 0)
    assert heard.duplicate_finals == 0
