"""A client in a trace: what its requests carry, and the spans it makes of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer, format_span_id, format_trace_id, get_current_span

from golek_client import BadRequestError, Golek
from golek_client.otel import Spans, operation_of
from golek_client.tracing import within
from golek_wire.subjects import Kind
from tests.support.scripted_worker import Job, ScriptedWorker

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Program:
    """A program that traces, and its client."""

    def __init__(self, golek: Golek, tracer: Tracer, exporter: InMemorySpanExporter) -> None:
        self.golek = golek
        self.tracer = tracer
        self._exporter = exporter

    def span(self) -> ReadableSpan:
        """The one span that ended."""
        (span,) = self._exporter.get_finished_spans()
        return span


@pytest.fixture
async def program(nats_server: str) -> AsyncIterator[Program]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("program")
    async with Golek(nats_server, deadline=10.0, tracer=Spans(tracer)) as golek:
        yield Program(golek, tracer, exporter)


async def answered(worker: ScriptedWorker, asking: Any) -> Job:
    """The request that somebody asks, answered."""
    task = asyncio.create_task(asking)
    job = await worker.next()
    await job.final("Hello there")
    await task
    return job


async def test_a_named_trace_is_carried(golek: Golek, worker: ScriptedWorker) -> None:
    """What is asked within it carries both headers, nothing besides; what is asked before and after carries none."""
    with within(PARENT, "vendor=1"):
        job = await answered(worker, golek.ask("tiny", "hi"))
    assert (job.headers["traceparent"], job.headers["tracestate"]) == (PARENT, "vendor=1")
    for name in ("", "nonsense"):
        with within(name, "vendor=1"):
            job = await answered(worker, golek.ask("tiny", "hi"))
        assert not {"traceparent", "tracestate"} & set(job.headers)
    assert "traceparent" not in (await answered(worker, golek.ask("tiny", "hi"))).headers


async def test_a_request_is_a_span(program: Program, worker: ScriptedWorker) -> None:
    """A child of the span that its program is in; the fleet is told of the request's own, and the answer's figures are
    in it."""
    with program.tracer.start_as_current_span("agent") as agent:
        job = await answered(worker, program.golek.ask("tiny", "hi"))
        assert get_current_span() is agent
    spans = program._exporter.get_finished_spans()
    span = next(span for span in spans if span.name != "agent")
    assert (span.name, span.kind.name) == ("text_completion tiny", "CLIENT")
    assert span.context is not None
    assert span.parent == agent.get_span_context()
    trace_id, span_id = format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)
    assert job.headers["traceparent"] == f"00-{trace_id}-{span_id}-{span.context.trace_flags:02x}"
    assert span.attributes is not None
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "golek",
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": "tiny",
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.output_tokens": 1,
        "gen_ai.response.finish_reasons": ("stop",),
        "golek.job_id": job.job_id,
        "golek.worker_id": "",
    }


async def test_an_error_is_the_spans(program: Program, worker: ScriptedWorker) -> None:
    """Its code, and not its message, which may quote the prompt."""
    asking = asyncio.create_task(program.golek.ask("tiny", "hi"))
    await (await worker.next()).fail(BadRequestError("stop: 'a secret' is too long"))
    with pytest.raises(BadRequestError):
        await asking
    span = program.span()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "BAD_REQUEST")
    assert "secret" not in span.to_json()


async def test_a_stream_that_is_left_is_cancelled(program: Program, worker: ScriptedWorker) -> None:
    """Its span ends when its reader leaves."""
    stream = program.golek.stream("tiny", "hi")
    async with stream:
        job = await worker.next()
        await job.chunk(1, 0, "Hello")
        assert await anext(stream) == "Hello"
    assert program.span().status.description == "CANCELLED"
    assert await worker.next_cancel() == job.job_id


async def test_a_stream_lasts_until_its_end(program: Program, worker: ScriptedWorker) -> None:
    """The span of one that was read whole has its figures, and no error."""

    async def read() -> str:
        return "".join([delta async for delta in program.golek.stream("tiny", "hi")])

    reading = asyncio.create_task(read())
    job = await worker.next()
    await job.chunk(1, 0, "Hello")
    await job.final("Hello there")
    assert await reading == "Hello there"
    span = program.span()
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes is not None
    assert span.attributes["gen_ai.usage.output_tokens"] == 1


@pytest.mark.parametrize(
    ("kind", "payload", "operation"),
    [
        ("inference", b'{"input":"say \\"messages\\""}', "text_completion"),
        ("inference", b'{"messages":[],"stream":true}', "chat"),
        ("inference", b'{"messages":null,"input":"x"}', "text_completion"),
        ("inference", b'{"input":"' + b"x" * 65536 + b'"}', "chat"),
        ("inference", b"no JSON", "text_completion"),
        ("embedding", b"{}", "embeddings"),
        ("rerank", b"{}", "rerank"),
    ],
)
def test_what_is_asked_for(kind: Kind, payload: bytes, operation: str) -> None:
    """As the conventions name it; of a large request what it most likely is."""
    assert operation_of(kind, payload) == operation
