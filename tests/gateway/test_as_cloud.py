"""A fleet as another fleet's cloud: the router's providers ask a real gateway, with a real worker behind it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from golek_client import Golek
from golek_wire.errors import (
    BadRequestError,
    ContextBudgetExceededError,
    DeadlineExceededError,
    ModelNotFoundError,
    RouteLoopError,
)
from golek_wire.replies import InferenceReply
from golek_wire.requests import InferenceRequest, Message, Params
from golek_worker.providers import quirks
from golek_worker.providers.anthropic import AnthropicProvider
from golek_worker.providers.base import Call
from golek_worker.providers.openai import OpenAIProvider
from golek_worker.providers.transport import Server
from tests.router.asking import IMAGE, SCHEMA, TOOLS, greedy, text
from tests.support.broker import NatsServer
from tests.support.fronts import Fleet, GatewayProcess
from tests.support.workers import WorkerProcess

LEASE = "A lease is a job that a worker has taken but not yet finished, with a deadline."
Cloudy = OpenAIProvider | AnthropicProvider


@pytest.fixture(params=["openai", "anthropic"])
async def there(request: pytest.FixtureRequest, fleet: Fleet) -> AsyncIterator[Cloudy]:
    """The gateway, by both of its surfaces."""
    server = Server("there", f"{fleet.gateway}/v1")
    own = quirks.KNOWN["golek"]
    provider: Cloudy = (
        OpenAIProvider(server, "", own) if request.param == "openai" else AnthropicProvider(server, "", own)
    )
    yield provider
    await provider.close()


def call(request: InferenceRequest, model: str = "golek-tiny", seconds: float = 20.0) -> Call:
    """For the model that is there."""
    return Call(model, request, "job-0123456789abcdef", seconds)


async def said(provider: Cloudy, request: InferenceRequest, model: str = "golek-tiny") -> InferenceReply:
    """The reply, whose text is what its pieces make."""
    *pieces, reply = [one async for one in provider.answer(call(request, model))]
    assert isinstance(reply, InferenceReply)
    assert "".join(one for one in pieces if isinstance(one, str)) == reply.text
    return reply


async def test_a_text(there: Cloudy) -> None:
    """In pieces and whole, with the fleet's own figures."""
    reply = await said(there, text(params=greedy(max_tokens=60)))
    assert reply.text.startswith(LEASE)
    assert reply.finish_reason == "stop"
    assert reply.tokens_out > 10
    short = await said(there, text(params=greedy(max_tokens=3)))
    assert (short.finish_reason, short.tokens_out) == ("length", 3)


async def test_tools(there: Cloudy) -> None:
    """A call that must be made is made, with arguments by its schema."""
    request = text(input="Weather in Paris?", params=greedy(max_tokens=60), tools=TOOLS[:1], tool_choice="required")
    reply = await said(there, request)
    assert reply.finish_reason == "tool_calls"
    (made,) = reply.tool_calls or []
    assert made.function.name == "get_weather"
    assert '"city"' in made.function.arguments


async def test_json_by_a_schema(there: Cloudy) -> None:
    """The schema is followed there."""
    reply = await said(there, text(response_format=SCHEMA, params=greedy(max_tokens=60)))
    assert reply.text.startswith("{")


async def test_errors(there: Cloudy) -> None:
    """What is wrong with a request is told as the fleet there said it."""
    with pytest.raises(ModelNotFoundError, match="golek-tny"):
        await said(there, text(), "golek-tny")
    with pytest.raises(BadRequestError, match="reads no images"):
        await said(there, InferenceRequest(messages=[Message("user", "", parts=IMAGE)]))
    with pytest.raises(ContextBudgetExceededError) as long:
        await said(there, text(input="word " * 9000))
    assert long.value.current_tokens > long.value.budget > 0


async def test_the_deadline_is_told(there: Cloudy) -> None:
    """And kept here, whatever happens there."""
    request = text(params=Params(max_tokens=1900, ignore_eos=True))
    with pytest.raises(DeadlineExceededError):
        _ = [one async for one in there.answer(call(request, seconds=0.2))]


