"""The queue people wait in: places, waits, priorities, a full queue, and deadlines that travel."""

import asyncio
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import psutil
from nats.aio.client import Client

from golek_client import Golek
from golek_wire import subjects
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.proxy import Proxy
from tests.support.workers import WorkerProcess

REQUEST = "inference.request.echo"
PACED = {"ENGINE_STEP_MIN_MS": 20, "STREAM_GATHER_MS": 0}
STREAM = subjects.job_stream("echo")
BY_PRIORITY = {"INFERENCE_QUEUE_STRATEGY": "priority"}


def tokens(count: int, **more: Any) -> dict[str, Any]:
    """A request for so many tokens of text."""
    return {"input": "a", "params": {"max_tokens": count, "ignore_eos": True}, **more}


async def pause(client: Client, *, until: str = "2100-01-01T00:00:00Z") -> None:
    """Let the server hand out no job; with a time in the past let it go on."""
    for priority in subjects.PRIORITIES.values():
        await pause_consumer(client, priority, until)


async def pause_consumer(client: Client, priority: str = "normal", until: str = "2100-01-01T00:00:00Z") -> None:
    """The same for one class."""
    consumer = subjects.consumer("echo", "inference", priority)
    await client.request(f"$JS.API.CONSUMER.PAUSE.{STREAM}.{consumer}", json.dumps({"pause_until": until}).encode())


async def go_on(client: Client) -> None:
    await pause(client, until="2000-01-01T00:00:00Z")


def rows(worker: WorkerProcess, sql: str) -> list[tuple[Any, ...]]:
    """What the request log holds once the worker has ended."""
    worker.end()
    with sqlite3.connect(worker.data / "logs" / "echo.sqlite") as log:
        return log.execute(sql).fetchall()


async def in_queue(client: Client, count: int) -> None:
    """Wait until so many jobs are stored."""
    while True:
        info = json.loads((await client.request(f"$JS.API.STREAM.INFO.{STREAM}", b"")).data)
        if info["state"]["messages"] == count:
            return
        await asyncio.sleep(0.02)


# -- places -----------------------------------------------------------------------------------------------------------


async def test_waiting_streams_are_told_their_place(nats_server: str, tmp_path: Path) -> None:
    """Each learns its place, which only falls; a wait is told with it; nothing comes once the text has begun."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=2, **PACED):
        async with raw.connected(nats_server) as client:
            streams = [await raw.stream(client, REQUEST, tokens(15, req_id=str(n))) for n in range(24)]
            await asyncio.gather(*(streamed.rest(30) for streamed in streams))
    for number, streamed in enumerate(streams):
        kinds = [next(iter(m.headers), "") if m.headers else "" for m in streamed.messages]
        told = [json.loads(m.data) for m in streamed.messages if m.headers and "Golek-Status" in m.headers]
        assert kinds[: len(told)] == ["Golek-Status"] * len(told)
        positions = [status["position"] for status in told]
        assert positions == sorted(positions, reverse=True)
        assert all(1 <= position <= max(1, number - 1) for position in positions)
        assert {(status["req_id"], status["status"]) for status in told} <= {(str(number), "queued")}
        assert told or number < 12  # the first few have begun at the first look
        assert not told or number >= 2
    last = [json.loads(m.data) for m in streams[-1].messages if m.headers and "Golek-Status" in m.headers]
    assert any("eta_s" in status for status in last)


async def test_without_a_queue_nothing_is_told_and_unary_callers_never_are(nats_server: str, tmp_path: Path) -> None:
    """A stream that runs at once gets no status; nor does a waiting caller who asked for one message."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED):
        async with raw.connected(nats_server) as client:
            inbox = client.new_inbox()
            answers = await client.subscribe(inbox)
            running = await raw.stream(client, REQUEST, tokens(120))
            await running.next()
            await client.publish(REQUEST, json.dumps(tokens(1)).encode(), reply=inbox)
            await running.rest()
            assert "text" in json.loads((await answers.next_msg(5)).data)
    assert not [m for m in running.messages if m.headers and "Golek-Status" in m.headers]


