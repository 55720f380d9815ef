"""Traces: one for each request, through gateway, queue and engine, at a real receiver of OTLP."""

import asyncio
import json
import secrets
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import nats
import pytest
from nats.aio.client import Client

from golek_client import Golek
from golek_client.tracing import within
from tests.support import minilm, reranker
from tests.support.broker import NatsServer
from tests.support.fronts import GatewayProcess
from tests.support.ports import free_port
from tests.support.receivers import Receiver, over_grpc, over_http
from tests.support.workers import WorkerProcess

MODEL = "golek-tiny"
STREAM = f"GOLEK_JOBS_{MODEL}"
CONSUMER = f"inference-{MODEL}-normal"
SERVER, CLIENT = "POST /v1/chat/completions", f"chat {MODEL}"
PUBLISH, PROCESS = f"publish {STREAM}", f"process {STREAM}"
INSIDE = ("wait for a slot", "prefill", "decode", "store result", "reply")
PROMPT = "Tell me about an elephant."


class Traced(NamedTuple):
    """A fleet whose programs send traces."""

    nats: str
    gateway: GatewayProcess
    own: str
    """Where the worker serves HTTP."""
    worker: WorkerProcess
    receiver: Receiver
    settings: dict[str, object]

    @property
    def url(self) -> str:
        return self.gateway.url


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Broker, golek-tiny and gateway, and a receiver that speaks HTTP."""
    data = tmp_path_factory.mktemp("traced")
    (data / "nats").mkdir()
    server = NatsServer(data / "nats").start()
    with ExitStack() as stack:
        stack.callback(server.kill)
        receiver = stack.enter_context(over_http())
        given: dict[str, object] = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=let%20me%20in",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            "GOLEK_LOG_LEVEL": "debug",
            "MODEL_THREADS": 1,
            "HTTP_ADDR": "",
        }
        address = f"127.0.0.1:{free_port()}"
        worker = stack.enter_context(WorkerProcess(server.url, data, MODEL, **given | {"HTTP_ADDR": address}))
        gateway = stack.enter_context(GatewayProcess(server.url, data, **given))
        yield Traced(server.url, gateway, f"http://{address}", worker, receiver, given)


class Caller:
    """A program that traces, and calls over HTTP within a span of its own."""

    def __init__(self) -> None:
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)

    def post(self, url: str, body: dict[str, Any], path: str = "/v1/chat/completions", **headers: str) -> str:
        """The answer, or the error's body."""
        given = {
            "Content-Type": "application/json",
            "traceparent": f"00-{self.trace_id}-{self.span_id}-01",
            "tracestate": "vendor=opaque",
        }
        request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode(), given | headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()


def chat(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 12, **more}


def test_a_request_is_one_trace(traced: Traced) -> None:
    """From the caller's span through gateway, client, ingress and queue to the engine and back: one trace id, each
    span's parent the one that caused it, and each within its parent's time where it is awaited."""
    caller = Caller()
    reply = json.loads(caller.post(traced.url, chat(temperature=0.5)))
    spans = traced.receiver.whole(caller.trace_id, SERVER, CLIENT, PUBLISH, "queue", PROCESS, *INSIDE)
    assert set(spans) == {SERVER, CLIENT, PUBLISH, "queue", PROCESS, *INSIDE}
    parents = {SERVER: caller.span_id, CLIENT: spans[SERVER].span_id, PUBLISH: spans[CLIENT].span_id}
    parents |= dict.fromkeys(("queue", PROCESS), spans[PUBLISH].span_id)
    parents |= dict.fromkeys(INSIDE, spans[PROCESS].span_id)
    assert {name: span.parent_id for name, span in spans.items()} == parents
    kinds = {SERVER: "server", CLIENT: "client", PUBLISH: "producer", PROCESS: "consumer"}
    assert {name: span.kind for name, span in spans.items()} == dict.fromkeys(spans, "internal") | kinds
    for part in INSIDE:
        assert spans[PROCESS].begun_ns <= spans[part].begun_ns <= spans[part].ended_ns <= spans[PROCESS].ended_ns
    order = [spans[name].begun_ns for name in (SERVER, CLIENT, PUBLISH, "queue", PROCESS, *INSIDE)]
    assert order == sorted(order)
    assert spans["queue"].ended_ns == spans[PROCESS].begun_ns
    assert spans[SERVER].ended_ns >= spans[CLIENT].ended_ns >= spans["reply"].begun_ns
    assert not any(span.error for span in spans.values())
    about = spans[PROCESS].about
    job_id = reply["id"].removeprefix("chatcmpl-")
    assert {name: about[name] for name in about if name.startswith("golek.")} == {
        "golek.job_id": job_id,
        "golek.key_id": "anonymous",
        "golek.worker_id": spans[CLIENT].about["golek.worker_id"],
        "golek.attempt": 1,
    }
    assert about["gen_ai.operation.name"] == spans[CLIENT].about["gen_ai.operation.name"] == "chat"
    assert about["gen_ai.request.model"] == spans[CLIENT].about["gen_ai.response.model"] == MODEL
    assert (about["gen_ai.request.max_tokens"], about["gen_ai.request.temperature"]) == (12, 0.5)
    for span in (spans[PROCESS], spans[CLIENT]):
        assert span.about["gen_ai.usage.input_tokens"] == reply["usage"]["prompt_tokens"]
        assert span.about["gen_ai.usage.output_tokens"] == reply["usage"]["completion_tokens"]
        assert span.about["gen_ai.response.finish_reasons"] == [reply["choices"][0]["finish_reason"]]
    assert abs(spans[PROCESS].events["first token"]["at_ns"] - spans["decode"].begun_ns) < 1000
    assert (spans[SERVER].about["http.response.status_code"], spans[SERVER].about["golek.job_id"]) == (200, job_id)


