"""What a full disk, a broken log and too many deliveries do to an answer: nothing, or an error that says so at once."""

import asyncio
import json
import resource
import sqlite3
import time
from pathlib import Path

import psutil
import pytest

from golek_client import BusUnavailableError, Golek, PoisonJobError
from golek_wire import subjects
from golek_worker.bus import streams
from golek_worker.bus.jetstream import api
from golek_worker.job import Job, to_headers
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.workers import WorkerProcess

NO_ROOM = 1
"""Bytes that a process may write into a file: as on a full disk, each write fails."""


def codes(worker: WorkerProcess) -> list[str]:
    """The events in the worker's request log, oldest first."""
    with sqlite3.connect(worker.data / "logs" / "echo.sqlite") as log:
        found = [row[0] for row in log.execute("SELECT code FROM events ORDER BY id")]
    log.close()
    return found


def rows(worker: WorkerProcess) -> int:
    with sqlite3.connect(worker.data / "logs" / "echo.sqlite") as log:
        (count,) = log.execute("SELECT count(*) FROM requests").fetchone()
    log.close()
    return int(count)


async def test_a_full_disk_stops_no_answer(nats_server: str, tmp_path: Path) -> None:
    """While the worker can write no file it answers and says what ails it; afterwards every row is there."""
    with WorkerProcess(nats_server, tmp_path / "data") as worker:
        process = psutil.Process(worker.pid)
        async with Golek(nats_server) as golek:
            await golek.ask("echo", "before")
            process.rlimit(psutil.RLIMIT_FSIZE, (NO_ROOM, resource.RLIM_INFINITY))
            took = []
            for number in range(50):
                began = time.monotonic()
                assert (await golek.ask("echo", f"n {number}")).text == f"n {number}"
                took.append(time.monotonic() - began)
            while not (health := await golek.health("echo")).log_problem:
                await asyncio.sleep(0.05)
            assert (health.status, health.log_rows_lost) == ("online", 0)
            assert max(took) < 1
            process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            while (await golek.health("echo")).log_problem or rows(worker) < 51:
                await asyncio.sleep(0.05)
        worker.end()
        assert rows(worker) == 51
        assert codes(worker).count("log.failed") == codes(worker).count("log.recovered") == 1


async def test_a_worker_starts_without_a_log(nats_server: str, tmp_path: Path) -> None:
    """Where no log can be made a worker serves, and its health says why there are no rows."""
    (tmp_path / "taken").write_text("a file, where a folder is needed")
    with WorkerProcess(nats_server, tmp_path / "data", DB_PATH=str(tmp_path / "taken" / "x.sqlite")) as worker:
        async with Golek(nats_server) as golek:
            assert (await golek.ask("echo", "hi")).text == "hi"
            assert str(tmp_path / "taken") in ((await golek.health("echo")).log_problem or "")
        assert len([line for line in worker.log.read_text().splitlines() if "log.failed" in line]) == 1


async def test_a_worker_starts_with_a_corrupt_log(nats_server: str, tmp_path: Path) -> None:
    """The file is kept under another name, and the rows go to a new one."""
    log = tmp_path / "data" / "logs" / "echo.sqlite"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"rubbish" * 10_000)
    with WorkerProcess(nats_server, tmp_path / "data") as worker:
        async with Golek(nats_server) as golek:
            assert (await golek.ask("echo", "hi")).text == "hi"
        worker.end()
        assert rows(worker) == 1
        assert "log.set_aside" in codes(worker)
    (kept,) = log.parent.glob("echo.sqlite.corrupt-*")
    assert kept.read_bytes() == b"rubbish" * 10_000


async def test_a_broker_without_storage_refuses_at_once(tmp_path: Path) -> None:
    """JetStream has no room for the job: the caller hears that, and that it may try again; later it is answered."""
    folder = tmp_path / "nats"
    folder.mkdir()
    roomy, full = (NatsServer(folder, jetstream_options=options) for options in ("", "max_file: 1MB"))
    full.port = roomy.start().port
    try:
        with WorkerProcess(roomy.url, tmp_path / "data") as worker:
            async with raw.connected(roomy.url) as client:
                await client.jetstream().add_stream(name="FILLER", subjects=["filler"])
                for _ in range(2):
                    await client.jetstream().publish("filler", b"x" * 900_000)
            roomy.stop()
            full.start()
            while not worker.log_lines("nats.reconnected"):
                await asyncio.sleep(0.05)
            async with Golek(full.url, deadline=30) as golek:
                began = time.monotonic()
                with pytest.raises(BusUnavailableError, match="insufficient resources"):
                    await golek.ask("echo", "hi")
                assert time.monotonic() - began < 5
            full.stop()
            roomy.start()
            while len(worker.log_lines("nats.reconnected")) < 2:
                await asyncio.sleep(0.05)
            async with Golek(roomy.url, deadline=30) as golek:
                assert (await golek.ask("echo", "hi")).text == "hi"
    finally:
        full.kill()
        roomy.kill()


