"""`InferenceServiceProvider`: a fleet among the providers of another gateway."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp.web
import pytest

from golek_client.http import InferenceServiceProvider, error_of
from golek_wire.errors import (
    BadRequestError,
    DeadlineExceededError,
    InternalError,
    ModelNotFoundError,
    QueueFullError,
    RateLimitedError,
    TemporaryResourceError,
)
from tests.support.fronts import Fleet
from tests.support.ports import free_port

LEASE = "A lease is a job that a worker has taken but not yet finished, with a deadline."


@pytest.fixture
async def provider(fleet: Fleet) -> AsyncIterator[InferenceServiceProvider]:
    async with InferenceServiceProvider(base_url=fleet.gateway, timeout=30.0) as found:
        yield found


@pytest.mark.parametrize("name", ["golek-tiny", "inference:golek-tiny", "local:golek-tiny"])
async def test_it_asks_with_the_prefix_of_a_gateway(provider: InferenceServiceProvider, name: str) -> None:
    """`inference:` and `local:` are the other gateway's words for this fleet."""
    answer = await provider.chat(name, [{"role": "user", "content": "What is a lease?"}], temperature=0)
    assert (answer.choices[0].message.content or "").startswith(LEASE)
    assert answer.usage.completion_tokens > 10
    assert (await provider.complete(name, "What is a lease?", temperature=0)).startswith(LEASE)


async def test_a_stream_gives_the_chunks_as_they_are(provider: InferenceServiceProvider) -> None:
    """What another gateway passes on to its callers."""
    chunks = [chunk async for chunk in provider.stream("golek-tiny", "What is a lease?", temperature=0)]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text.startswith(LEASE)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_it_lists_loads_and_unloads_models(provider: InferenceServiceProvider) -> None:
    """What seed 004's gateway wants of a provider."""
    assert "golek-tiny" in [model.id for model in await provider.models()]
    assert (await provider.unload("inference:golek-tiny"))["status"] == "available"
    assert (await provider.load("inference:golek-tiny"))["status"] == "loaded"


async def test_errors_are_typed(provider: InferenceServiceProvider) -> None:
    """A caller tells them apart without reading texts."""
    with pytest.raises(ModelNotFoundError) as missing:
        await provider.chat("golek-tny", "Hello")
    assert missing.value.details["did_you_mean"] == "golek-tiny"
    with pytest.raises(BadRequestError, match="temperature") as wrong:
        await provider.chat("golek-tiny", "Hello", temperature="hot")
    assert wrong.value.details["param"] == "temperature"
    with pytest.raises(BadRequestError, match="timeout"):
        InferenceServiceProvider(provider.base_url, timeout=0)


async def test_a_call_ends_by_its_timeout(fleet: Fleet) -> None:
    """The fleet is told how long the caller waits, and stops by then."""
    async with InferenceServiceProvider(fleet.gateway, timeout=0.5) as hasty:
        with pytest.raises(DeadlineExceededError):
            await hasty.chat("golek-tiny", "Hello", max_tokens=1900, ignore_eos=True, n=8)


async def test_nobody_there_is_a_sentence() -> None:
    """No connection: a retriable error that names the address."""
    async with InferenceServiceProvider(f"http://127.0.0.1:{free_port()}", timeout=2.0, retries=0) as nowhere:
        with pytest.raises(TemporaryResourceError, match="cannot be reached"):
            await nowhere.models()
        assert not await nowhere.health()


class Refusing:
    """A server that refuses the first requests, and breaks streams off, or says no more while it hangs."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.asked = 0
        self.event = b'{"choices":[]}'
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def chat(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        self.asked += 1
        if self.asked <= self.refusals:
            error = {"code": "QUEUE_FULL", "message": "full", "type": "retriable", "details": {}}
            return aiohttp.web.json_response({"error": error}, status=429, headers={"retry-after-ms": "5"})
        response = aiohttp.web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: %b\n\n" % self.event)
        await self.goes_on.wait()
        return response


@pytest.fixture
async def refusing(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Refusing, str]]:
    made = Refusing(request.param)
    app = aiohttp.web.Application()
    app.router.add_post("/v1/chat/completions", made.chat)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
    yield made, f"http://127.0.0.1:{port}/v1/"
    await runner.cleanup()


@pytest.mark.parametrize("refusing", [2], indirect=True)
async def test_it_asks_again_before_the_first_byte_and_never_after(refusing: tuple[Refusing, str]) -> None:
    """Twice refused, then answered; a stream that breaks off is an error, not a second question."""
    server, url = refusing
    async with InferenceServiceProvider(url, timeout=10.0) as provider:
        with pytest.raises(TemporaryResourceError, match="broke off"):
            _ = [chunk async for chunk in provider.stream("any", "Hello")]
    assert server.asked == 3


@pytest.mark.parametrize("refusing", [0], indirect=True)
async def test_the_timeout_ends_no_work_of_the_readers(refusing: tuple[Refusing, str]) -> None:
    """Who reads slowly is told that the time is up when it wants the next chunk, not cancelled in what it does."""
    server, url = refusing
    server.goes_on.clear()
    async with InferenceServiceProvider(url, timeout=0.3) as hasty:
        chunks = hasty.stream("any", "Hello")
        assert await anext(chunks) == {"choices": []}
        await asyncio.sleep(0.5)
        with pytest.raises(DeadlineExceededError):
            await anext(chunks)
    server.goes_on.set()


@pytest.mark.parametrize("refusing", [0], indirect=True)
@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (b"words", InternalError),
        (b"[]", InternalError),
        (b'{"error": "words"}', InternalError),
        (b'{"error": {"code": "DEADLINE_EXCEEDED"}}', DeadlineExceededError),
        (b'{"choices": [], "error": null}', TemporaryResourceError),
    ],
)
async def test_an_event_that_is_no_chunk_is_a_typed_error(
    refusing: tuple[Refusing, str], event: bytes, kind: type[Exception]
) -> None:
    """Whatever stands in a stream; one whose `error` is null is a chunk, and here the last before the stream breaks."""
    server, url = refusing
    server.event = event
    async with InferenceServiceProvider(url, timeout=10.0) as provider:
        with pytest.raises(kind):
            _ = [chunk async for chunk in provider.stream("any", "Hello")]


@pytest.mark.parametrize("refusing", [9], indirect=True)
async def test_it_gives_up_after_its_retries(refusing: tuple[Refusing, str]) -> None:
    """The last refusal is what the caller sees."""
    server, url = refusing
    async with InferenceServiceProvider(url, timeout=10.0, retries=1) as provider:
        with pytest.raises(QueueFullError) as full:
            await provider.chat("any", "Hello")
    assert server.asked == 2
    assert full.value.retry_after_ms == 5


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, b'{"error":{"message":"slow","type":"rate_limit_error","code":"rate_limit_exceeded"}}', RateLimitedError),
        (504, b"<html>gateway timeout</html>", DeadlineExceededError),
        (502, b"", TemporaryResourceError),
        (418, b"[]", BadRequestError),
        (500, b'{"error":"words"}', InternalError),
    ],
)
def test_errors_of_others_become_the_nearest(status: int, body: bytes, kind: type[Exception]) -> None:
    """A proxy in between, or OpenAI's own words."""
    assert type(error_of(status, {}, body)) is kind