async def test_who_leaves_is_not_written_for(there: Cloudy) -> None:
    """The connection ends, and with it the work: the next request need not wait for it."""
    for _ in range(3):
        request = text(params=Params(max_tokens=1900, ignore_eos=True))
        async with aclosing(there.answer(call(request))) as pieces:
            async for _ in pieces:
                break
    async with asyncio.timeout(10):
        assert (await said(there, text(params=greedy(max_tokens=5)))).tokens_out == 5


async def test_its_models_are_listed(there: Cloudy) -> None:
    """With the size of their contexts."""
    found = {one.id: one.context_size for one in await there.models()}
    assert found["golek-tiny"] > 0


async def test_what_only_a_fleet_can(fleet: Fleet) -> None:
    """Choices, expressions, samplers of its own."""
    provider = OpenAIProvider(Server("there", f"{fleet.gateway}/v1"), "", quirks.KNOWN["golek"])
    reply = await said(provider, text(params=Params(choice=["red", "blue"], min_p=0.1)))
    assert reply.text in ("red", "blue")
    await provider.close()


async def test_a_circle_of_fleets_has_an_end(nats_server: str, tmp_path: Path) -> None:
    """A fleet that names itself passes a request on as often as may be, and its callers are told of the circle within
    two seconds: also when they are many, and ask for what equal requests would share. No breaker opens by it.
    """
    with GatewayProcess(nats_server, tmp_path / "gateway") as front:
        (tmp_path / "providers.yaml").write_text(
            f"providers: {{next: {{dialect: openai, base_url: '{front.url}/v1', enabled: true, quirks: [golek], "
            "models: [{id: round}]}}"
        )
        (tmp_path / "routes.yaml").write_text("routes: {round: {targets: ['next:round'], policy: local_first}}")
        files = {f"{name.upper()}_FILE": tmp_path / f"{name}.yaml" for name in ("providers", "routes")}
        with WorkerProcess(nats_server, tmp_path / "router", "router", **files):
            async with Golek(nats_server, deadline=20) as golek:
                for _ in range(3):
                    with pytest.raises(RouteLoopError):
                        await golek.ask("round", "hi")
                with pytest.raises(RouteLoopError):
                    async with golek.stream("round", "hi") as stream:
                        _ = [piece async for piece in stream]
                since = time.monotonic()
                for words in ("equal", "{}"):
                    asked = (golek.ask("round", words.format(i), temperature=0) for i in range(20))
                    told = await asyncio.gather(*asked, return_exceptions=True)
                    assert [type(one) for one in told] == [RouteLoopError] * 20
                assert time.monotonic() - since < 4
                assert not (await golek.routes()).breakers


async def test_two_fleets_that_name_each_other(nats_server: str, tmp_path: Path) -> None:
    """Each passes on to the other what it cannot answer: 508 as soon as four routers have passed it on."""
    (tmp_path / "second").mkdir()
    second = NatsServer(tmp_path / "second").start()
    with contextlib.ExitStack() as ends:
        ends.callback(second.kill)
        a = ends.enter_context(GatewayProcess(nats_server, tmp_path / "gateway-a"))
        b = ends.enter_context(GatewayProcess(second.url, tmp_path / "gateway-b"))
        for name, bus, other in (("a", nats_server, b), ("b", second.url, a)):
            (tmp_path / f"{name}-providers.yaml").write_text(
                f"providers: {{other: {{dialect: openai, base_url: '{other.url}/v1', enabled: true, quirks: [golek], "
                "models: [{id: round}, {id: gone}]}}"
            )
            (tmp_path / f"{name}-routes.yaml").write_text(
                "defaults: {policy: local_first}\nroutes: {round: {targets: ['other:round']}}\n"
                "models: {gone: {fallback: ['other:gone']}}"
            )
            files = {f"{kind.upper()}_FILE": tmp_path / f"{name}-{kind}.yaml" for kind in ("providers", "routes")}
            ends.enter_context(WorkerProcess(bus, tmp_path / f"router-{name}", "router", **files))
        async with Golek(nats_server, deadline=20) as golek:
            since = time.monotonic()
            for model in ("round", "gone"):
                asked = (golek.ask(model, "equal", temperature=0) for _ in range(10))
                told = await asyncio.gather(*asked, return_exceptions=True)
                assert [type(one) for one in told] == [RouteLoopError] * 10
            assert time.monotonic() - since < 4
            assert not (await golek.routes()).breakers
