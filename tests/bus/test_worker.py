"""What a caller meets on the bus, with the echo engine behind it: real nats-server, real worker process."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_wire import subjects
from golek_worker.machine import runfile
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.workers import WorkerProcess

REQUEST = "inference.request.echo"
PACED = {"ENGINE_STEP_MIN_MS": 20, "STREAM_GATHER_MS": 0}


@pytest.fixture
def echo(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker as shipped."""
    with WorkerProcess(nats_server, tmp_path / "data") as worker:
        yield worker


def rows(worker: WorkerProcess, sql: str) -> list[tuple[object, ...]]:
    """What the request log holds once the worker has ended."""
    worker.end()
    with sqlite3.connect(worker.data / "logs" / "echo.sqlite") as log:
        return log.execute(sql).fetchall()


async def test_one_request_gets_one_reply_with_all_its_keys(echo: WorkerProcess, nats_server: str) -> None:
    """A plain request is answered once, with every key that docs/subjects.md prints."""
    async with raw.connected(nats_server) as client:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        body = {"req_id": "manual-req-123", "input": "Hello, world!"}
        await client.publish(REQUEST, json.dumps(body).encode(), reply=inbox)
        message = await answers.next_msg(5)
        await raw.ask(client, REQUEST, {"input": "later"})
        assert answers.pending_msgs == 0
    reply = json.loads(message.data)
    assert reply.keys() >= {"req_id", "text", "tokens_in", "tokens_out", "finish_reason", "duration_ms", "ms"}
    assert (reply["req_id"], reply["text"], reply["finish_reason"]) == ("manual-req-123", "Hello, world!", "stop")
    assert message.headers == {"Golek-Worker": runfile.worker_id("echo", 1)}


async def test_stream_is_chunks_then_the_final_then_an_empty_message(echo: WorkerProcess, nats_server: str) -> None:
    """With `stream` the text comes in numbered chunks, the whole answer follows, and an empty message ends it."""
    async with raw.connected(nats_server) as client:
        streamed = await raw.stream(client, REQUEST, {"req_id": "s", "input": "one two three four"})
        await streamed.rest()
    assert streamed.joined() == streamed.final["text"] == "one two three four"
    assert [chunk["seq"] for chunk in streamed.chunks] == list(range(len(streamed.chunks)))
    assert streamed.messages[-1].headers is None
    assert {m.headers["Golek-Attempt"] for m in streamed.messages[:-2]} == {"1"}


@pytest.mark.parametrize(
    ("body", "code", "status", "named"),
    [
        (b"{not json", "BAD_REQUEST", "400", "JSON"),
        ({}, "BAD_REQUEST", "400", "input"),
        ({"input": "a", "params": {"temperature": "hot"}}, "BAD_REQUEST", "400", "params.temperature"),
        ({"input": "a", "params": {"max_tokens": -1}}, "BAD_REQUEST", "400", ">= 0"),
        ({"input": "a", "req_id": "x" * 129}, "BAD_REQUEST", "400", "129"),
        ({"input": "a", "reply_to": "golek.dlq.x"}, "BAD_REQUEST", "400", "reply_to"),
        ({"input": "a", "params": {"grammar": "nosuch"}}, "UNKNOWN_GRAMMAR", "400", "nosuch"),
        ({"input": "word " * 9000}, "CONTEXT_BUDGET_EXCEEDED", "400", "8192"),
        ({"input": "x" * 1_040_000}, "PAYLOAD_TOO_LARGE", "413", "1032192"),
    ],
)
async def test_a_wrong_request_is_refused_by_name(
    echo: WorkerProcess, nats_server: str, body: object, code: str, status: str, named: str
) -> None:
    """A refusal carries both headers, and its message names the field, the value or the limit."""
    async with raw.connected(nats_server) as client:
        reply, message = await raw.ask(client, REQUEST, body)
    assert reply["error"]["code"] == code
    assert named in reply["error"]["message"]
    assert message.headers is not None
    assert message.headers["Nats-Service-Error-Code"] == status == str(reply["error"]["status"])
    assert message.headers["Nats-Service-Error"].startswith(code)


async def test_a_refused_stream_ends_like_any_stream(echo: WorkerProcess, nats_server: str) -> None:
    """A caller who waits for the empty message gets it after an error too."""
    async with raw.connected(nats_server) as client:
        streamed = await raw.stream(client, REQUEST, {"req_id": "s", "messages": []})
        await streamed.rest()
    assert streamed.final["error"]["code"] == "BAD_REQUEST"