def test_what_a_process_says_of_itself(traced: Traced) -> None:
    """Service, instance and what the settings add; the receiver gets the headers that it was promised."""
    caller = Caller()
    caller.post(traced.url, chat())
    spans = traced.receiver.whole(caller.trace_id, SERVER, PROCESS)
    assert {span.resource["service.name"] for span in spans.values()} == {"inference-service"}
    assert {span.resource["deployment.environment.name"] for span in spans.values()} == {"test"}
    assert (spans[SERVER].resource["golek.program"], spans[PROCESS].resource["golek.program"]) == ("gateway", "worker")
    assert spans[PROCESS].resource["service.instance.id"] == spans[PROCESS].about["golek.worker_id"]
    assert {headers["x-api-key"] for headers in traced.receiver.headers} == {"let me in"}


def test_a_worker_that_serves_http_traces_it(traced: Traced) -> None:
    """At its own address the same spans, all of the worker's process."""
    caller = Caller()
    caller.post(traced.own, chat())
    spans = traced.receiver.whole(caller.trace_id, SERVER, CLIENT, PUBLISH, "queue", PROCESS, *INSIDE)
    assert {span.resource["golek.program"] for span in spans.values()} == {"worker"}
    assert spans[SERVER].parent_id == caller.span_id


def test_probes_are_no_traces(traced: Traced) -> None:
    """Health, metrics and pages have no spans, whatever their caller sends."""
    probe, after = Caller(), Caller()
    for path in ("/healthz", "/health/ready", "/metrics", "/"):
        about = {"traceparent": f"00-{probe.trace_id}-{probe.span_id}-01"}
        with urllib.request.urlopen(urllib.request.Request(f"{traced.url}{path}", headers=about), timeout=10):
            pass
    after.post(traced.url, chat())
    traced.receiver.whole(after.trace_id, SERVER)
    assert traced.receiver.spans(probe.trace_id) == []


def test_no_prompt_is_in_a_trace(traced: Traced) -> None:
    """Neither the question nor the answer, streamed or not, nor of a request that is refused."""
    caller = Caller()
    said = [caller.post(traced.url, chat(stream=stream)) for stream in (False, True)]
    answer = json.loads(said[0])["choices"][0]["message"]["content"]
    caller.post(traced.url, chat(stop=[PROMPT] * 99))
    spans = traced.receiver.wait(lambda came: sum(span.name == SERVER for span in came) == 3, caller.trace_id)
    text = repr(spans)
    assert len(answer) > 3
    assert answer not in text
    assert "elephant" not in text


def test_a_stream_is_one_trace(traced: Traced) -> None:
    """Its request lasts until its last event, and its first token is told."""
    caller = Caller()
    caller.post(traced.url, chat(stream=True))
    spans = traced.receiver.whole(caller.trace_id, SERVER, CLIENT, PUBLISH, "queue", PROCESS, "decode", "reply")
    assert spans[PROCESS].about["gen_ai.request.stream"] is True
    assert spans[SERVER].ended_ns >= spans["reply"].begun_ns
    assert 0 < spans[PROCESS].about["gen_ai.response.time_to_first_chunk"] < 10