async def test_a_poison_job_ends_though_no_letter_can_be_kept(nats_server: str, tmp_path: Path) -> None:
    """A dead letter queue that takes nothing costs the letter, not another engine: the caller hears, the log too."""
    async with raw.connected(nats_server) as client:
        await api(client, f"STREAM.CREATE.{subjects.DLQ_STREAM}", streams.dlq_stream_config() | {
            "max_msgs": 1, "discard": "new",
        })  # fmt: skip
        await client.jetstream().publish(subjects.dead_letter("other"), b"the only place")
    with WorkerProcess(nats_server, tmp_path / "data", POISON_STRIKES=1) as worker:
        async with Golek(nats_server, deadline=30) as golek:
            with pytest.raises(PoisonJobError) as poison:
                await golek.ask("echo", "GOLEK_ECHO_CRASH")
        (line,) = worker.log_lines("job.poison_lost")
        assert poison.value.details["job_id"] in line["detail"]


async def test_a_letter_that_cannot_be_kept_now_is_tried_again_in_peace(nats_server: str, tmp_path: Path) -> None:
    """While its stream is away the job is looked at once a second, not as fast as the bus can give it back."""
    with WorkerProcess(nats_server, tmp_path / "data", POISON_STRIKES=1) as worker:
        async with raw.connected(nats_server) as client, Golek(nats_server, deadline=30) as golek:
            await client.jetstream().delete_stream(subjects.DLQ_STREAM)
            asked = asyncio.create_task(golek.ask("echo", "GOLEK_ECHO_CRASH"))
            while not worker.log_lines("job.unanswered"):
                await asyncio.sleep(0.02)
            await asyncio.sleep(2.0)
            assert len(worker.log_lines("job.requeued")) <= 6
            await api(client, f"STREAM.CREATE.{subjects.DLQ_STREAM}", streams.dlq_stream_config())
            with pytest.raises(PoisonJobError):
                await asked


@pytest.mark.parametrize("trouble", ["unwritable", "gone"])
async def test_strikes_that_cannot_be_written_are_remembered(nats_server: str, tmp_path: Path, trouble: str) -> None:
    """A job that crashes the engine does so three times, with the bucket of strikes or without."""
    with WorkerProcess(nats_server, tmp_path / "data") as worker:
        async with raw.connected(nats_server) as client, Golek(nats_server, deadline=30) as golek:
            stream = f"KV_{subjects.STRIKES_BUCKET}"
            if trouble == "gone":
                await client.jetstream().delete_stream(stream)
            else:
                config = (await client.jetstream().stream_info(stream)).config
                config.max_msg_size = 1
                await client.jetstream().update_stream(config)
            with pytest.raises(PoisonJobError) as poison:
                await golek.ask("echo", "GOLEK_ECHO_CRASH")
            assert poison.value.details["crashes"] == 3
        assert len(worker.log_lines("engine.died")) == 3


async def test_deliveries_alone_bury_nobody(nats_server: str, tmp_path: Path) -> None:
    """A job given back twenty times, as by drains, is answered like any other."""
    WorkerProcess(nats_server, tmp_path / "data").start().end()  # makes the stream
    async with raw.connected(nats_server) as client:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        job = Job(subjects.job_id(inbox), "innocent", inbox, False, "anonymous", 7, 60_000, inbox, {})
        body = json.dumps({"req_id": "innocent", "input": "hi"}).encode()
        await client.jetstream().publish(subjects.job("echo"), body, headers=to_headers(job))
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.job_stream('echo')}.{subjects.consumer('echo')}"
        ask = {"batch": 1, "expires": 5_000_000_000, "group": streams.PRIORITY_GROUP, "priority": 0}
        pulled = client.new_inbox()
        given = await client.subscribe(pulled)
        for _ in range(20):
            await client.publish(pull, json.dumps(ask).encode(), reply=pulled)
            await client.publish((await given.next_msg(5)).reply, b"-NAK")
        with WorkerProcess(nats_server, tmp_path / "data"):
            assert json.loads((await answers.next_msg(20)).data)["text"] == "hi"
            async with Golek(nats_server) as golek:
                assert await golek.dead_letters() == []