async def test_accepted_comes_before_the_answer_to_those_who_ask(echo: WorkerProcess, nats_server: str) -> None:
    """`Golek-Accept: 1` brings a status message with the job's id first, as soon as the job is stored."""
    async with raw.connected(nats_server) as client:
        streamed = await raw.stream(client, REQUEST, {"req_id": "s", "input": "hi"}, **{"Golek-Accept": "1"})
        await streamed.rest()
    accepted = streamed.messages[0]
    assert accepted.headers is not None
    assert accepted.headers["Golek-Status"] == "accepted"
    assert accepted.headers["Golek-Job"] == subjects.job_id(streamed.inbox) == json.loads(accepted.data)["job_id"]


async def test_the_same_request_twice_runs_once(echo: WorkerProcess, nats_server: str) -> None:
    """A resend with the same inbox is accepted again and answered once."""
    async with raw.connected(nats_server) as client:
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        body = json.dumps({"req_id": "twice", "input": "hi"}).encode()
        for _ in range(2):
            await client.publish(REQUEST, body, reply=inbox, headers={"Golek-Accept": "1"})
        kinds = ["Golek-Status" in ((await subscription.next_msg(5)).headers or {}) for _ in range(3)]
        await raw.ask(client, REQUEST, {"input": "later"})
        assert subscription.pending_msgs == 0
    assert sorted(kinds) == [False, True, True]
    assert rows(echo, "SELECT count(*) FROM requests WHERE req_id = 'twice'") == [(1,)]


async def test_an_answer_also_goes_to_reply_to(echo: WorkerProcess, nats_server: str) -> None:
    """`reply_to` names a second subject for the answer."""
    async with raw.connected(nats_server) as client:
        other = await client.subscribe("my.answers")
        reply, _ = await raw.ask(client, REQUEST, {"req_id": "r", "input": "hi", "reply_to": "my.answers"})
        assert json.loads((await other.next_msg(5)).data) == reply


async def test_deadline_of_a_running_job_is_a_408(nats_server: str, tmp_path: Path) -> None:
    """A job that does not finish in time is stopped and answered 408, on time."""
    with WorkerProcess(nats_server, tmp_path / "data", **PACED):
        async with raw.connected(nats_server) as client:
            start = time.monotonic()
            body = {"input": "a", "deadline_ms": 400, "params": {"max_tokens": 500, "ignore_eos": True}}
            reply, message = await raw.ask(client, REQUEST, body)
    assert reply["error"]["code"] == "DEADLINE_EXCEEDED"
    assert message.headers is not None
    assert message.headers["Nats-Service-Error-Code"] == "408"
    assert 0.3 < time.monotonic() - start < 1.5


async def test_deadline_of_a_waiting_job_is_a_408_without_running_it(nats_server: str, tmp_path: Path) -> None:
    """A job that waits past its deadline is answered by the ingress and never runs."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED) as worker:
        async with raw.connected(nats_server) as client:
            running = await raw.stream(
                client, REQUEST, {"input": "a", "params": {"max_tokens": 200, "ignore_eos": True}}
            )
            await running.next()
            reply, _ = await raw.ask(client, REQUEST, {"req_id": "late", "input": "b", "deadline_ms": 500})
            assert reply["error"]["code"] == "DEADLINE_EXCEEDED"
            await running.rest()
        assert rows(worker, "SELECT count(*) FROM requests WHERE req_id = 'late' AND tokens_out > 0") == [(0,)]


async def test_cancel_stops_a_running_job_with_499(nats_server: str, tmp_path: Path) -> None:
    """A cancel ends the stream with a 499; the log tells how many tokens were written."""
    with WorkerProcess(nats_server, tmp_path / "data", **PACED) as worker:
        async with raw.connected(nats_server) as client:
            streamed = await raw.stream(
                client, REQUEST, {"input": "a", "params": {"max_tokens": 500, "ignore_eos": True}}
            )
            for _ in range(5):
                await streamed.next()
            await client.publish(subjects.cancel(subjects.job_id(streamed.inbox)))
            await streamed.rest()
        assert streamed.final["error"]["code"] == "CANCELLED"
        assert len(streamed.chunks) < 20
        ((status, tokens_out),) = rows(worker, "SELECT status, tokens_out FROM requests")
    assert status == "CANCELLED"
    assert 5 <= int(str(tokens_out)) < 20


async def test_cancel_of_a_waiting_job_is_answered_at_once(nats_server: str, tmp_path: Path) -> None:
    """A job that no worker has yet is deleted from the queue and answered 499."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, **PACED):
        async with raw.connected(nats_server) as client:
            running = await raw.stream(
                client, REQUEST, {"input": "a", "params": {"max_tokens": 100, "ignore_eos": True}}
            )
            await running.next()
            waiting = await raw.stream(client, REQUEST, {"input": "b"}, **{"Golek-Accept": "1"})
            await waiting.next()
            await client.publish(subjects.cancel(subjects.job_id(waiting.inbox)))
            await waiting.rest()
            assert waiting.final["error"]["code"] == "CANCELLED"
            assert running.pending < 100  # the slot is still taken
            await running.rest()
            assert len(running.chunks) == 100