def test_several_texts_are_events(traced: Traced) -> None:
    """`n: 2` is one attempt, and each text an event of it."""
    caller = Caller()
    reply = json.loads(caller.post(traced.url, chat(n=2)))
    span = traced.receiver.whole(caller.trace_id, PROCESS)[PROCESS]
    assert span.about["gen_ai.request.choice.count"] == 2
    assert span.about["gen_ai.response.finish_reasons"] == [one["finish_reason"] for one in reply["choices"]]
    assert "text" in span.events


async def pause(client: Client, until: datetime) -> None:
    """Have the consumer of the model's jobs give none before `until`."""
    call = f"$JS.API.CONSUMER.PAUSE.{STREAM}.{CONSUMER}"
    answer = await client.request(call, json.dumps({"pause_until": until.isoformat()}).encode(), timeout=5)
    assert "error" not in json.loads(answer.data)


async def asked(client: Client, call: str, body: bytes = b"") -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{call}", body, timeout=5)).data)
    assert "error" not in answer, answer
    return answer


def test_the_queue_is_as_long_as_the_broker_held_the_job(traced: Traced) -> None:
    """A job that a paused consumer holds for 500 ms, by the broker's own clock, has a queue span of 500 ms, and at most
    50 more."""
    caller = Caller()

    async def held() -> float:
        """Let the job go 500 ms after it was stored; when that was, in seconds since 1970."""
        client = await nats.connect(traced.nats)
        before = (await asked(client, f"STREAM.INFO.{STREAM}"))["state"]["last_seq"]
        await pause(client, datetime.now(UTC) + timedelta(minutes=1))
        posting = asyncio.create_task(asyncio.to_thread(caller.post, traced.url, chat()))
        while (await asked(client, f"STREAM.INFO.{STREAM}"))["state"]["last_seq"] == before:
            await asyncio.sleep(0.005)
        message = await asked(client, f"STREAM.MSG.GET.{STREAM}", b'{"seq":%d}' % (before + 1))
        stored = datetime.fromisoformat(message["message"]["time"][:26] + "+00:00")
        await pause(client, stored + timedelta(milliseconds=500))
        assert "choices" in await posting
        await client.close()
        return stored.timestamp()

    stored_s = asyncio.run(held())
    span = traced.receiver.whole(caller.trace_id, "queue", PROCESS)["queue"]
    assert 500.0 <= span.ms <= 550.0
    assert abs(span.begun_ns / 1e9 - stored_s) < 0.005


def test_a_job_that_ends_in_the_queue_has_its_span(traced: Traced) -> None:
    """At its deadline the wait is over, and the spans say why: over HTTP the gateway gives up and cancels the job; who
    asks on the bus is answered there."""
    caller, raw = Caller(), Caller()
    payload = json.dumps({"input": PROMPT, "deadline_ms": 400}).encode()

    async def held() -> None:
        client = await nats.connect(traced.nats)
        await pause(client, datetime.now(UTC) + timedelta(minutes=1))
        posting = asyncio.to_thread(caller.post, traced.url, chat(deadline_ms=400))
        about = {"traceparent": f"00-{raw.trace_id}-{raw.span_id}-01"}
        asking = client.request(f"inference.request.{MODEL}", payload, timeout=10, headers=about)
        said, answer = await asyncio.gather(posting, asking)
        await pause(client, datetime.now(UTC))
        await client.close()
        assert json.loads(said)["error"]["code"] == json.loads(answer.data)["error"]["code"] == "DEADLINE_EXCEEDED"

    asyncio.run(held())
    spans = traced.receiver.whole(caller.trace_id, SERVER, CLIENT, PUBLISH, "queue")
    errors = {SERVER: "DEADLINE_EXCEEDED", CLIENT: "DEADLINE_EXCEEDED", PUBLISH: "", "queue": "CANCELLED"}
    assert {name: span.error for name, span in spans.items()} == errors
    assert spans["queue"].ms >= 390
    spans = traced.receiver.whole(raw.trace_id, PUBLISH, "queue")
    assert (spans[PUBLISH].error, spans["queue"].error) == ("", "DEADLINE_EXCEEDED")
    assert (spans[PUBLISH].parent_id, spans["queue"].parent_id) == (raw.span_id, spans[PUBLISH].span_id)
    assert spans["queue"].ms >= 400


