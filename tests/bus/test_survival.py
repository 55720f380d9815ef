"""What is left when something dies: engines are killed and frozen, workers are killed, jobs are poison."""

import asyncio
import json
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from golek_client import Golek
from golek_wire.errors import PoisonJobError
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.leaving import left_later
from tests.support.workers import WorkerProcess

REQUEST = "inference.request.echo"
PACED = {"ENGINE_STEP_MIN_MS": 10, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 8}
LONG = {"max_tokens": 100, "ignore_eos": True}
NUMBERED = "a" + "".join(f" #{n}" for n in range(1, 100))


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_stream_survives_its_engine(nats_server: str, tmp_path: Path, replicas: int) -> None:
    """With the engine killed in mid-stream, deltas joined equal the final text: nothing is lost or repeated."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(WorkerProcess(nats_server, tmp_path / "data", "echo", n + 1, **PACED))
            for n in range(replicas)
        ]
        async with Golek(nats_server) as golek:
            pieces: list[str] = []
            answer = golek.stream("echo", "a", deadline=30, **LONG)
            async for piece in answer:
                pieces.append(piece)
                if len(pieces) == 30:
                    for worker in workers:
                        worker.child.kill()
            assert "".join(pieces) == answer.reply.text == NUMBERED


async def test_callers_without_the_client_see_the_attempt_rise(nats_server: str, tmp_path: Path) -> None:
    """The text starts again under a higher `Golek-Attempt`, and the last attempt is whole."""
    with WorkerProcess(nats_server, tmp_path / "data", **PACED) as worker:
        async with raw.connected(nats_server) as client:
            streamed = await raw.stream(client, REQUEST, {"input": "a", "params": LONG})
            for _ in range(10):
                await streamed.next()
            worker.child.kill()
            await streamed.rest(timeout=20)
    assert streamed.joined(attempt=2) == streamed.final["text"] == NUMBERED
    assert len(streamed.joined(attempt=1)) < len(NUMBERED)


@pytest.mark.parametrize("moment", ["idle", "decoding", "loading"])
async def test_a_killed_worker_leaves_no_process(nats_server: str, tmp_path: Path, moment: str) -> None:
    """Within 2 s of a worker's SIGKILL its engine is gone, whatever it was doing."""
    worker = WorkerProcess(nats_server, tmp_path / "data", **PACED).start(wait=moment != "loading")
    try:
        async with raw.connected(nats_server) as client:
            if moment == "decoding":
                streamed = await raw.stream(client, REQUEST, {"input": "a", "params": LONG})
                await streamed.next()
            while not (family := psutil.Process(worker.pid).children()):
                await asyncio.sleep(0.002)
            worker.kill()
            assert await left_later(family, 2) == []
    finally:
        worker.end()


async def test_a_job_outlives_its_worker(nats_server: str, tmp_path: Path) -> None:
    """A worker is killed in mid-answer; another replica answers with the whole text."""
    with WorkerProcess(nats_server, tmp_path / "data", **PACED) as first:
        async with Golek(nats_server) as golek:
            asked = asyncio.create_task(golek.ask("echo", "a", deadline=40, **LONG))
            while not await _is_busy(golek):
                await asyncio.sleep(0.02)
            first.kill()
            with WorkerProcess(nats_server, tmp_path / "data", "echo", 2, **PACED):
                assert (await asked).text == NUMBERED


async def test_a_frozen_engine_is_restarted_and_the_caller_answered(nats_server: str, tmp_path: Path) -> None:
    """An engine stopped for good is noticed, shown as stalled, killed after twice STALL_S, and the answer is whole."""
    with WorkerProcess(nats_server, tmp_path / "data", STALL_S=2, **PACED) as worker:
        async with Golek(nats_server) as golek:
            start = time.monotonic()
            asked = asyncio.create_task(golek.ask("echo", "a", deadline=30, **LONG))
            while not await _is_busy(golek):
                await asyncio.sleep(0.02)
            worker.child.send_signal(signal.SIGSTOP)
            while (await golek.health("echo")).status != "stalled":
                await asyncio.sleep(0.05)
            assert (await asked).text == NUMBERED
            assert time.monotonic() - start < 2 * 2 + 1 + 1 + 3  # 2 x STALL_S, inference, restart, noise