async def test_the_client_knows_its_place(nats_server: str, tmp_path: Path) -> None:
    """`Stream.position` and the callback say the same, and are silent once the text begins."""
    told: list[tuple[int, float | None]] = []
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED):
        async with Golek(nats_server) as golek, golek.stream("echo", "a", max_tokens=90, ignore_eos=True) as running:
            await anext(running)
            async with golek.stream("echo", "b", on_queued=lambda *place: told.append(place)) as waiting:
                text = asyncio.create_task(waiting.text())
                while not told:
                    await asyncio.sleep(0.02)
                assert (waiting.position, waiting.eta_s) == told[-1]
                assert told[0] == (1, None)
                await running.text()
                assert await text == "b"
                assert waiting.position is None


# -- priorities -------------------------------------------------------------------------------------------------------


async def test_the_most_urgent_start_first(nats_server: str, tmp_path: Path) -> None:
    """Strictly: all high before any normal, those before any low, and in each class as they came. Nothing is delivered
    twice."""
    settings = {"WORKER_CONCURRENCY": 2, **BY_PRIORITY, **PACED}
    with WorkerProcess(nats_server, tmp_path / "data", **settings) as worker:
        async with raw.connected(nats_server) as client:
            await pause(client)
            ranks = [1, 2, 3, None, 1, 3, 2, 1, 3, 2, 3, 1]
            streams = []
            for number, rank in enumerate(ranks):
                more = {} if rank is None else {"priority": rank}
                streams.append(await raw.stream(client, REQUEST, tokens(2, req_id=str(number), **more)))
            await in_queue(client, len(ranks))
            await go_on(client)
            await asyncio.gather(*(streamed.rest() for streamed in streams))
        ended = [ranks[int(req_id)] or 2 for (req_id,) in rows(worker, "SELECT req_id FROM requests ORDER BY ts")]
        attempts = rows(worker, "SELECT max(attempt) FROM requests")
    # Two slots: neighbours may end in either order.
    assert [max(pair) for pair in zip(ended[::2], ended[1::2], strict=True)] == [3, 3, 2, 2, 1, 1]
    assert sorted(ended, reverse=True) == ended
    assert attempts == [(1,)]