@pytest.fixture(scope="module")
def slow(traced: Traced, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """A worker of the model `slow`, which takes 50 ms for a word."""
    given = traced.settings | {"MODEL_NAME": "slow", "ENGINE_STEP_MIN_MS": 50}
    with WorkerProcess(traced.nats, tmp_path_factory.mktemp("slow"), "echo", **given) as worker:
        yield worker


async def test_each_attempt_is_a_span(traced: Traced, slow: WorkerProcess) -> None:
    """An engine dies under a job: the attempt ends as one that goes back to the queue, the next one answers."""
    caller = Caller()
    async with Golek(traced.nats, deadline=30.0) as golek:
        with within(f"00-{caller.trace_id}-{caller.span_id}-01"):
            async with golek.stream("slow", "one two three four five six", max_tokens=6) as stream:
                await anext(stream)
                slow.child.kill()
                async for _ in stream:
                    pass
    name = "process GOLEK_JOBS_slow"
    spans = traced.receiver.wait(lambda came: sum(span.name == name for span in came) == 2, caller.trace_id)
    attempts = sorted((span for span in spans if span.name == name), key=lambda span: span.begun_ns)
    assert [(span.about["golek.attempt"], span.error) for span in attempts] == [(1, "REQUEUED"), (2, "")]
    (publish,) = [span for span in spans if span.name == "publish GOLEK_JOBS_slow"]
    assert {span.parent_id for span in attempts} == {publish.span_id}
    assert sum(span.name == "queue" for span in spans) == 1


async def test_a_cancelled_job_ends_its_span(traced: Traced, slow: WorkerProcess) -> None:
    """The reader leaves: the attempt ends as cancelled, with what had been written."""
    caller = Caller()
    async with Golek(traced.nats, deadline=30.0) as golek:
        with within(f"00-{caller.trace_id}-{caller.span_id}-01"):
            async with golek.stream("slow", "one two three four five six seven eight nine", max_tokens=9) as stream:
                await anext(stream)
    span = traced.receiver.whole(caller.trace_id, "process GOLEK_JOBS_slow")["process GOLEK_JOBS_slow"]
    assert (span.error, span.about["error.type"]) == ("CANCELLED", "CANCELLED")
    assert span.about["gen_ai.usage.output_tokens"] >= 1
    assert "first token" in span.events
    assert slow.pid


def test_a_refused_request_ends_where_it_is_refused(traced: Traced) -> None:
    """The gate's span has the error's code; over HTTP a mistake of the caller's is no error of the server's."""
    caller = Caller()
    caller.post(traced.url, chat(grammar="never-stored"))
    spans = traced.receiver.whole(caller.trace_id, SERVER, CLIENT, PUBLISH)
    assert spans[PUBLISH].error == spans[CLIENT].error == "UNKNOWN_GRAMMAR"
    assert spans[SERVER].about["http.response.status_code"] == 400
    assert spans[SERVER].error == ""


def test_the_request_log_names_the_trace(traced: Traced) -> None:
    """`trace_id` of the row is the trace's, so that one leads to the other."""
    caller = Caller()
    caller.post(traced.url, chat())
    job_id = traced.receiver.whole(caller.trace_id, PROCESS)[PROCESS].about["golek.job_id"]
    until, rows = time.monotonic() + 10, []
    while not rows and time.monotonic() < until:  # the row is written within a moment
        with sqlite3.connect(traced.worker.data / "logs" / f"{MODEL}.sqlite") as log:
            rows = log.execute("SELECT trace_id FROM requests WHERE job_id = ?", (job_id,)).fetchall()
        log.close()
    assert rows == [(caller.trace_id,)]


def test_log_lines_name_the_trace(traced: Traced) -> None:
    """What the gateway logs of a request has the ids of its span."""
    caller = Caller()
    caller.post(traced.url, chat(), **{"x-stainless-retry-count": "1"})
    span = traced.receiver.whole(caller.trace_id, SERVER)[SERVER]
    lines = [json.loads(line) for line in traced.gateway.log.read_text().splitlines() if caller.trace_id in line]
    assert [(line["event"], line["span_id"]) for line in lines] == [("http.client", span.span_id)]


def test_who_does_not_trace_passes_the_trace_on(traced: Traced, tmp_path: Path) -> None:
    """A gateway without tracing: the worker's spans are children of the caller's."""
    caller = Caller()
    with GatewayProcess(traced.nats, tmp_path) as gateway:
        caller.post(gateway.url, chat())
    spans = traced.receiver.whole(caller.trace_id, PUBLISH, "queue", PROCESS, *INSIDE)
    assert SERVER not in spans
    assert spans[PUBLISH].parent_id == caller.span_id


def test_a_caller_that_samples_nothing_is_obeyed(traced: Traced) -> None:
    """`traceparent` with flags 00: nothing of it is sent, and the request is answered."""
    quiet, after = Caller(), Caller()
    said = quiet.post(traced.url, chat(), traceparent=f"00-{quiet.trace_id}-{quiet.span_id}-00")
    assert "choices" in json.loads(said)
    after.post(traced.url, chat())
    traced.receiver.whole(after.trace_id, SERVER, PROCESS, *INSIDE)
    assert traced.receiver.spans(quiet.trace_id) == []


@pytest.mark.parametrize(
    ("kind", "path", "body"),
    [
        ("embeddings", "/v1/embeddings", {"input": ["rivers", "snow"]}),
        ("rerank", "/v1/rerank", {"query": "rivers", "documents": ["The Nile", "Snow"]}),
    ],
)
def test_other_kinds_are_traced_too(traced: Traced, tmp_path: Path, kind: str, path: str, body: dict[str, Any]) -> None:
    """Vectors and scores: one trace, with the tokens that were read."""
    caller, file = Caller(), minilm.model_file() if kind == "embeddings" else reranker.model_file()
    given = traced.settings | {"MODEL_NAME": "judge", "MODEL_PATH": file}
    with WorkerProcess(traced.nats, tmp_path, MODEL, **given):
        said = json.loads(caller.post(traced.url, {"model": "judge", **body}, path))
    process = "process GOLEK_JOBS_judge"
    spans = traced.receiver.whole(caller.trace_id, f"POST {path}", f"{kind} judge", "queue", process, "reply")
    assert spans[process].about["gen_ai.operation.name"] == kind
    assert spans[process].about["gen_ai.usage.input_tokens"] == said["usage"]["total_tokens"] > 0
    assert spans[process].parent_id == spans["publish GOLEK_JOBS_judge"].span_id


def test_spans_leave_over_grpc(traced: Traced, tmp_path: Path) -> None:
    """The same trace at a receiver that speaks gRPC; what is left in a process leaves before it ends."""
    caller = Caller()
    with over_grpc() as receiver:
        given = traced.settings | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "MODEL_NAME": "other",
        }
        with (
            WorkerProcess(traced.nats, tmp_path, "echo", **given) as worker,
            GatewayProcess(traced.nats, tmp_path, **given) as gateway,
        ):
            caller.post(gateway.url, chat(model="other"))
            worker.end()
            gateway.end()
        spans = receiver.whole(caller.trace_id, SERVER, "chat other", "queue", "process GOLEK_JOBS_other", "reply")
        assert spans["queue"].parent_id == spans["publish GOLEK_JOBS_other"].span_id
        assert receiver.headers[0]["x-api-key"] == "let me in"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_dead_receiver_costs_spans_and_nothing_else(traced: Traced, tmp_path: Path, protocol: str) -> None:
    """Nobody listens where traces go: requests are answered, the log says so once, and the stop is not late."""
    given = traced.settings | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "MODEL_NAME": "other",
    }
    with (
        WorkerProcess(traced.nats, tmp_path, "echo", **given) as worker,
        GatewayProcess(traced.nats, tmp_path, **given) as gateway,
    ):
        for _ in range(3):
            assert "choices" in json.loads(Caller().post(gateway.url, chat(model="other")))
        began = time.monotonic()
        ends = [threading.Thread(target=one.end) for one in (worker, gateway)]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
        assert time.monotonic() - began < 2.0  # less than is waited for one that may be alive
    assert [one.process.returncode for one in (worker, gateway) if one.process is not None] == [0, 0]
    for log in (worker.log, gateway.log):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert sum(line["event"] == "tracing.unsent" for line in lines) <= 1
        assert not [line for line in lines if line["logger"].startswith("opentelemetry")]
