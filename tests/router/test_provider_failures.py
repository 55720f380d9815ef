"""What is told of a cloud that does not answer: which error, whether and when to ask again, and never a key."""

import asyncio
import logging
import socket
import time

import pytest

from golek_wire.errors import (
    BadRequestError,
    ContextBudgetExceededError,
    DeadlineExceededError,
    InferenceServiceError,
    ModelNotFoundError,
    PayloadTooLargeError,
    ProviderFailedError,
    ProviderRefusedError,
    RateLimitedError,
    RetriableError,
    to_reply,
)
from golek_wire.requests import EmbeddingRequest
from golek_worker.providers import quirks
from golek_worker.providers.anthropic import AnthropicProvider
from golek_worker.providers.failures import of_event, of_response, retry_after_ms
from golek_worker.providers.openai import OpenAIProvider
from golek_worker.providers.transport import Server
from tests.router.asking import ask, everything, text
from tests.router.conftest import server
from tests.support.clouds import KEY, TEXT, Cloud
from tests.support.ports import free_port

REFUSED = [
    ("400", BadRequestError, None),
    ("401", ProviderRefusedError, None),
    ("403", ProviderRefusedError, None),
    ("404", ModelNotFoundError, None),
    ("408", ProviderFailedError, 1000),
    ("409", ProviderFailedError, 1000),
    ("413", PayloadTooLargeError, None),
    ("422", BadRequestError, None),
    ("429", RateLimitedError, 7000),
    ("429-ms", RateLimitedError, 250),
    ("429-bare", RateLimitedError, 1000),
    ("429-quota", ProviderRefusedError, None),
    ("500", ProviderFailedError, 1000),
    ("502", ProviderFailedError, 1000),
    ("503", ProviderFailedError, 2500),
    ("529", ProviderFailedError, 1000),
    ("html", ProviderFailedError, 1000),
    ("detail", ProviderFailedError, 1000),
    ("error-text", ProviderFailedError, 1000),
    ("gemini-429", RateLimitedError, 34000),
    ("gemini-key", ProviderRefusedError, None),
    ("context", ContextBudgetExceededError, None),
    ("redirect", ProviderRefusedError, None),
    ("gzip", ProviderFailedError, 1000),
    ("cut-before", ProviderFailedError, 1000),
    ("cut", ProviderFailedError, 1000),
    ("no-end", ProviderFailedError, 1000),
    ("malformed", ProviderFailedError, 1000),
    ("error-event", ProviderFailedError, 1000),
    ("error-bare", ProviderFailedError, 1000),
    ("error-data", RateLimitedError, 1000),
    ("huge-line", ProviderFailedError, 1000),
]
"""By fault: the error, and when it says to come back."""


@pytest.fixture(params=["openai", "anthropic", "google"])
def any_cloud(request: pytest.FixtureRequest) -> OpenAIProvider | AnthropicProvider:
    """Each of the three."""
    found: OpenAIProvider | AnthropicProvider = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(("fault", "kind", "retry_ms"), REFUSED)