async def test_an_idle_worker_takes_any_class_at_once(nats_server: str, tmp_path: Path) -> None:
    """With one slot there is one pull; a job of another class than it lies at is answered as quickly."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **BY_PRIORITY) as worker:
        async with raw.connected(nats_server) as client:
            slowest = 0.0
            for rank in (2, 3, 1, 1, 3, 2, 2, 1, 3) * 5:
                await asyncio.sleep(0.01)
                began = time.monotonic()
                await raw.ask(client, REQUEST, {"input": "a", "priority": rank})
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 0.7  # without word of a stored job it would be found after a second
        assert rows(worker, "SELECT count(*), max(attempt) FROM requests") == [(45, 1)]


async def test_two_workers_share_a_queue_with_priorities(nats_server: str, tmp_path: Path) -> None:
    """Under load of all classes at two replicas each job runs once, and no more at once than there are slots.

    A job that the server sends while a replica withdraws its pull goes to the next one at once, as its second
    delivery. That is rare; jobs that come when no slot is free, and are given back, are many.
    """
    settings = {"WORKER_CONCURRENCY": 3, **BY_PRIORITY}
    with (
        WorkerProcess(nats_server, tmp_path / "data", replica=1, **settings) as first,
        WorkerProcess(nats_server, tmp_path / "data", replica=2, **settings) as second,
    ):
        async with raw.connected(nats_server) as client:

            async def caller(number: int) -> None:
                for turn in range(15):
                    body = {"req_id": f"{number}-{turn}", "input": "a b", "priority": (number + turn) % 3 + 1}
                    reply, _ = await raw.ask(client, REQUEST, body)
                    assert reply["text"] == "a b"

            await asyncio.gather(*(caller(number) for number in range(20)))
        second.end()
        ((answers, requests, deliveries),) = rows(
            first, "SELECT count(*), count(DISTINCT req_id), sum(attempt) FROM requests"
        )
        assert answers == requests == 300
        assert deliveries <= 320


async def test_pulls_with_priorities_survive_the_broker(broker: NatsServer, tmp_path: Path) -> None:
    """The server is killed while the worker rests and comes back: jobs of each class are answered."""
    with WorkerProcess(broker.url, tmp_path / "data", WORKER_CONCURRENCY=1, **BY_PRIORITY):
        async with raw.connected(broker.url) as client:
            await raw.ask(client, REQUEST, {"input": "a"})
            broker.kill()
            broker.start()
            while True:
                try:
                    await raw.ask(client, REQUEST, {"input": "a", "priority": 3}, timeout=1)
                    break
                except Exception:  # noqa: BLE001 - nobody listens yet
                    await asyncio.sleep(0.05)
            for rank in (1, 2, 3):
                reply, _ = await raw.ask(client, REQUEST, {"input": "b", "priority": rank})
                assert reply["text"] == "b"


async def test_a_queue_without_a_leader_is_not_asked_without_pause(nats_server: str, tmp_path: Path) -> None:
    """While nobody answers for the consumers every pull is refused at once: asking again at once would burn a core."""
    with WorkerProcess(nats_server, tmp_path / "data", **BY_PRIORITY) as worker:
        async with raw.connected(nats_server) as client:
            await client.jetstream().delete_stream(STREAM)
            await asyncio.sleep(0.5)
            times = psutil.Process(worker.pid).cpu_times
            before = times()
            await asyncio.sleep(2.0)
            after = times()
            assert after.user + after.system - before.user - before.system < 0.5


async def test_a_paused_worker_pulls_nothing(nats_server: str, tmp_path: Path) -> None:
    """While its engine is away no job is taken, and none is lost or delivered twice when it is back."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=2, **BY_PRIORITY) as worker:
        async with raw.connected(nats_server) as client:
            await raw.ask(client, REQUEST, {"input": "a"})
            worker.child.kill()
            worker.wait_for("loading")
            replies = await asyncio.gather(
                *(raw.ask(client, REQUEST, {"input": "b", "priority": n % 3 + 1}) for n in range(6))
            )
            assert [reply["text"] for reply, _ in replies] == ["b"] * 6
        assert rows(worker, "SELECT max(attempt) FROM requests") == [(1,)]


async def test_without_the_strategy_a_priority_is_only_checked(nats_server: str, tmp_path: Path) -> None:
    """All jobs are one class; a value that is none is refused by name."""
    with WorkerProcess(nats_server, tmp_path / "data"):
        async with raw.connected(nats_server) as client:
            reply, _ = await raw.ask(client, REQUEST, {"input": "a", "priority": 4})
            assert reply["error"]["code"] == "BAD_REQUEST"
            assert reply["error"]["message"].endswith("it is 1 (low), 2 (normal) or 3 (high)")
            reply, _ = await raw.ask(client, REQUEST, {"input": "a", "priority": 3})
            assert reply["text"] == "a"
            state = json.loads((await client.request(f"$JS.API.CONSUMER.NAMES.{STREAM}", b"")).data)
            assert state["consumers"] == ["inference-echo-normal"]


async def test_replicas_with_other_strategies_do_not_start(nats_server: str, tmp_path: Path) -> None:
    """The second names both; a queue that says nothing is fifo."""
    with WorkerProcess(nats_server, tmp_path / "a"):
        problem = WorkerProcess(nats_server, tmp_path / "b", **BY_PRIORITY).start_failing()
        assert "INFERENCE_QUEUE_STRATEGY: this worker wants 'priority', the fleet has 'fifo'" in problem
        assert ". Set INFERENCE_QUEUE_STRATEGY=fifo, or make the queue anew" in problem
    async with raw.connected(nats_server) as client:
        await client.jetstream().delete_stream(STREAM)
    with WorkerProcess(nats_server, tmp_path / "a", **BY_PRIORITY):
        problem = WorkerProcess(nats_server, tmp_path / "b").start_failing()
        assert "INFERENCE_QUEUE_STRATEGY: this worker wants 'fifo', the fleet has 'priority'" in problem


