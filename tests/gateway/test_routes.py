"""Over HTTP: an answer says how it came about, and how a request would be routed can be asked."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import openai
import pytest

from tests.support.fronts import GatewayProcess
from tests.support.workers import WorkerProcess

ROUTES = "routes:\n  smart: {targets: ['local:echo'], strategy: in_order, fallback: ['local:gone']}\n"
ASKED = {"messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture
def front(nats_server: str, tmp_path: Path) -> Iterator[str]:
    """A gateway where `auto` is meant without a model, a router with a name of its own, and an echo worker."""
    routes = tmp_path / "routes.yaml"
    routes.write_text(ROUTES)
    with (
        WorkerProcess(nats_server, tmp_path / "a"),
        WorkerProcess(nats_server, tmp_path / "router", "router", ROUTES_FILE=routes),
        GatewayProcess(nats_server, tmp_path, INFERENCE_AUTO_ROUTE_ENABLED="true") as gateway,
    ):
        yield gateway.url


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_an_answer_says_who_gave_it(front: str, http: aiohttp.ClientSession) -> None:
    """In headers and in the body, on each surface; `model` stays what the caller asked for."""
    asked: dict[str, dict[str, object]] = {
        "/v1/chat/completions": ASKED,
        "/v1/completions": {"prompt": "one two three"},
        "/v1/responses": {"input": "one two three"},
        "/v1/messages": ASKED | {"max_tokens": 20},
    }
    for path, body in asked.items():
        async with http.post(front + path, json=body | {"model": "smart"}) as answer:
            said = await answer.json()
            assert answer.status == 200, said
            assert answer.headers["x-golek-route"] == "local:echo", path
            assert answer.headers["x-golek-route-strategy"] == "in_order"
            assert "local:echo" in answer.headers["x-golek-route-reason"]
            assert answer.headers["x-golek-route-chain"].startswith("local:echo answered")
            assert float(answer.headers["x-golek-queue-ms"]) >= 0
            assert (said["model"], said["route"]["target"], said["route"]["model"]) == ("smart", "local:echo", "echo")


async def test_a_stream_says_it_at_its_end(front: str) -> None:
    """To OpenAI's own client: beside the usage where that is asked for, else with the reason why it ended."""
    async with openai.AsyncOpenAI(base_url=f"{front}/v1", api_key="none") as client:
        for options in ({}, {"stream_options": {"include_usage": True}}):
            stream = await client.chat.completions.create(model="smart", stream=True, **ASKED, **options)  # type: ignore[call-overload]
            chunks = [chunk async for chunk in stream]
            told = [chunk.model_extra["route"]["target"] for chunk in chunks if "route" in (chunk.model_extra or {})]
            assert told == ["local:echo"]
            assert "route" in chunks[-1].model_extra
            assert all(chunk.choices for chunk in chunks if chunk.usage is None)


async def test_without_a_router_nothing_is_said(front: str, http: aiohttp.ClientSession) -> None:
    """A model's own answer has no field and no header more than without a router."""
    async with http.post(f"{front}/v1/chat/completions", json=ASKED | {"model": "echo"}) as answer:
        assert "route" not in await answer.json()
        assert not [name for name in answer.headers if name.lower().startswith("x-golek-route")]


async def test_a_request_without_a_model_asks_for_auto(front: str, http: aiohttp.ClientSession) -> None:
    """With INFERENCE_AUTO_ROUTE_ENABLED; `local:` before a name keeps it from all others, here as on the bus."""
    async with http.post(f"{front}/v1/chat/completions", json=ASKED) as answer:
        said = await answer.json()
        assert (said["model"], said["route"]["policy"]) == ("auto", "never_cloud")
    async with http.post(f"{front}/v1/chat/completions", json=ASKED | {"model": "local:auto"}) as answer:
        assert (await answer.json())["route"]["policy"] == "local_only"
    narrow = ASKED | {"model": "local:auto", "route": {"policy": "cloud_first"}}
    async with http.post(f"{front}/v1/chat/completions", json=narrow) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "route.policy")


async def test_who_names_no_model_hears_of_auto(nats_server: str, tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Where a router runs and no setting says that it is meant; the router itself is nobody to ask."""
    with (
        WorkerProcess(nats_server, tmp_path / "router", "router"),
        GatewayProcess(nats_server, tmp_path) as gateway,
    ):
        async with http.post(f"{gateway.url}/v1/embeddings", json={"input": "x"}) as answer:
            said = (await answer.json())["error"]
    assert (answer.status, said["param"]) == (400, "model")
    assert "which one is meant? There is auto" in said["message"]


async def test_it_can_be_explained(front: str, http: aiohttp.ClientSession) -> None:
    """POST /v1/route/explain gives the decision without running it, of a request of the bus and of a chat completion;
    GET /v1/routes the names, which stand among the models as well.
    """
    for body in ({"model": "smart", "request": {"input": "hi"}}, {"model": "smart"} | ASKED):
        async with http.post(f"{front}/v1/route/explain", json=body) as answer:
            said = await answer.json()
            assert answer.status == 200, said
            assert [one["target"] for one in said["candidates"]] == ["local:echo"]
            assert [one["target"] for one in said["rejected"]] == ["local:gone"]
    beside = {"model": "smart", "request": {"input": "hi"}, "route": {"policy": "never_cloud"}}
    async with http.post(f"{front}/v1/route/explain", json=beside) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "route")
    async with http.get(f"{front}/v1/routes") as answer:
        assert {"auto", "smart"} <= {offer["name"] for offer in (await answer.json())["offers"]}
    async with http.get(f"{front}/v1/models") as answer:
        owners = {one["id"]: one["owned_by"] for one in json.loads(await answer.text())["data"]}
    assert owners.items() >= {"auto": "golek", "smart": "golek", "echo": "golek"}.items()
    assert "router" not in owners
