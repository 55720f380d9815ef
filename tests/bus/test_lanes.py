"""Lanes: jobs meant for one replica, and what becomes of them when it cannot take them."""

import asyncio
import json
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from golek_client import Golek
from golek_wire import subjects
from tests.support import lanes, raw
from tests.support.broker import NatsServer
from tests.support.workers import WorkerProcess

REQUEST = "inference.request.echo"
STREAM = subjects.job_stream("echo")
PACED = {"ENGINE_STEP_MIN_MS": 20}
LONG: dict[str, Any] = {"input": "a", "params": {"max_tokens": 150, "ignore_eos": True}}
"""Three seconds of a paced engine."""


def replicas(url: str, data: Path, count: int, **settings: object) -> list[WorkerProcess]:
    """So many of one deployment, not started."""
    return [WorkerProcess(url, data, replica=number, **settings) for number in range(1, count + 1)]


async def consumers(client: Client) -> list[str]:
    listed = json.loads((await client.request(f"$JS.API.CONSUMER.NAMES.{STREAM}", b"")).data)
    return sorted(listed["consumers"])


def attempts(worker: WorkerProcess) -> list[int]:
    """Which delivery each answer was of, of all replicas that share this one's log."""
    worker.end()
    with sqlite3.connect(worker.data / "logs" / "echo.sqlite") as log:
        return [attempt for (attempt,) in log.execute("SELECT attempt FROM requests")]


async def test_a_replica_takes_what_lies_on_its_lane(nats_server: str, tmp_path: Path) -> None:
    """Each job for one of two idle replicas is answered by that one, at its first delivery and at once."""
    one, two = replicas(nats_server, tmp_path / "data", 2)
    with one, two:
        async with raw.connected(nats_server) as client:
            reports = await lanes.called(client, 2)
            assert [report.free for report in reports] == [report.slots for report in reports]
            slowest = 0.0
            for turn in range(20):
                report = reports[turn % 2]
                began = time.monotonic()
                reply, worker = await lanes.answer(await lanes.put(client, report.lane, {"input": f"a {turn}"}))
                slowest = max(slowest, time.monotonic() - began)
                assert (reply["text"], worker) == (f"a {turn}", report.worker_id)
            assert slowest < 0.7  # without word of a stored job it would be found after a second
    assert attempts(one) == [1] * 20


async def test_without_a_router_there_are_no_lanes(nats_server: str, tmp_path: Path) -> None:
    """Nothing is made and nothing is asked until somebody wants to use lanes; then each replica has one."""
    with WorkerProcess(nats_server, tmp_path / "data") as worker:
        async with raw.connected(nats_server) as client:
            await raw.ask(client, REQUEST, {"input": "a"})
            assert await consumers(client) == ["inference-echo-normal"]
            (report,) = await lanes.called(client, 1)
            assert report.lane == subjects.lane(report.worker_id)
            assert await consumers(client) == ["inference-echo-normal", f"inference-echo-normal-{report.lane}"]
            reply, _ = await raw.ask(client, REQUEST, {"input": "b"})
            assert reply["text"] == "b"
    assert attempts(worker) == [1, 1]


async def test_a_replica_that_offers_no_lane_takes_what_others_leave(nats_server: str, tmp_path: Path) -> None:
    """GOLEK_LANES=false: it does not answer who asks for lanes, and is no reason for a job to be lost."""
    one = WorkerProcess(nats_server, tmp_path / "data", replica=1)
    two = WorkerProcess(nats_server, tmp_path / "data", replica=2, GOLEK_LANES="false")
    with one, two:
        async with raw.connected(nats_server) as client:
            (report,) = await lanes.called(client, 1)
            one.kill()
            reply, worker = await lanes.answer(await lanes.put(client, report.lane, {"input": "a"}))
            assert (reply["text"], worker) == ("a", two.worker_id)