async def test_a_waiting_job_of_any_class_can_be_cancelled(nats_server: str, tmp_path: Path) -> None:
    """Whether it was delivered is asked of its own consumer."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **BY_PRIORITY, **PACED):
        async with raw.connected(nats_server) as client:
            running = await raw.stream(client, REQUEST, tokens(100, priority=3))
            await running.next()
            for rank in (1, 2, 3):
                body = tokens(1, priority=rank)
                waiting = await raw.stream(client, REQUEST, body, **{"Golek-Accept": "1"})
                await waiting.next()
                await client.publish(subjects.cancel(subjects.job_id(waiting.inbox)))
                await waiting.rest(2)
                assert waiting.final["error"]["code"] == "CANCELLED"
            assert running.pending < 100


async def test_what_the_model_cannot_do_does_not_wait(nats_server: str, tmp_path: Path) -> None:
    """Echo's chat template shows no tools: they are refused while another job has the only slot."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED):
        async with raw.connected(nats_server) as client:
            running = await raw.stream(client, REQUEST, tokens(1000))
            await running.next()
            tool = {"type": "function", "function": {"name": "find"}}
            asked = {"messages": [{"role": "user", "content": "a"}], "tools": [tool]}
            reply, _ = await raw.ask(client, REQUEST, asked, timeout=2)
            assert reply["error"]["message"].startswith("tools: this model's chat template shows no tools")
            await client.publish(subjects.cancel(subjects.job_id(running.inbox)))
            await running.rest()


# -- a full queue -----------------------------------------------------------------------------------------------------


async def test_a_refusal_names_the_queue_and_when_to_come_back(nats_server: str, tmp_path: Path) -> None:
    """Capacity, how many wait, and a time that is longer for each who was refused before."""
    settings = {"QUEUE_CAPACITY": 5, "WORKER_CONCURRENCY": 1, **PACED}
    with WorkerProcess(nats_server, tmp_path / "data", **settings):
        async with raw.connected(nats_server) as client:
            taken = [await raw.stream(client, REQUEST, tokens(100)) for _ in range(5)]
            await taken[0].next()
            first, _ = await raw.ask(client, REQUEST, tokens(1))
            await asyncio.sleep(1.2)  # the queue is looked at after a first refusal, once a second
            errors = [first] + [(await raw.ask(client, REQUEST, tokens(1)))[0] for _ in range(40)]
            details = [reply["error"]["details"] for reply in errors]
            assert {reply["error"]["code"] for reply in errors} == {"QUEUE_FULL"}
            assert "5 jobs; try again" in first["error"]["message"]
            assert {detail["capacity"] for detail in details} == {5}
            assert details[-1]["waiting"] == 4
            assert "5 jobs, of which 4 wait" in errors[-1]["error"]["message"]
            waits = [detail["retry_after_ms"] for detail in details]
            assert 1000 <= waits[0] <= waits[20] < waits[40] <= 60_000
            for streamed in taken:
                await client.publish(subjects.cancel(subjects.job_id(streamed.inbox)))
                await streamed.rest()


async def test_answered_jobs_do_not_fill_the_queue(tmp_path: Path) -> None:
    """On a broker that syncs each write, callers fewer than the queue has places are never refused."""
    (tmp_path / "nats").mkdir()
    server = NatsServer(tmp_path / "nats", jetstream_options="sync_interval: always").start()
    try:
        with WorkerProcess(server.url, tmp_path / "data", QUEUE_CAPACITY=100, WORKER_CONCURRENCY=16):
            async with raw.connected(server.url) as client:

                async def caller() -> None:
                    for _ in range(60):
                        assert json.loads((await client.request(REQUEST, b'{"input": "a"}', 10)).data)["text"] == "a"

                await asyncio.gather(*(caller() for _ in range(32)))
    finally:
        server.kill()


