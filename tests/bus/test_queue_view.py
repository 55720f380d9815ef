"""Who waits in a model's queue and who runs, as it is shown to people: read without disturbing anybody."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from golek_client import Golek
from golek_client.queueing import Class, Filter, Waiting, in_order, seconds_between
from golek_wire import subjects
from golek_wire.errors import BadRequestError, BusUnavailableError
from tests.bus.test_queue import BY_PRIORITY, PACED, REQUEST, STREAM, go_on, in_queue, pause, tokens
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.workers import WorkerProcess


async def test_jobs_that_wait_are_shown_in_their_order(nats_server: str, tmp_path: Path) -> None:
    """Each with its place, as its stream is told it, its label and age, and nothing of what it asks; all run then."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED):
        async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
            await pause(client)
            streams = [
                await raw.stream(client, REQUEST, tokens(1, req_id=f"label-{number}", metadata={"secret": "x" * 500}))
                for number in range(5)
            ]
            await in_queue(client, 5)
            told = {}
            for streamed in streams:
                message = await streamed.next()
                status = json.loads(message.data)
                told[status["req_id"]] = status["position"]
            shown = await golek.queue("echo")
            assert (shown.waiting, shown.running, shown.capacity, shown.complete) == (5, 0, 2000, True)
            assert {job.req_id: job.position for job in shown.jobs} == told
            assert [job.position for job in shown.jobs] == [1, 2, 3, 4, 5]
            first = shown.jobs[0]
            assert (first.state, first.kind, first.principal, first.priority) == (
                "waiting", "inference", "anonymous", 2,
            )  # fmt: skip
            assert subjects.is_job_id(first.job_id)
            assert first.stream
            assert first.bytes > 500
            assert 0 <= first.age_s <= (shown.oldest_s or 0) < 30
            assert 85 < (first.left_s or 0) <= 120
            assert "secret" not in repr(shown)
            await go_on(client)
            await asyncio.gather(*(streamed.rest(30) for streamed in streams))
            await in_queue(client, 0)
            empty = await golek.queue("echo")
            assert (empty.waiting, empty.jobs, empty.oldest_s) == (0, [], None)


async def test_what_runs_is_told_from_what_waits(nats_server: str, tmp_path: Path) -> None:
    """Delivered and not ended is running, has no place, and stands first."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=2, **PACED):
        async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
            running = [await raw.stream(client, REQUEST, tokens(300, req_id=f"r{number}")) for number in range(2)]
            for streamed in running:
                await streamed.next()
            waiting = await raw.stream(client, REQUEST, tokens(1, req_id="w"))
            await in_queue(client, 3)
            shown = await golek.queue("echo")
            assert [(job.req_id, job.state, job.position) for job in shown.jobs] == [
                ("r0", "running", None),
                ("r1", "running", None),
                ("w", "waiting", 1),
            ]
            assert (shown.running, shown.waiting) == (2, 1)
            for job in shown.jobs:
                await golek.cancel(job.job_id)
            await asyncio.gather(*(streamed.rest(10) for streamed in (*running, waiting)))


async def test_the_most_urgent_stand_first(nats_server: str, tmp_path: Path) -> None:
    """Where the queue has priorities, places count all that start before."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED, **BY_PRIORITY):
        async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
            await pause(client)
            for number, priority in enumerate((1, 2, 3, 2)):
                body = json.dumps(tokens(1, req_id=f"{priority}-{number}", priority=priority)).encode()
                await client.publish(REQUEST, body, reply=client.new_inbox())
                await in_queue(client, number + 1)
            shown = await golek.queue("echo")
            assert [(job.req_id, job.position, job.priority) for job in shown.jobs] == [
                ("3-2", 1, 3),
                ("2-1", 2, 2),
                ("2-3", 3, 2),
                ("1-0", 4, 1),
            ]
            assert shown.strategy == "priority"