async def test_a_job_for_a_replica_that_is_gone_is_taken_by_another(nats_server: str, tmp_path: Path) -> None:
    """Killed with jobs on its lane: others answer them within a few seconds, nobody has to tell them."""
    one, two = replicas(nats_server, tmp_path / "data", 2)
    with one, two:
        async with raw.connected(nats_server) as client:
            reports = await lanes.called(client, 2)
            one.kill()
            mine = next(report for report in reports if report.worker_id == one.worker_id)
            jobs = [await lanes.put(client, mine.lane, {"input": f"a {n}"}) for n in range(6)]
            answers = await lanes.answered(jobs, 6.0)
            assert [(reply["text"], worker) for reply, worker in answers] == [
                (f"a {n}", two.worker_id) for n in range(6)
            ]


async def test_a_job_that_ran_at_a_replica_that_is_gone_runs_at_another(nats_server: str, tmp_path: Path) -> None:
    """Killed while it runs what came on its lane: once the lease has ended another replica runs it, as its second
    attempt.
    """
    one, two = replicas(nats_server, tmp_path / "data", 2, **PACED)
    with one, two:
        async with raw.connected(nats_server) as client:
            reports = await lanes.called(client, 2)
            mine = next(report for report in reports if report.worker_id == one.worker_id)
            text = {"input": "a", "stream": True, "params": {"max_tokens": 60, "ignore_eos": True}}
            running = await lanes.put(client, mine.lane, text)
            first = await running.next_msg(5)
            assert first.headers is not None
            assert first.headers["Golek-Worker"] == one.worker_id
            one.kill()
            while not (message := await running.next_msg(12)).headers or "Golek-Final" not in message.headers:
                continue
            assert message.headers["Golek-Worker"] == two.worker_id


async def test_a_replica_that_leaves_leaves_its_lane(nats_server: str, tmp_path: Path) -> None:
    """While it finishes what it runs it takes nothing more, and answers nobody who asks for lanes."""
    one, two = replicas(nats_server, tmp_path / "data", 2, **PACED)
    with one, two:
        async with raw.connected(nats_server) as client:
            reports = await lanes.called(client, 2)
            mine = next(report for report in reports if report.worker_id == one.worker_id)
            running = await lanes.put(client, mine.lane, LONG)
            await asyncio.to_thread(one.wait_for, "online")
            while not (await lanes.called(client, 2))[0].free < mine.slots:
                continue
            one.signal(signal.SIGTERM)
            await asyncio.to_thread(one.wait_for_line, "shutdown")
            _, worker = await lanes.answer(await lanes.put(client, mine.lane, {"input": "b"}), 8.0)
            assert worker == two.worker_id
            assert (await lanes.answer(running))[1] == one.worker_id


async def test_a_job_for_a_replica_that_is_full_is_taken_by_another(nats_server: str, tmp_path: Path) -> None:
    """Its one slot is taken for twenty seconds; what lies on its lane does not wait for that."""
    one, two = replicas(nats_server, tmp_path / "data", 2, WORKER_CONCURRENCY=1, **PACED)
    with one, two:
        async with raw.connected(nats_server) as client:
            first, _ = await lanes.called(client, 2)
            running = await lanes.put(
                client, first.lane, {"input": "a", "params": {**LONG["params"], "max_tokens": 1000}}
            )
            _, worker = await lanes.answer(await lanes.put(client, first.lane, {"input": "b"}), 10.0)
            assert worker == two.worker_id
            await client.publish(subjects.cancel(subjects.job_id(running.subject)))
            reply, worker = await lanes.answer(running)
            assert (reply["error"]["code"], worker) == ("CANCELLED", one.worker_id)


async def test_a_frozen_replica_keeps_nothing_on_its_lane(nats_server: str, tmp_path: Path) -> None:
    """Stopped before the job came: it lies on no pull, so another one takes it."""
    one, two = replicas(nats_server, tmp_path / "data", 2)
    with one, two:
        async with raw.connected(nats_server) as client:
            reports = await lanes.called(client, 2)
            mine = next(report for report in reports if report.worker_id == one.worker_id)
            one.signal(signal.SIGSTOP)
            _, worker = await lanes.answer(await lanes.put(client, mine.lane, {"input": "a"}), 6.0)
            assert worker == two.worker_id