async def test_requests_may_wait_for_a_place(nats_server: str, tmp_path: Path) -> None:
    """With INFERENCE_REJECT_WHEN_FULL=false all are answered in their order; one whose time is over gets 408, one that
    is cancelled 499, and a copy is no other request."""
    settings = {"QUEUE_CAPACITY": 2, "WORKER_CONCURRENCY": 1, "INFERENCE_REJECT_WHEN_FULL": "false", **PACED}
    with WorkerProcess(nats_server, tmp_path / "data", **settings) as worker:
        async with raw.connected(nats_server) as client:
            streams = [await raw.stream(client, REQUEST, tokens(10, req_id=str(n))) for n in range(8)]
            copied = json.dumps(tokens(10, req_id="7", stream=True)).encode()
            await client.publish(REQUEST, copied, reply=streams[7].inbox)
            cancelled = await raw.stream(client, REQUEST, tokens(10, req_id="cancelled"))
            late = asyncio.create_task(raw.ask(client, REQUEST, tokens(10, req_id="late", deadline_ms=300)))
            began = time.monotonic()
            await asyncio.sleep(0.15)  # it waits by now
            await client.publish(subjects.cancel(subjects.job_id(cancelled.inbox)))
            reply, _ = await late
            assert reply["error"]["code"] == "DEADLINE_EXCEEDED"
            assert 0.25 < time.monotonic() - began < 1.2
            await cancelled.rest()
            assert cancelled.final["error"]["code"] == "CANCELLED"
            for streamed in streams:
                await streamed.rest(20)
                assert streamed.final["tokens_out"] == 10
        order = [req_id for (req_id,) in rows(worker, "SELECT req_id FROM requests ORDER BY ts")]
        assert order == [str(n) for n in range(8)]


async def test_the_time_that_a_request_waited_for_a_place_counts(nats_server: str, tmp_path: Path) -> None:
    """Its deadline runs from when it came, not from when it was stored."""
    settings = {"QUEUE_CAPACITY": 1, "WORKER_CONCURRENCY": 1, "INFERENCE_REJECT_WHEN_FULL": "false", **PACED}
    with WorkerProcess(nats_server, tmp_path / "data", **settings):
        async with raw.connected(nats_server) as client:
            running = await raw.stream(client, REQUEST, tokens(40))
            await running.next()
            began = time.monotonic()
            reply, _ = await raw.ask(client, REQUEST, tokens(500, deadline_ms=1500))
            assert reply["error"]["code"] == "DEADLINE_EXCEEDED"
            assert 1.3 < time.monotonic() - began < 2.0
            await running.rest()


async def test_the_client_waits_for_a_place_and_is_answered_once(nats_server: str, tmp_path: Path) -> None:
    """Its copies, sent while nothing is accepted, are one request."""
    settings = {"QUEUE_CAPACITY": 1, "WORKER_CONCURRENCY": 1, "INFERENCE_REJECT_WHEN_FULL": "false", **PACED}
    with WorkerProcess(nats_server, tmp_path / "data", **settings) as worker:
        async with Golek(nats_server) as golek, golek.stream("echo", "a", max_tokens=80, ignore_eos=True) as running:
            await anext(running)
            replies = await asyncio.gather(*(golek.ask("echo", f"b {n}", req_id="kept") for n in range(3)))
            assert [reply.text for reply in replies] == ["b 0", "b 1", "b 2"]
        assert rows(worker, "SELECT count(*), max(attempt) FROM requests WHERE req_id = 'kept'") == [(3, 1)]