async def test_a_long_queue_costs_little_to_look_at(nats_server: str, tmp_path: Path) -> None:
    """Of 1,900 jobs the first hundred are shown, with how many there are; no worker needs to be there."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1) as worker:
        async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
            await pause(client)
            inbox = client.new_inbox()
            for number in range(1900):
                body = json.dumps(tokens(1, req_id=str(number), metadata={"filler": "x" * 2000})).encode()
                await client.publish(REQUEST, body, reply=f"{inbox}.{number}")
            await in_queue(client, 1900)
            worker.kill()
            begun = time.monotonic()
            shown = await golek.queue("echo")
            took = time.monotonic() - begun
            assert (shown.waiting, len(shown.jobs), shown.complete) == (1900, 100, False)
            assert [job.position for job in shown.jobs] == list(range(1, 101))
            assert len((await golek.queue("echo", 3)).jobs) == 3
            assert took < 2
            print(f"took {took * 1000:.1f} ms")
            consumers = json.loads((await client.request(f"$JS.API.CONSUMER.LIST.{STREAM}", b"")).data)["consumers"]
            assert len(consumers) == 1
            assert consumers[0]["num_pending"] == 1900


async def test_large_requests_are_read_up_to_a_bound(nats_server: str, tmp_path: Path) -> None:
    """Payloads come with the messages: what is read at a time does not grow with them."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1):
        async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
            await pause(client)
            for number in range(8):
                body = json.dumps(tokens(1, req_id=str(number), metadata={"filler": "x" * 900_000})).encode()
                await client.publish(REQUEST, body, reply=client.new_inbox())
            await in_queue(client, 8)
            shown = await golek.queue("echo")
            assert shown.waiting == 8
            assert not shown.complete
            assert [job.position for job in shown.jobs] == list(range(1, len(shown.jobs) + 1))
            assert 3 <= len(shown.jobs) < 8
            assert shown.jobs[0].bytes > 900_000


async def test_a_model_that_nobody_ever_served_has_an_empty_queue(golek: Golek) -> None:
    """A name or number that is none is refused."""
    shown = await golek.queue("never-there")
    assert (shown.waiting, shown.running, shown.capacity, shown.jobs) == (0, 0, 0, [])
    for model, limit in (("a b", 1), ("x", 0), ("x", 101)):
        with pytest.raises(BadRequestError):
            await golek.queue(model, limit)


async def test_a_server_without_jetstream_is_named(tmp_path: Path) -> None:
    """That nobody can say is an error, and no empty queue."""
    server = NatsServer(tmp_path, jetstream=False).start()
    try:
        async with Golek(server.url) as golek:
            with pytest.raises(BusUnavailableError, match="without JetStream"):
                await golek.queue("echo")
    finally:
        server.stop()


def test_kinds_have_places_of_their_own() -> None:
    """A text and a vector of one model wait for each other's workers not at all."""
    made = {
        (kind, name): _class(kind, name, pending=1)
        for kind in ("inference", "embedding")
        for name in ("high", "normal")
    }
    found = {one.name: [Waiting(number, "2026-01-01T00:00:00Z", {}, 1)] for number, one in enumerate(made.values(), 1)}
    jobs = in_order(list(made.values()), found, "2026-01-01T00:00:01.5Z")
    assert sorted((job.kind, job.priority, job.position) for job in jobs) == [
        ("embedding", 2, 2),
        ("embedding", 3, 1),
        ("inference", 2, 2),
        ("inference", 3, 1),
    ]
    assert {job.age_s for job in jobs} == {1.5}


def _class(kind: str, name: str, pending: int) -> Class:
    subject = subjects.job("m", kind, name)
    return Class(name=subjects.consumer("m", kind, name), config=Filter(subject), num_pending=pending)


@pytest.mark.parametrize(
    ("first", "second", "passed"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01.123456789Z", 1.123),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00Z", 0.0),
        ("", "2026-01-01T00:00:00Z", 0.0),
        ("no date", "2026-01-01T00:00:00Z", 0.0),
    ],
)
def test_ages_are_counted_on_the_servers_clock(first: str, second: str, passed: float) -> None:
    """Whatever digits it writes; never below nothing."""
    assert seconds_between(first, second) == passed