async def test_a_poison_job_is_buried_and_its_neighbours_answered(nats_server: str, tmp_path: Path) -> None:
    """A job that crashes its engine three times ends as POISON_JOB in the DLQ; others in its batch are answered."""
    with WorkerProcess(nats_server, tmp_path / "data", **PACED) as worker:
        async with Golek(nats_server) as golek:
            neighbours = [asyncio.create_task(golek.ask("echo", f"{n} b", deadline=50, **LONG)) for n in range(7)]
            while not await _is_busy(golek):
                await asyncio.sleep(0.02)
            with pytest.raises(PoisonJobError) as poison:
                await golek.ask("echo", "GOLEK_ECHO_CRASH", req_id="bad", deadline=50)
            assert poison.value.details["crashes"] == 3
            for n, neighbour in enumerate(neighbours):
                assert (await neighbour).text.startswith(f"{n} b #2 ")
            (letter,) = await golek.dead_letters("echo")
            with pytest.raises(PoisonJobError):
                await golek.retry(letter.job_id, deadline=50)
            assert [buried.crashes for buried in await golek.dead_letters()] == [3, 3]
            assert [await golek.drop(letter.job_id) for _ in range(2)] == [1, 0]
        assert poison.value.details["job_id"] == letter.job_id
        assert poison.value.details["hint"] == f"golek dlq show {letter.job_id}"
        assert (letter.req_id, letter.crashes) == ("bad", 3)
        assert "GOLEK_ECHO_CRASH" in json.loads(letter.payload or "")["input"]
        assert any("GOLEK_ECHO_CRASH" in line for line in letter.log_tail)
        assert len(worker.log_lines("engine.died")) == 6


async def test_innocent_jobs_share_the_engine_again_after_a_crash(nats_server: str, tmp_path: Path) -> None:
    """Eight jobs of a second each, half of them streams, lose their engine: they are tried, not run one by one."""
    with WorkerProcess(nats_server, tmp_path / "data", **PACED) as worker:
        async with Golek(nats_server) as golek:
            whole = [asyncio.create_task(golek.ask("echo", f"{n} b", deadline=50, **LONG)) for n in range(4)]
            read = [asyncio.create_task(golek.stream("echo", f"{n} b", deadline=50, **LONG).text()) for n in range(4)]
            while (await golek.health("echo")).active < 8:
                await asyncio.sleep(0.02)
            start = time.monotonic()
            worker.child.kill()
            for n in range(4):
                assert (await whole[n]).text == await read[n]
            assert time.monotonic() - start < 4  # a restart, trials, and one second; alone they would take eight
        assert len(worker.log_lines("job.struck")) == 8


async def test_a_worker_outlives_an_outage_that_fills_its_buffer(broker: NatsServer, tmp_path: Path) -> None:
    """With the broker away, more text is written than a connection holds back; afterwards the answer is whole."""
    tokens = 60_000
    with WorkerProcess(broker.url, tmp_path / "data", CTX_SIZE=tokens + 10, STREAM_GATHER_MS=0) as worker:
        async with Golek(broker.url) as golek:
            answer = golek.stream("echo", "a", deadline=50, max_tokens=tokens, ignore_eos=True)
            pieces = [await anext(answer)]
            broker.kill()
            while not worker.log_lines("job.requeued"):
                await asyncio.sleep(0.05)
            broker.start()
            pieces += [piece async for piece in answer]
            assert "".join(pieces) == answer.reply.text
            assert answer.reply.tokens_out == tokens


async def test_an_answer_waits_for_a_caller_that_reconnects_late(broker: NatsServer, tmp_path: Path) -> None:
    """After an outage the worker is back first and done; the caller comes a second later and still gets its answer."""
    with WorkerProcess(broker.url, tmp_path / "data", **PACED) as worker:
        async with raw.connected(broker.url, reconnect_time_wait=1.5) as client:
            inbox = client.new_inbox()
            answers = await client.subscribe(inbox)
            body = {"req_id": "late", "input": "a", "params": LONG}
            await client.publish(REQUEST, json.dumps(body).encode(), reply=inbox)
            await client.flush()
            async with Golek(broker.url) as golek:
                while not await _is_busy(golek):
                    await asyncio.sleep(0.02)
            broker.kill()
            broker.start()
            assert json.loads((await answers.next_msg(15)).data)["text"] == NUMBERED
        assert worker.log_lines("nats.reconnected")


async def _is_busy(golek: Golek) -> bool:
    return (await golek.health("echo")).active > 0


async def test_a_worker_stops_cleanly_though_its_broker_is_away(broker: NatsServer, tmp_path: Path) -> None:
    """It has nobody to say goodbye to; that is no failure."""
    with WorkerProcess(broker.url, tmp_path / "data") as worker:
        broker.kill()
        await asyncio.sleep(0.5)
        worker.signal(signal.SIGTERM)
        assert worker.process is not None
        assert await asyncio.to_thread(worker.process.wait, 20) == 0
        assert worker.state() is None