async def test_a_worker_that_leaves_answers_those_without_a_place(nats_server: str, tmp_path: Path) -> None:
    """They lie in its memory alone: a caller who sends no copies is told to ask again, one who does hears nothing."""
    settings = {"QUEUE_CAPACITY": 1, "INFERENCE_REJECT_WHEN_FULL": "false", "DRAIN_S": 1, **PACED}
    with WorkerProcess(nats_server, tmp_path / "data", **settings) as worker:
        async with raw.connected(nats_server) as client:
            running = await raw.stream(client, REQUEST, tokens(500))
            await running.next()
            waiting = [await raw.stream(client, REQUEST, tokens(1)) for _ in range(3)]
            copies = await raw.stream(client, REQUEST, tokens(1), **{"Golek-Accept": "1"})
            await client.flush()
            await asyncio.sleep(0.3)
            await asyncio.to_thread(worker.end)
            for streamed in waiting:
                await streamed.rest(5)
                assert streamed.final["error"]["code"] == "BUS_UNAVAILABLE"
            assert not copies.pending


# -- deadlines --------------------------------------------------------------------------------------------------------


async def test_expired_jobs_never_run_while_the_ingress_lives(nats_server: str, tmp_path: Path) -> None:
    """A hundred with a second to live before an engine that takes none: each is answered 408 within three seconds."""
    with WorkerProcess(nats_server, tmp_path / "data") as worker:
        async with raw.connected(nats_server) as client:
            await pause(client)
            began = time.monotonic()
            replies = await asyncio.gather(
                *(raw.ask(client, REQUEST, {"input": "a", "deadline_ms": 1000}) for _ in range(100))
            )
            assert time.monotonic() - began < 3
            assert {reply["error"]["code"] for reply, _ in replies} == {"DEADLINE_EXCEEDED"}
            await go_on(client)
            reply, _ = await raw.ask(client, REQUEST, {"input": "later"})
            assert reply["text"] == "later"
        assert rows(worker, "SELECT count(*) FROM requests") == [(1,)]


async def test_a_job_whose_end_was_lost_with_the_connection_is_answered(nats_server: str, tmp_path: Path) -> None:
    """The ingress deletes an expired job and the server's word of that is lost: nobody else will answer."""
    async with Proxy(nats_server) as proxy, raw.connected(nats_server) as client:
        worker = WorkerProcess(proxy.url, tmp_path / "data")
        try:
            await asyncio.to_thread(worker.start)
            await pause_consumer(client)
            proxy.cut_before = b"stream_msg_delete_response"
            waiting = await raw.stream(client, REQUEST, tokens(1, deadline_ms=500), **{"Golek-Accept": "1"})
            while proxy.cut_before:
                await asyncio.sleep(0.02)
            await proxy.heal()
            await waiting.rest(12)
        finally:
            await asyncio.to_thread(worker.end)
    assert waiting.final["error"]["code"] == "DEADLINE_EXCEEDED"


async def test_a_job_whose_stream_was_deleted_is_answered(nats_server: str, tmp_path: Path) -> None:
    """Nobody can run it any more: it gets its 408 as any job that nobody ran."""
    with WorkerProcess(nats_server, tmp_path / "data"):
        async with raw.connected(nats_server) as client:
            await pause_consumer(client)
            waiting = await raw.stream(client, REQUEST, tokens(1, deadline_ms=1000), **{"Golek-Accept": "1"})
            await waiting.next()
            await client.jetstream().delete_stream(STREAM)
            await waiting.rest(4)
            assert waiting.final["error"]["code"] == "DEADLINE_EXCEEDED"


async def test_expired_jobs_never_run_when_all_workers_were_away(nats_server: str, tmp_path: Path) -> None:
    """A hundred accepted with a second to live, then every process is killed: whoever leases them answers 408 at once,
    whatever else runs."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=2, **PACED) as worker:
        async with raw.connected(nats_server) as client:
            await pause(client)
            streams = [await raw.stream(client, REQUEST, tokens(50, deadline_ms=1000)) for _ in range(100)]
            await in_queue(client, 100)
            worker.kill()
            await asyncio.sleep(1.5)
            await go_on(client)
            worker.start()
            for streamed in streams:
                await streamed.rest()
                assert streamed.final["error"]["code"] == "DEADLINE_EXCEEDED"
        answered = rows(worker, "SELECT count(*), sum(tokens_out), max(ts) - min(ts) FROM requests")
    ((count, written, took),) = answered
    assert (count, written) == (100, 0)
    assert took < 2