async def test_what_lies_on_lanes_of_a_fleet_that_ended_is_found(nats_server: str, tmp_path: Path) -> None:
    """All replicas are gone, and whoever knew of lanes; the first worker that starts takes what lies there, also where
    the lane's consumer is gone."""
    one = WorkerProcess(nats_server, tmp_path / "data", replica=1)
    with one:
        async with raw.connected(nats_server) as client:
            (report,) = await lanes.called(client, 1)
    async with raw.connected(nats_server) as client:
        jobs = [await lanes.put(client, lane, {"input": lane}) for lane in (report.lane, "nobody-knows-this-one")]
        with WorkerProcess(nats_server, tmp_path / "data", replica=2) as two:
            answers = await lanes.answered(jobs, 10.0)
            assert [worker for _, worker in answers] == [two.worker_id] * 2


async def test_lanes_and_everybodys_jobs_share_the_slots(nats_server: str, tmp_path: Path) -> None:
    """Under load of both kinds each job runs once, none waits for ever, and hardly any comes where no slot is."""
    one, two = replicas(nats_server, tmp_path / "data", 2, WORKER_CONCURRENCY=2)
    with one, two:
        async with raw.connected(nats_server) as client:
            reports = await lanes.called(client, 2)

            async def caller(number: int) -> None:
                for turn in range(12):
                    text = f"{number} {turn}"
                    if turn % 2:
                        reply, _ = await raw.ask(client, REQUEST, {"input": text})
                    else:
                        lane = reports[number % 2].lane
                        reply, _ = await lanes.answer(await lanes.put(client, lane, {"input": text}))
                    assert reply["text"] == text

            await asyncio.gather(*(caller(number) for number in range(16)))
        two.end()
    told = attempts(one)
    assert len(told) == 192
    assert sum(told) <= 205


async def test_lanes_keep_the_order_of_priorities(nats_server: str, tmp_path: Path) -> None:
    """Where the most urgent come first there is a lane in each class, and jobs of all of them are answered at once."""
    with WorkerProcess(nats_server, tmp_path / "data", INFERENCE_QUEUE_STRATEGY="priority") as worker:
        async with raw.connected(nats_server) as client:
            (report,) = await lanes.called(client, 1)
            slowest = 0.0
            for turn in range(12):
                began = time.monotonic()
                if turn % 2:
                    reply, _ = await raw.ask(client, REQUEST, {"input": "a", "priority": turn % 3 + 1})
                else:
                    reply, _ = await lanes.answer(await lanes.put(client, report.lane, {"input": "a"}))
                slowest = max(slowest, time.monotonic() - began)
                assert reply["text"] == "a"
            assert slowest < 0.7
            assert len(await consumers(client)) == 6
    assert attempts(worker) == [1] * 12


async def test_lanes_survive_the_broker(broker: NatsServer, tmp_path: Path) -> None:
    """The server is killed and comes back: jobs on the lane are answered, and the lane is offered again."""
    with WorkerProcess(broker.url, tmp_path / "data"):
        async with raw.connected(broker.url) as client:
            await lanes.called(client, 1)
            broker.kill()
            broker.start()
            (report,) = await lanes.called(client, 1)
            reply, worker = await lanes.answer(await lanes.put(client, report.lane, {"input": "a"}))
            assert (reply["text"], worker) == ("a", report.worker_id)


async def test_jobs_on_lanes_are_counted_in_the_queue(nats_server: str, tmp_path: Path) -> None:
    """A load report's `pending_messages` is all that waits, wherever it lies; so is what `golek queue` shows."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED):
        async with raw.connected(nats_server) as client:
            (report,) = await lanes.called(client, 1)
            running = await lanes.put(client, report.lane, LONG)
            waiting = [await lanes.put(client, report.lane, {"input": "b"}) for _ in range(3)]
            async with Golek(nats_server) as golek:
                seen = await golek.queue("echo")
                assert (seen.running, seen.waiting, len(seen.jobs)) == (1, 3, 4)
            reports = await raw.collect(client, subjects.load_report("echo"), 3)
            assert 3 in [told["pending_messages"] for told in reports]
            await lanes.answered([running, *waiting])
