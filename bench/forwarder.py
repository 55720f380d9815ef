"""What does a gateway cost that does all a gateway must, and has no bus behind it?

An OpenAI server that checks a key, decodes the request, keeps two rate limits, counts in Prometheus, traces a sample,
logs a JSON line, writes a row to SQLite, and forwards to `UPSTREAM`, decoding and encoding each event of a stream. A
peer of `gateway.py`, run by uvicorn in an environment of its own: `limits`, opentelemetry and aiohttp are not Golek's.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import aiosqlite
import msgspec
import structlog
from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

UPSTREAM = os.environ["UPSTREAM"]
KEYS = {hashlib.sha256(os.environ["KEY"].encode()).digest(): "bench"}
ROWS = os.environ["ROWS"]


class Message(msgspec.Struct, omit_defaults=True):
    """A turn."""

    role: str
    content: str | None = None


class Chat(msgspec.Struct, omit_defaults=True):
    """A request."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None


class Choice(msgspec.Struct, omit_defaults=True):
    """A text, or a piece of one."""

    index: int
    message: Message | None = None
    delta: dict[str, Any] | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    """What it cost."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(msgspec.Struct, omit_defaults=True):
    """An answer, or an event of one."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class Nowhere(SpanExporter):
    """Spans are made and thrown away."""

    def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002
        return SpanExportResult.SUCCESS


encode = msgspec.json.Encoder().encode
decode_chat = msgspec.json.Decoder(Chat).decode
decode_completion = msgspec.json.Decoder(Completion).decode
limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
RPM, TPM = parse("100000000/minute"), parse("1000000000/minute")
registry = CollectorRegistry()
requests = Counter("requests", "requests", ["model", "status"], registry=registry).labels("fake", "ok")
tokens = Counter("tokens", "tokens", ["model"], registry=registry).labels("fake")
seconds = Histogram("seconds", "seconds", ["model"], registry=registry).labels("fake")
provider = TracerProvider(sampler=TraceIdRatioBased(0.1))
provider.add_span_processor(BatchSpanProcessor(Nowhere()))
tracer = provider.get_tracer("forwarder")
structlog.configure(
    processors=[
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.JSONRenderer(serializer=lambda line, **_: encode(line).decode()),
    ],
    logger_factory=structlog.WriteLoggerFactory(file=Path(os.devnull).open("w")),  # noqa: SIM115 - for good
)
log = structlog.get_logger()


class Forwarder:
    """What is opened with the first request."""

    def __init__(self) -> None:
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        self.rows: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue(10_000)
        self.writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        async with aiosqlite.connect(ROWS) as database:
            await database.execute("pragma journal_mode=wal")
            await database.execute("pragma synchronous=normal")
            await database.execute(
                "create table if not exists requests(ts, model, key, status, ms, out, input, output)"
            )
            while True:
                batch = [await self.rows.get()]
                while len(batch) < 500 and not self.rows.empty():
                    batch.append(self.rows.get_nowait())
                await database.executemany("insert into requests values(?,?,?,?,?,?,?,?)", batch)
                await database.commit()
                await asyncio.sleep(0.05)

    def record(self, asked: Chat, began: float, written: int, output: str, span: Any) -> None:
        ms = (time.perf_counter() - began) * 1000
        requests.inc()
        tokens.inc(written)
        seconds.observe(ms / 1000)
        span.set_attributes({"gen_ai.operation.name": "chat", "gen_ai.usage.output_tokens": written})
        span.end()
        log.info("request", model=asked.model, key="bench", status="ok", ms=round(ms, 2), tokens_out=written)
        with contextlib.suppress(asyncio.QueueFull):
            row = (time.time(), asked.model, "bench", "ok", ms, written, asked.messages[-1].content, output)
            self.rows.put_nowait(row)


opened: list[Forwarder] = []


async def chat(request: Request) -> Response:
    """Forward one request."""
    if hashlib.sha256(request.headers.get("authorization", "")[7:].encode()).digest() not in KEYS:
        return Response(b"{}", 401)
    if not opened:
        opened.append(Forwarder())
    began = time.perf_counter()
    asked = decode_chat(await request.body())
    span = tracer.start_span("chat")
    allowed = await limiter.hit(RPM, "bench") and await limiter.hit(TPM, "bench", cost=asked.max_tokens or 256)
    if not allowed:
        return Response(b"{}", 429)
    if asked.stream:
        return StreamingResponse(relay(opened[0], asked, began, span), media_type="text/event-stream")
    async with opened[0].session.post(UPSTREAM, data=encode(asked)) as answer:
        completion = decode_completion(await answer.read())
    completion.model = asked.model
    message, usage = completion.choices[0].message, completion.usage
    assert message is not None
    assert usage is not None
    opened[0].record(asked, began, usage.completion_tokens, message.content or "", span)
    return Response(encode(completion), media_type="application/json")


async def relay(forwarder: Forwarder, asked: Chat, began: float, span: Any) -> AsyncIterator[bytes]:
    """Every event, decoded and encoded again."""
    left, written, text = b"", 0, []
    async with forwarder.session.post(UPSTREAM, data=encode(asked)) as answer:
        async for piece in answer.content.iter_any():
            *events, left = (left + piece).split(b"\n\n")
            for event in events:
                if event == b"data: [DONE]":
                    forwarder.record(asked, began, written, "".join(text), span)
                    yield b"data: [DONE]\n\n"
                    return
                chunk = decode_completion(event[6:])
                chunk.model = asked.model
                written += 1
                text += [choice.delta.get("content") or "" for choice in chunk.choices if choice.delta]
                yield b"data: " + encode(chunk) + b"\n\n"


app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