async def test_health_heartbeat_and_load_report_carry_all_their_keys(nats_server: str, tmp_path: Path) -> None:
    """What monitors of the published formats read is there."""
    async with raw.connected(nats_server) as client:
        heartbeat = asyncio.create_task(raw.collect(client, "models.*.heartbeat", 1))
        report = asyncio.create_task(raw.collect(client, "monitoring.inference.*", 1))
        await asyncio.sleep(0)
        await client.flush()
        with WorkerProcess(nats_server, tmp_path / "data"):
            health, _ = await raw.ask(client, "models.echo.health", {})
            (beat,), (load,) = await heartbeat, await report
    keys = {"model_name", "status", "last_activity", "capabilities", "endpoint", "nats_topic", "version", "model_info"}
    assert health.keys() >= keys
    assert beat.keys() == health.keys()
    assert health["status"] == "online"
    assert load.keys() >= {
        "model_name", "pending_messages", "active_processing", "timestamp", "worker_count", "queue_capacity", "status",
    }  # fmt: skip


async def test_srv_lists_the_worker(echo: WorkerProcess, nats_server: str) -> None:
    """NATS micro's PING, INFO and STATS are answered, with the model in the metadata."""
    async with raw.connected(nats_server) as client:
        await raw.ask(client, REQUEST, {"input": "a"})
        for verb in ("PING", "INFO", "STATS"):
            answer, _ = await raw.ask(client, f"$SRV.{verb}.golek", {})
            assert answer["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
            assert answer["metadata"]["model"] == "echo"
    assert answer["endpoints"][0]["num_requests"] == 1


async def test_a_dotted_name_is_served_literally_and_as_token(nats_server: str, tmp_path: Path) -> None:
    """A name with dots answers on the literal and on the token subject; wildcards see it on the token."""
    with WorkerProcess(nats_server, tmp_path / "data", MODEL_NAME="tiny.v1.5"):
        async with raw.connected(nats_server) as client:
            for name in ("tiny.v1.5", "tiny_v1_5"):
                reply, _ = await raw.ask(client, f"inference.request.{name}", {"input": "hi"})
                assert reply["text"] == "hi"
                health, _ = await raw.ask(client, f"models.{name}.health", {})
                assert health["model_name"] == "tiny.v1.5"
                assert health["monitor_subject"] == "monitoring.inference.tiny_v1_5"


async def test_a_full_queue_refuses_the_surplus_at_once(nats_server: str, tmp_path: Path) -> None:
    """Beyond QUEUE_CAPACITY jobs, waiting and running, a request gets 429 with a time to retry after."""
    settings = {"QUEUE_CAPACITY": 3, "WORKER_CONCURRENCY": 1, **PACED}
    with WorkerProcess(nats_server, tmp_path / "data", **settings):
        async with raw.connected(nats_server) as client:
            body = {"input": "a", "params": {"max_tokens": 50, "ignore_eos": True}}
            taken = [await raw.stream(client, REQUEST, body) for _ in range(3)]
            await taken[0].next()
            reply, message = await raw.ask(client, REQUEST, body)
            assert reply["error"]["code"] == "QUEUE_FULL"
            assert reply["error"]["details"]["retry_after_ms"] > 0
            assert message.headers is not None
            assert message.headers["Nats-Service-Error-Code"] == "429"
            for streamed in taken:
                await streamed.rest()
                assert streamed.final["finish_reason"] == "length"


async def test_sigterm_finishes_what_runs(nats_server: str, tmp_path: Path) -> None:
    """A worker told to stop answers its jobs, exits 0 and leaves nothing behind."""
    worker = WorkerProcess(nats_server, tmp_path / "data", **PACED).start()
    try:
        async with raw.connected(nats_server) as client:
            streamed = await raw.stream(
                client, REQUEST, {"input": "a", "params": {"max_tokens": 60, "ignore_eos": True}}
            )
            await streamed.next()
            child = worker.child
            worker.signal(signal.SIGTERM)
            await streamed.rest()
            assert streamed.final["tokens_out"] == 60
        assert worker.process is not None
        assert await asyncio.to_thread(worker.process.wait, 10) == 0
        assert not child.is_running()
        assert worker.state() is None
    finally:
        worker.end()


async def test_jobs_survive_a_restart_of_the_broker(broker: NatsServer, tmp_path: Path) -> None:
    """The server is killed in mid-stream and comes back: the caller still gets its final answer."""
    with WorkerProcess(broker.url, tmp_path / "data", **PACED):
        async with raw.connected(broker.url) as client:
            streamed = await raw.stream(
                client, REQUEST, {"input": "a", "params": {"max_tokens": 100, "ignore_eos": True}}
            )
            await streamed.next()
            broker.kill()
            broker.start()
            await streamed.rest(timeout=20)
            assert streamed.final["tokens_out"] == 100


async def test_two_workers_that_disagree_on_the_queue_do_not_start(nats_server: str, tmp_path: Path) -> None:
    """A second worker with another QUEUE_CAPACITY refuses to start and prints both values."""
    with WorkerProcess(nats_server, tmp_path / "a"):
        problem = WorkerProcess(nats_server, tmp_path / "b", QUEUE_CAPACITY=7).start_failing()
        assert "7" in problem
        assert "2000" in problem


async def test_two_names_with_one_token_do_not_serve_together(nats_server: str, tmp_path: Path) -> None:
    """`tiny.v1` and `tiny_v1` share a token: the second worker refuses to start, printing both names."""
    with WorkerProcess(nats_server, tmp_path / "a", MODEL_NAME="tiny.v1"):
        problem = WorkerProcess(nats_server, tmp_path / "b", MODEL_NAME="tiny_v1").start_failing()
        assert "tiny.v1" in problem
        assert "tiny_v1" in problem


async def test_a_worker_whose_engine_cannot_load_says_so_and_ends(nats_server: str, tmp_path: Path) -> None:
    """A file that is no model: the worker fails with the cause, and its process is gone."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    worker = WorkerProcess(nats_server, tmp_path / "data", "golek-tiny", MODEL_PATH=broken)
    assert "broken.gguf" in worker.start_failing()
    assert worker.process is not None
    assert worker.process.returncode == os.EX_CONFIG


@pytest.mark.parametrize(
    "wrong", [{"SUBJECT": "embedding.request.tiny"}, {"PROMPT_TEMPLATE": "/dev/null"}, {"MODEL_PATH": "/none.gguf"}]
)
async def test_a_worker_that_cannot_start_says_so_to_the_fleet(
    nats_server: str, tmp_path: Path, wrong: dict[str, str]
) -> None:
    """Whatever its deployment gets wrong, its record and its last heartbeat are those of a failed worker."""
    async with raw.connected(nats_server) as client:
        beats = await client.subscribe("models.golek-tiny.heartbeat")
        await client.flush()
        (key,) = wrong
        failing = WorkerProcess(nats_server, tmp_path / "data", "golek-tiny", **wrong)
        assert key in await asyncio.to_thread(failing.start_failing)
        assert json.loads((await beats.next_msg(5)).data)["status"] == "failed"
        bucket = await client.jetstream().key_value(subjects.MODELS_BUCKET)
        assert json.loads((await bucket.get("golek-tiny")).value or b"")["state"] == "failed"


async def test_two_models_at_one_subject_are_refused(echo: WorkerProcess, nats_server: str, tmp_path: Path) -> None:
    """Requests would go to either: the second names both. The same model may have more replicas."""
    settings = {"MODEL_NAME": "parrot", "SUBJECT": "inference.request.echo"}
    second = WorkerProcess(nats_server, tmp_path / "other", **settings)
    problem = await asyncio.to_thread(second.start_failing)
    assert problem.startswith("two models at one subject inference.request.echo: this worker's 'parrot' and 'echo'")
    with WorkerProcess(nats_server, tmp_path / "other", replica=2):
        pass


async def test_a_huge_bad_grammar_is_a_400_and_harms_nobody(nats_server: str, tmp_path: Path) -> None:
    """The engine prints what it dislikes; a line of 120 kB must not end its worker."""
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny"):
        async with raw.connected(nats_server) as client:
            body = {"input": "a", "params": {"grammar": "root ::= " + "a" * 120_000}}
            reply, _ = await raw.ask(client, "inference.request.golek-tiny", body)
            assert reply["error"]["code"] == "INVALID_GRAMMAR"
            reply, _ = await raw.ask(client, "inference.request.golek-tiny", {"input": "Hi"})
            assert reply["text"]


async def test_a_subject_too_long_to_publish_to_is_refused(echo: WorkerProcess, nats_server: str) -> None:
    """A `reply_to` longer than the server's control line would cost the worker its connection."""
    async with raw.connected(nats_server) as client:
        reply, _ = await raw.ask(client, REQUEST, {"input": "a", "reply_to": "x" * 5000})
        assert reply["error"]["param"] == "reply_to"
        reply, _ = await raw.ask(client, REQUEST, {"input": "a"})
        assert reply["text"] == "a"


async def test_a_frozen_worker_takes_no_more_than_its_slots(nats_server: str, tmp_path: Path) -> None:
    """A worker that slept past its pulls wakes up with as many jobs as it has slots."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=4, **PACED) as worker:
        async with raw.connected(nats_server) as client:
            worker.signal(signal.SIGSTOP)
            body = {"input": "a", "params": {"max_tokens": 15, "ignore_eos": True}}
            streams = [await raw.stream(client, REQUEST, body) for _ in range(16)]
            await client.flush()
            await asyncio.sleep(6)  # longer than two missed heartbeats of its pulls
            worker.signal(signal.SIGCONT)
            most = 0
            while not streams[-1].pending:
                health, _ = await raw.ask(client, "models.echo.health", {})
                most = max(most, health["active"])
                await asyncio.sleep(0.02)
            for streamed in streams:
                await streamed.rest(30)
                assert streamed.final["tokens_out"] == 15
            assert most <= 4


async def test_stats_count_refusals(echo: WorkerProcess, nats_server: str) -> None:
    """What `nats micro stats` shows as errors includes requests that never became jobs."""
    async with raw.connected(nats_server) as client:
        await raw.ask(client, REQUEST, {})
        await raw.ask(client, REQUEST, {"input": "a"})
        stats, _ = await raw.ask(client, "$SRV.STATS.golek", {})
    (endpoint,) = stats["endpoints"]
    assert (endpoint["num_requests"], endpoint["num_errors"]) == (2, 1)


async def test_a_lost_registry_does_not_end_the_worker(echo: WorkerProcess, nats_server: str) -> None:
    """With its bucket deleted, heartbeats fail to renew the record; requests are still answered."""
    async with raw.connected(nats_server) as client:
        await client.jetstream().delete_key_value("GOLEK_MODELS")
        echo.child.kill()  # a change that is announced with a heartbeat
        while not echo.log_lines("step.failed"):
            await asyncio.sleep(0.02)
        reply, _ = await raw.ask(client, REQUEST, {"input": "a"})
        assert reply["text"] == "a"


async def test_a_caller_that_answers_chunks_is_not_taken_for_gone(nats_server: str, tmp_path: Path) -> None:
    """Messages on a probe's reply subject mean something only when the server says 503."""
    with WorkerProcess(nats_server, tmp_path / "data", **PACED):
        async with raw.connected(nats_server) as client:
            body = {"input": "a", "params": {"max_tokens": 250, "ignore_eos": True}}
            streamed = await raw.stream(client, REQUEST, body)
            while (message := await streamed.next()).data:
                if message.reply:
                    await client.publish(message.reply, b"thanks")
            assert streamed.final["tokens_out"] == 250


async def test_an_abandoned_stream_is_stopped(nats_server: str, tmp_path: Path) -> None:
    """A caller that leaves without a cancel is noticed after some seconds, however slowly the text comes."""
    with WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=400, STREAM_GATHER_MS=0) as worker:
        async with raw.connected(nats_server) as client:
            body = {"input": "a", "params": {"max_tokens": 500, "ignore_eos": True}}
            await (await raw.stream(client, REQUEST, body)).next()
        async with raw.connected(nats_server) as client:
            while (await raw.ask(client, "models.echo.health", {}))[0]["active"]:
                await asyncio.sleep(0.2)
        assert rows(worker, "SELECT status FROM requests") == [("CANCELLED",)]