async def test_each_fault_has_its_error(
    any_cloud: OpenAIProvider | AnthropicProvider, cloud: Cloud, gemini: Cloud, fault: str,
    kind: type[InferenceServiceError], retry_ms: int | None, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Exactly this class, with the provider's name and its word on when to come back; the next request is answered."""
    caplog.set_level(logging.DEBUG)
    asked = gemini if any_cloud.name == "gemini" else cloud
    asked.then(fault)
    with pytest.raises(InferenceServiceError) as failed:
        await ask(any_cloud, text())
    error = failed.value
    assert type(error) is kind
    assert error.details["provider"] == any_cloud.name
    assert to_reply(error, "r").error.provider == any_cloud.name
    assert (error.retry_after_ms if isinstance(error, RetriableError) else None) == retry_ms
    assert KEY not in f"{error!r}{error}{error.details}{any_cloud!r}{vars(any_cloud)['_transport']!r}{caplog.text}"
    assert (await ask(any_cloud, text())).text == TEXT
    assert all(one.path != "/v1/elsewhere" for one in asked.asked)


async def test_vectors_fail_as_texts_do(openai: OpenAIProvider, cloud: Cloud) -> None:
    """The same errors for the other route."""
    cloud.then("429", "500")
    for kind in (RateLimitedError, ProviderFailedError):
        with pytest.raises(kind):
            await everything(openai, EmbeddingRequest("a"))


async def test_a_date_says_when_to_come_back(openai: OpenAIProvider, cloud: Cloud) -> None:
    """As HTTP has it, beside seconds."""
    cloud.then("429-date")
    with pytest.raises(RateLimitedError) as limited:
        await ask(openai, text())
    assert 20_000 < limited.value.retry_after_ms <= 30_000


async def test_a_wrong_key_is_not_repeated(cloud: Cloud) -> None:
    """Clouds repeat a key that they refuse; nobody here does."""
    wrong = "sk-wrong-0123456789"
    provider = OpenAIProvider(server(cloud, "openai"), wrong)
    with pytest.raises(ProviderRefusedError) as refused:
        await ask(provider, text())
    assert "does not accept the key" in refused.value.message
    cloud.always = "repeats-key"
    await provider.close()
    right = OpenAIProvider(server(cloud, "openai"), KEY)
    with pytest.raises(BadRequestError) as wrong_header:
        await ask(right, text())
    assert KEY not in wrong_header.value.message
    assert "abcdefghijk" not in wrong_header.value.message
    await right.close()


@pytest.mark.parametrize(("fault", "seconds"), [("hang", {"first_byte_s": 0.3, "connect_s": 0.1}),
                                                ("hang-midway", {"silence_s": 0.3})])  # fmt: skip
async def test_silence_has_an_end(cloud: Cloud, fault: str, seconds: dict[str, float]) -> None:
    """Before the first byte and between two: an error that may be asked again, and the connection is gone."""
    provider = OpenAIProvider(server(cloud, "openai", **seconds), KEY)
    cloud.then(fault)
    began = time.monotonic()
    with pytest.raises(ProviderFailedError, match=r"did not begin to answer|said nothing"):
        await everything(provider, text())
    assert time.monotonic() - began < 2.0
    await asyncio.wait_for(cloud.left.wait(), 5)
    await provider.close()


@pytest.mark.parametrize("fault", ["hang", "hang-midway"])
async def test_the_deadline_ends_it_before(openai: OpenAIProvider, cloud: Cloud, fault: str) -> None:
    """Whatever the provider may take: after the deadline nobody waits."""
    cloud.then(fault)
    with pytest.raises(DeadlineExceededError) as late:
        await ask(openai, text(), 0.3)
    assert late.value.details["provider"] == "openai"
    with pytest.raises(DeadlineExceededError):
        await ask(openai, text(), 0.0)


async def test_nobody_there() -> None:
    """Refused at once; a host that swallows the connection is given up by `connect_s`."""
    gone = OpenAIProvider(Server("gone", f"http://127.0.0.1:{free_port()}/v1"), "")
    with pytest.raises(ProviderFailedError, match="gone cannot be reached"):
        await ask(gone, text())
    await gone.close()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = [_filler(full) for _ in range(2)]
        deaf = OpenAIProvider(
            Server("deaf", f"http://127.0.0.1:{full.getsockname()[1]}/v1", connect_s=0.3, first_byte_s=0.3), ""
        )
        began = time.monotonic()
        with pytest.raises(ProviderFailedError, match="deaf"):
            await ask(deaf, text())
        assert time.monotonic() - began < 3.0
        await deaf.close()
        for filler in fillers:
            filler.close()


async def test_a_kept_connection_that_is_gone_is_not_an_error(cloud: Cloud) -> None:
    """Servers close connections that rest; the request that finds one closed is asked again, unseen."""
    provider = OpenAIProvider(server(cloud, "openai"), KEY, quirks.PLAIN)
    cloud.then(None, "stale")
    assert (await ask(provider, text())).text == TEXT
    assert (await ask(provider, text())).text == TEXT
    assert len(cloud.asked) == 3
    await provider.close()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "3"}, 3000),
        ({"retry-after": "0.5"}, 500),
        ({"retry-after": "3", "retry-after-ms": "20"}, 20),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40_000),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "99999999"}, 24 * 3600 * 1000),
        ({}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], expected: int | None) -> None:
    """Milliseconds, seconds or a date, whichever is there; nonsense is none, and nobody is away for days."""
    assert retry_after_ms(headers, now_s=60.0) == expected


@pytest.mark.parametrize(
    ("body", "sizes"),
    [
        (b'{"error":{"message":"prompt is too long: 210000 tokens > 200000 maximum","type":"invalid_request_error"}}',
         (210_000, 200_000)),
        ((b'[{"error":{"message":"The input token count (1200000) exceeds the maximum number of tokens allowed '
         b'(1048576).","status":"INVALID_ARGUMENT"}}]'), (1_200_000, 1_048_576)),
        ((b'{"error":{"code":400,"type":"exceed_context_size_error","message":"request exceeds",'
         b'"n_prompt_tokens":9006,"n_ctx":2048}}'), (9006, 2048)),
        ((b'{"error":{"code":"CONTEXT_BUDGET_EXCEEDED","message":"too long","details":{"current_tokens":99,'
         b'"budget":64}}}'), (99, 64)),
    ],
)  # fmt: skip
def test_a_context_that_is_too_long_says_its_sizes(body: bytes, sizes: tuple[int, int]) -> None:
    """In whichever words: a longer context may be found elsewhere."""
    error = of_response("p", 400, {}, body)
    assert isinstance(error, ContextBudgetExceededError)
    assert (error.current_tokens, error.budget) == sizes


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "rate_limit_error", "message": "m"}, RateLimitedError),
        ({"type": "overloaded_error", "message": "m"}, ProviderFailedError),
        ({"code": 429, "message": "m"}, RateLimitedError),
        ({"code": "invalid_api_key"}, ProviderRefusedError),
        ({"type": "invalid_request_error", "message": "m"}, BadRequestError),
        ({"status": "UNAVAILABLE"}, ProviderFailedError),
        ({"code": 200}, ProviderFailedError),
        ("no capacity", ProviderFailedError),
        (None, ProviderFailedError),
    ],
)
def test_errors_inside_a_stream(error: object, kind: type[InferenceServiceError]) -> None:
    """By type, code or status; of those that nobody knows it is taken that they pass."""
    assert type(of_event("p", error)) is kind


def _filler(server: socket.socket) -> socket.socket:
    """A connection that takes a place in the queue of `server`, which accepts none."""
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex(server.getsockname())
    return filler
