"""Answers that are kept: submitted jobs, idempotency keys, and what is left when everything is killed."""

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client
from nats.js.kv import KeyValue

from golek_client.connection import connect
from golek_wire import subjects
from golek_worker.bus.results import Results
from golek_worker.job import Job
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.workers import WorkerProcess

REQUEST = "inference.request.echo"
SUBMIT = "inference.submit.echo"
PACED = {"ENGINE_STEP_MIN_MS": 20, "STREAM_GATHER_MS": 0}
LONG = {"max_tokens": 50, "ignore_eos": True}
"""A second, where PACED."""


@pytest.fixture
def echo(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker as shipped."""
    with WorkerProcess(nats_server, tmp_path / "data") as worker:
        yield worker


@pytest.fixture
def paced(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker that takes 20 ms for a token and has one slot."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED) as worker:
        yield worker


async def bucket(client: Client) -> KeyValue:
    return await client.jetstream().key_value(subjects.RESULTS_BUCKET)


async def kept(client: Client, job_id: str, patience: float = 10.0) -> dict[str, Any]:
    """The final message of a job, as `nats kv get` prints it, once it is there."""
    results = await bucket(client)
    until = time.monotonic() + patience
    while time.monotonic() < until:
        try:
            found = await results.get(subjects.result("anonymous", job_id))
        except nats.js.errors.KeyNotFoundError:
            await asyncio.sleep(0.02)
            continue
        said = json.loads(found.value or b"")
        if said.get("status") != "queued":
            return said  # type: ignore[no-any-return]
        await asyncio.sleep(0.02)
    raise TimeoutError(job_id)


async def ttl(client: Client, job_id: str) -> str | None:
    """How long the result of a job is kept."""
    subject = subjects.stored_result("anonymous", job_id)
    message = await client.jetstream().get_last_msg(subjects.RESULTS_STREAM, subject)
    return (message.headers or {}).get("Nats-TTL")


async def runs(client: Client) -> int:
    """How many jobs the worker has ended."""
    stats, _ = await raw.ask(client, "$SRV.STATS.golek", {})
    return int(stats["endpoints"][0]["num_requests"])


# -- keeping ---------------------------------------------------------------------------------------------------


async def test_an_answer_is_kept_as_long_as_asked(echo: WorkerProcess, nats_server: str) -> None:
    """`Golek-Keep` keeps the reply byte for byte under principal and job id, and not at all without it."""
    async with raw.connected(nats_server) as client:
        streamed = await raw.stream(client, REQUEST, {"input": "hi"}, **{"Golek-Keep": "30"})
        await streamed.rest()
        job_id = subjects.job_id(streamed.inbox)
        assert await kept(client, job_id) == streamed.final
        assert await ttl(client, job_id) == "30s"
        await raw.ask(client, REQUEST, {"input": "hi"})
        assert await (await bucket(client)).keys() == [subjects.result("anonymous", job_id)]


async def test_errors_are_kept_with_their_headers(paced: WorkerProcess, nats_server: str) -> None:
    """What the worker and what the ingress answers: a 408 while it ran, a 499 while it waited."""
    async with raw.connected(nats_server) as client:
        late = await raw.stream(
            client, REQUEST, {"input": "a", "deadline_ms": 400, "params": LONG}, **{"Golek-Keep": "9"}
        )
        await late.next()
        waiting = await raw.stream(client, REQUEST, {"input": "b"}, **{"Golek-Keep": "9", "Golek-Accept": "1"})
        await waiting.next()
        await client.publish(subjects.cancel(subjects.job_id(waiting.inbox)))
        await asyncio.gather(late.rest(), waiting.rest())
        for streamed, code, number in ((late, "DEADLINE_EXCEEDED", "408"), (waiting, "CANCELLED", "499")):
            job_id = subjects.job_id(streamed.inbox)
            said = await kept(client, job_id)
            assert said == streamed.final
            assert said["error"]["code"] == code
            subject = subjects.stored_result("anonymous", job_id)
            message = await client.jetstream().get_last_msg(subjects.RESULTS_STREAM, subject)
            assert (message.headers or {})["Nats-Service-Error-Code"] == number


async def test_a_plain_publish_is_kept_for_an_hour(echo: WorkerProcess, nats_server: str) -> None:
    """Without an inbox the request runs; its answer is found among the results."""
    async with raw.connected(nats_server) as client:
        watcher = await (await bucket(client)).watchall()
        await client.publish(REQUEST, b'{"input": "into the void"}')
        entry = None
        while entry is None or not entry.value:
            entry = await watcher.updates(5)
        await watcher.stop()
        assert json.loads(entry.value)["text"] == "into the void"
        assert await ttl(client, entry.key.rpartition(".")[2]) == "3600s"


@pytest.mark.parametrize("keep", ["0", "86401", "-1", "1.5", "x"])
async def test_a_wrong_time_to_keep_is_refused(echo: WorkerProcess, nats_server: str, keep: str) -> None:
    """`Golek-Keep` is 1 to 86400 seconds."""
    async with raw.connected(nats_server) as client:
        reply, _ = await raw.ask(client, REQUEST, {"input": "a"}, **{"Golek-Keep": keep})
    assert reply["error"]["param"] == "Golek-Keep"
    assert "1 to 86400" in reply["error"]["message"]


async def test_a_lost_bucket_holds_no_answer_back(echo: WorkerProcess, nats_server: str) -> None:
    """A result that cannot be kept is counted in health and told once; its reply comes all the same."""
    async with raw.connected(nats_server) as client:
        await client.jetstream().delete_key_value(subjects.RESULTS_BUCKET)
        for _ in range(3):
            reply, _ = await raw.ask(client, REQUEST, {"input": "a"}, **{"Golek-Keep": "60"})
            assert reply["text"] == "a"
        while (await raw.ask(client, "models.echo.health", {}))[0]["results_lost"] < 3:
            await asyncio.sleep(0.02)
    assert len(echo.log_lines("results.lost")) == 1


async def test_an_answer_larger_than_a_message_is_kept_in_pieces(tmp_path: Path) -> None:
    """The pieces lie under keys of their own, are written first, and are joined by who looks."""
    server = NatsServer(tmp_path, "max_payload: 65536").start()
    try:
        client = await connect(server.url, "test")
        results = await Results.open(client, lambda *_: None)
        job = Job("j", "r", "_INBOX.a", False, "anonymous", 1, 1000, "m", {}, keep_s=60, input_sha256="ab")
        body = bytes(range(256)) * 800
        async with results.heard(job) as heard:
            await results.keep(job, body, {})
            await heard.wait(time.monotonic() + 5)
            assert heard.final is None
        await results.keep_surely(job, body, {})
        found = await results.find(job)
        assert found is not None
        assert (found.body, found.is_final, found.headers["Golek-Input"]) == (body, True, "ab")
        keys = await (await bucket(client)).keys()
        assert sorted(keys) == ["anonymous.j", "anonymous.j.2", "anonymous.j.3", "anonymous.j.4"]
        await (await bucket(client)).purge("anonymous.j.3")
        assert await results.find(job) is None
        assert results.lost == 0
        await client.close()
    finally:
        server.kill()


# -- submitting ------------------------------------------------------------------------------------------------


async def test_a_submitted_job_is_told_its_place_and_its_answer_lies_there(
    paced: WorkerProcess, nats_server: str
) -> None:
    """The receipt comes at once, with the place in the queue; later the answer is among the results for a day."""
    async with raw.connected(nats_server) as client:
        told = await client.subscribe("my.answers")
        receipts = []
        for name in ("a", "b", "c"):
            body = {"req_id": name, "input": name, "params": LONG, "reply_to": "my.answers"}
            start = time.monotonic()
            receipt, message = await raw.ask(client, SUBMIT, body)
            assert time.monotonic() - start < 0.5
            assert message.headers is None
            receipts.append(receipt)
            await asyncio.sleep(0.1)
        assert [receipt["req_id"] for receipt in receipts] == ["a", "b", "c"]
        assert [receipt["position"] for receipt in receipts] == [1, 1, 2]
        assert [receipt["seq"] for receipt in receipts] == [1, 2, 3]
        assert {receipt["principal"] for receipt in receipts} == {"anonymous"}
        for receipt in receipts:
            said = await kept(client, receipt["job_id"])
            assert (said["req_id"], said["tokens_out"]) == (receipt["req_id"], 50)
            assert json.loads((await told.next_msg(5)).data) == said
            assert await ttl(client, receipt["job_id"]) == "86400s"


async def test_many_receipts_at_once_name_every_place_once(nats_server: str, tmp_path: Path) -> None:
    """Places are right also for jobs that are stored together."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED):
        async with raw.connected(nats_server) as client:
            running = await raw.stream(client, REQUEST, {"input": "a", "params": {**LONG, "max_tokens": 400}})
            await running.next()
            body = {"input": "a", "params": {"max_tokens": 1}}
            answers = await asyncio.gather(*(raw.ask(client, SUBMIT, body) for _ in range(200)))
            assert sorted(receipt["position"] for receipt, _ in answers) == list(range(1, 201))


async def test_a_submitted_job_is_not_streamed(echo: WorkerProcess, nats_server: str) -> None:
    """`stream` is refused by name: there is nobody to stream to."""
    async with raw.connected(nats_server) as client:
        reply, message = await raw.ask(client, SUBMIT, {"input": "a", "stream": True})
    assert reply["error"]["param"] == "stream"
    assert "Golek-Final" not in (message.headers or {})


async def test_a_submit_to_a_full_queue_is_refused_at_once(nats_server: str, tmp_path: Path) -> None:
    """The refusal comes where the receipt would have come."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, QUEUE_CAPACITY=2, **PACED):
        async with raw.connected(nats_server) as client:
            for _ in range(2):
                await raw.ask(client, SUBMIT, {"input": "a", "params": LONG})
            reply, _ = await raw.ask(client, SUBMIT, {"input": "a"})
            assert reply["error"]["code"] == "QUEUE_FULL"


async def test_the_same_submit_twice_is_one_job(echo: WorkerProcess, nats_server: str) -> None:
    """A copy with the same inbox brings the receipt again and nothing else."""
    async with raw.connected(nats_server) as client:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        for _ in range(2):
            await client.publish(SUBMIT, b'{"input": "a"}', reply=inbox)
        receipts = [json.loads((await answers.next_msg(5)).data) for _ in range(2)]
        assert {(receipt["job_id"], receipt["seq"]) for receipt in receipts} == {(subjects.job_id(inbox), 1)}
        await kept(client, subjects.job_id(inbox))
        assert await runs(client) == 1


async def test_submitted_jobs_outlive_every_process(broker: NatsServer, tmp_path: Path) -> None:
    """Worker, engine and broker are killed together after the receipts; once they are back every job has its answer."""
    broker.stop()
    broker = NatsServer(broker.folder, jetstream_options="sync_interval: always").start()
    worker = WorkerProcess(broker.url, tmp_path / "data", WORKER_CONCURRENCY=2, **PACED).start()
    try:
        async with raw.connected(broker.url) as client:
            body = {"params": {"max_tokens": 10, "ignore_eos": True}}
            answers = await asyncio.gather(*(raw.ask(client, SUBMIT, {**body, "input": f"{n}"}) for n in range(20)))
            first = await kept(client, answers[0][0]["job_id"])
        child = worker.child
        broker.kill()
        worker.kill()
        child.kill()
        broker.start()
        worker.start()
        async with raw.connected(broker.url) as client:
            for number, (receipt, _) in enumerate(answers):
                said = await kept(client, receipt["job_id"], patience=20)
                assert said["text"].startswith(f"{number} #1 #2")
            assert await kept(client, answers[0][0]["job_id"]) == first
    finally:
        worker.end()
        broker.kill()


async def test_a_submitted_job_that_nobody_could_run_leaves_a_408(nats_server: str, tmp_path: Path) -> None:
    """All workers were away at its deadline; the next one says so in the results."""
    async with raw.connected(nats_server) as client:
        with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED) as worker:
            running = await raw.stream(client, REQUEST, {"input": "a", "params": LONG})
            await running.next()
            receipt, _ = await raw.ask(client, SUBMIT, {"input": "b", "deadline_ms": 500})
            worker.kill()
        await asyncio.sleep(0.5)
        with WorkerProcess(nats_server, tmp_path / "data", **PACED):
            said = await kept(client, receipt["job_id"], patience=15)
    assert said["error"]["code"] == "DEADLINE_EXCEEDED"


# -- idempotency keys ------------------------------------------------------------------------------------------


async def test_a_repeat_gets_the_first_answer(echo: WorkerProcess, nats_server: str) -> None:
    """Same key and body, another inbox: the stored answer, and no second run. `Nats-Msg-Id` means the same."""
    async with raw.connected(nats_server) as client:
        body = {"req_id": "r", "input": "once"}
        first, _ = await raw.ask(client, REQUEST, body, **{"Idempotency-Key": "k 1"})
        second, message = await raw.ask(client, REQUEST, body, **{"Nats-Msg-Id": "k 1"})
        assert first == second
        assert message.headers is None
        assert await runs(client) == 1
        job_id = subjects.job_id(subjects.message_id("anonymous", "inference", "echo", "k 1"))
        assert await kept(client, job_id) == first
        assert await ttl(client, job_id) == "86400s"
        subject = subjects.stored_result("anonymous", job_id)
        stored = await client.jetstream().get_last_msg(subjects.RESULTS_STREAM, subject)
        assert (stored.headers or {})["Golek-Input"] == hashlib.sha256(json.dumps(body).encode()).hexdigest()


async def test_a_key_with_another_body_is_a_409(paced: WorkerProcess, nats_server: str) -> None:
    """While the first runs and after it has ended."""
    async with raw.connected(nats_server) as client:
        key = {"Idempotency-Key": "k"}
        running = await raw.stream(client, REQUEST, {"input": "a", "params": {**LONG, "max_tokens": 20}}, **key)
        await running.next()
        for _ in range(2):
            reply, message = await raw.ask(client, REQUEST, {"input": "b"}, **key)
            assert reply["error"]["code"] == "IDEMPOTENCY_MISMATCH"
            assert (message.headers or {})["Nats-Service-Error-Code"] == "409"
            await running.rest()
            running = await raw.stream(client, REQUEST, {"input": "c"})
        await running.rest()
        assert await runs(client) == 5


async def test_repeats_join_the_job_that_runs(nats_server: str, tmp_path: Path) -> None:
    """Of twenty at two ingresses one runs: the others get `accepted` and then its answer, a stream its end."""
    with (
        WorkerProcess(nats_server, tmp_path / "data", **PACED) as one,
        WorkerProcess(nats_server, tmp_path / "data", "echo", 2, **PACED) as other,
    ):
        async with raw.connected(nats_server) as client:
            about = {"Idempotency-Key": "k", "Golek-Accept": "1"}
            streams = [await raw.stream(client, REQUEST, {"input": "a", "params": LONG}, **about) for _ in range(20)]
            await asyncio.gather(*(streamed.rest() for streamed in streams))
            assert len({json.dumps(streamed.final) for streamed in streams}) == 1
            assert streams[0].final["tokens_out"] == 50
            accepted = [m.headers for one in streams for m in one.messages if m.headers and "Golek-Job" in m.headers]
            assert len(accepted) == 20
            assert {about["Golek-Job"] for about in accepted} == {
                subjects.job_id(subjects.message_id("anonymous", "inference", "echo", "k"))
            }
            assert [len(streamed.chunks) for streamed in streams].count(50) == 1
            assert sum(len(streamed.chunks) for streamed in streams) == 50
        assert not one.log_lines("request.failed") + other.log_lines("request.failed")


async def test_a_copy_with_the_same_inbox_is_answered_once(paced: WorkerProcess, nats_server: str) -> None:
    """What `golek_client` sends again while it waits is no second caller."""
    async with raw.connected(nats_server) as client:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        body = json.dumps({"input": "a", "params": {**LONG, "max_tokens": 20}}).encode()
        for _ in range(2):
            await client.publish(REQUEST, body, inbox, {"Idempotency-Key": "k", "Golek-Accept": "1"})
            assert ((await answers.next_msg(5)).headers or {})["Golek-Status"] == "accepted"
        assert json.loads((await answers.next_msg(5)).data)["tokens_out"] == 20
        await raw.ask(client, REQUEST, {"input": "later"})
        assert answers.pending_msgs == 0


async def test_a_repeat_after_a_passing_error_runs_again(paced: WorkerProcess, nats_server: str) -> None:
    """A 408 or a 499 does not stand behind its key for a day; neither does the memory of a cancel."""
    async with raw.connected(nats_server) as client:
        body = {"input": "a", "params": {**LONG, "max_tokens": 30}, "stream": True}
        key = {"Idempotency-Key": "k"}
        job_id = subjects.job_id(subjects.message_id("anonymous", "inference", "echo", "k"))
        for _ in range(2):
            streamed = await raw.stream(client, REQUEST, body, **key)
            await streamed.next()
            await client.publish(subjects.cancel(job_id))
            await streamed.rest()
            assert streamed.final["error"]["code"] == "CANCELLED"
        streamed = await raw.stream(client, REQUEST, body, **key)
        await streamed.rest()
        assert streamed.final["tokens_out"] == 30
        late = {"input": "a", "deadline_ms": 200, "params": LONG}
        for _ in range(2):
            start = time.monotonic()
            reply, _ = await raw.ask(client, REQUEST, late, **{"Idempotency-Key": "late"})
            assert reply["error"]["code"] == "DEADLINE_EXCEEDED"
            assert time.monotonic() - start > 0.15


async def test_a_lasting_error_is_answered_from_its_entry(echo: WorkerProcess, nats_server: str) -> None:
    """What would fail again does not run again."""
    async with raw.connected(nats_server) as client:
        body = {"input": "word " * 9000}
        first, _ = await raw.ask(client, REQUEST, body, **{"Idempotency-Key": "k"})
        again, message = await raw.ask(client, REQUEST, body, **{"Idempotency-Key": "k"})
        assert first == again
        assert first["error"]["code"] == "CONTEXT_BUDGET_EXCEEDED"
        assert (message.headers or {})["Nats-Service-Error-Code"] == "400"
        assert await runs(client) == 1


async def test_a_lost_result_makes_the_job_run_again(paced: WorkerProcess, nats_server: str) -> None:
    """The job has left the queue and its key says nothing: a repeat runs, within and after the duplicate window."""
    async with raw.connected(nats_server) as client:
        body = {"input": "a"}
        key = {"Idempotency-Key": "k"}
        first, _ = await raw.ask(client, REQUEST, body, **key)
        job_id = subjects.job_id(subjects.message_id("anonymous", "inference", "echo", "k"))
        await client.jetstream().purge_stream(subjects.RESULTS_STREAM)
        second, _ = await raw.ask(client, REQUEST, body, **key)
        assert second["text"] == first["text"]
        assert await runs(client) == 2
        lost = {"Golek-Status": "queued", "Golek-Input": hashlib.sha256(json.dumps(body).encode()).hexdigest()}
        pending = json.dumps({"req_id": "", "job_id": job_id, "seq": 1, "status": "queued"}).encode()
        await client.jetstream().publish(subjects.stored_result("anonymous", job_id), pending, headers=lost)
        third, _ = await raw.ask(client, REQUEST, body, **key)
        assert third["text"] == first["text"]
        assert await runs(client) == 3


async def test_a_key_whose_entry_cannot_be_written_is_answered_once(echo: WorkerProcess, nats_server: str) -> None:
    """Its job is stored: an error beside its answer would be one answer too many."""
    async with raw.connected(nats_server) as client:
        config = (await client.jetstream().stream_info(subjects.RESULTS_STREAM)).config
        config.max_msg_size = 1
        await client.jetstream().update_stream(config)
        streamed = await raw.stream(client, REQUEST, {"input": "a"}, **{"Idempotency-Key": "k"})
        await streamed.rest()
        assert streamed.final["text"] == "a"
        with pytest.raises(nats.errors.TimeoutError):
            await streamed.next(0.5)


async def test_a_key_joins_no_job_of_another_caller(nats_server: str, tmp_path: Path) -> None:
    """A job stream that was made anew counts from 1 again: what lies at an entry's sequence may be another job."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=2, **PACED):
        async with raw.connected(nats_server) as client:
            other = await raw.stream(client, REQUEST, {"input": "b", "params": {**LONG, "max_tokens": 300}})
            await other.next()
            job_id = subjects.job_id(subjects.message_id("anonymous", "inference", "echo", "k"))
            pending = json.dumps({"req_id": "", "job_id": job_id, "seq": 1, "status": "queued"}).encode()
            await client.jetstream().publish(
                subjects.stored_result("anonymous", job_id), pending, headers={"Golek-Status": "queued"}
            )
            reply, _ = await raw.ask(client, REQUEST, {"input": "a"}, timeout=3, **{"Idempotency-Key": "k"})
            assert reply["text"] == "a"


async def test_a_submit_and_a_request_share_their_key(paced: WorkerProcess, nats_server: str) -> None:
    """A request with the key of a submitted job waits for its answer; a submit of what is answered says so."""
    async with raw.connected(nats_server) as client:
        body = {"input": "a", "params": {**LONG, "max_tokens": 20}}
        key = {"Idempotency-Key": "k"}
        receipt, _ = await raw.ask(client, SUBMIT, body, **key)
        again, _ = await raw.ask(client, SUBMIT, body, **key)
        assert again == receipt
        reply, _ = await raw.ask(client, REQUEST, body, **key)
        assert reply == await kept(client, receipt["job_id"])
        assert (await raw.ask(client, SUBMIT, body, **key))[0] | {"seq": 1, "position": 1} == receipt


@pytest.mark.parametrize("key", ["x" * 257, "naïve", ""])
async def test_a_wrong_key_is_refused(echo: WorkerProcess, nats_server: str, key: str) -> None:
    """1 to 256 printable ASCII characters."""
    async with raw.connected(nats_server) as client:
        reply, _ = await raw.ask(client, REQUEST, {"input": "a"}, **{"Idempotency-Key": key})
    assert reply["error"]["param"] == "Idempotency-Key"


async def test_a_drained_worker_sends_those_who_joined_on(nats_server: str, tmp_path: Path) -> None:
    """Who waits at a worker that leaves for a job that another one runs is told to ask again."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED) as runner:
        async with raw.connected(nats_server) as client:
            body = {"input": "a", "params": {**LONG, "max_tokens": 150}}
            streamed = await raw.stream(client, REQUEST, body, **{"Idempotency-Key": "k"})
            await streamed.next()
            with WorkerProcess(nats_server, tmp_path / "data", "echo", 2, **PACED) as leaver:
                joined = [await raw.stream(client, REQUEST, body, **{"Idempotency-Key": "k"}) for _ in range(8)]
                await client.flush()
                await asyncio.sleep(0.2)
                await asyncio.to_thread(leaver.end)
                await asyncio.gather(*(one.rest() for one in joined))
            codes = [one.final.get("error", {}).get("code") for one in joined]
            assert set(codes) == {None, "BUS_UNAVAILABLE"}
        assert not runner.log_lines("request.failed")


async def test_the_bucket_takes_less_room_where_there_is_little(tmp_path: Path) -> None:
    """A broker that cannot reserve 2 GiB for answers gives them 256 MiB; a second worker takes that as it is."""
    server = NatsServer(tmp_path, jetstream_options="max_file: 1GB").start()
    try:
        client = await connect(server.url, "test")
        for _ in range(2):
            await Results.open(client, lambda *_: None)
        info = await client.jetstream().stream_info(subjects.RESULTS_STREAM)
        assert info.config.max_bytes == 256 * 2**20
        await client.close()
    finally:
        server.kill()


async def test_jobs_that_wait_for_a_place_are_told_when_they_have_one(nats_server: str, tmp_path: Path) -> None:
    """With INFERENCE_REJECT_WHEN_FULL=false receipts and keys wait as requests do, and a key is still one job."""
    settings = {"WORKER_CONCURRENCY": 1, "QUEUE_CAPACITY": 1, "INFERENCE_REJECT_WHEN_FULL": "false", **PACED}
    with WorkerProcess(nats_server, tmp_path / "data", **settings):
        async with raw.connected(nats_server) as client:
            body = {"input": "a", "params": {**LONG, "max_tokens": 10}}
            key = {"Idempotency-Key": "k"}
            receipts = [asyncio.create_task(raw.ask(client, SUBMIT, body)) for _ in range(3)]
            first, second = await asyncio.gather(*(raw.ask(client, REQUEST, body, **key) for _ in range(2)))
            assert first[0] == second[0]
            jobs = {(await receipt)[0]["job_id"] for receipt in receipts}
            for job_id in jobs:
                assert (await kept(client, job_id))["tokens_out"] == 10
            assert len(jobs) == 3
            assert await runs(client) == 4
