"""A cloud's model as a model of the fleet: images, unknown fields, vectors and errors, over the bus and over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from golek_client import Golek
from golek_wire.errors import BadRequestError, ProviderRefusedError
from golek_wire.requests import Message
from tests.router.asking import IMAGE
from tests.support.clouds import KEY, TEXT, Cloud
from tests.support.fronts import GatewayProcess
from tests.support.workers import WorkerProcess

ENTRY = """
providers:
  there:
    dialect: openai
    base_url: {url}
    key_env: THERE_KEY
    abilities: [tools, json_schema, vision]
    models: [{{id: large, context_size: 100000}}, {{id: vector, kinds: [embedding]}}]
  claude:
    dialect: anthropic
    base_url: {url}
    key_env: THERE_KEY
    abilities: [tools, json_schema, vision]
    models: [{{id: large, context_size: 100000}}]
"""


@pytest.fixture
async def routed(nats_server: str, tmp_path: Path, cloud: Cloud) -> AsyncIterator[tuple[str, str]]:
    """An echo worker, a router that knows the clouds, and a gateway: addresses of broker and gateway."""
    file = tmp_path / "providers.yaml"
    file.write_text(ENTRY.format(url=cloud.base_url))
    given = {"PROVIDERS_FILE": file, "THERE_KEY": KEY}
    with (
        WorkerProcess(nats_server, tmp_path / "echo"),
        WorkerProcess(nats_server, tmp_path / "router", "router", **given),
        GatewayProcess(nats_server, tmp_path) as gateway,
    ):
        yield nats_server, f"{gateway.url}/v1"


async def test_images_reach_a_cloud_by_every_surface(routed: tuple[str, str], cloud: Cloud) -> None:
    """The bus, OpenAI's chat and Responses, Anthropic's Messages; each cloud in its own protocol."""
    nats, url = routed
    shown: Any = IMAGE
    async with Golek(nats, deadline=20.0) as golek:
        for model in ("there:large", "claude:large"):
            reply = await golek.chat(model, [Message("user", "What is this?", parts=IMAGE)])
            assert reply.text == "I see 2 image."
            assert reply.route is not None
            assert reply.route.target == model
    async with openai.AsyncOpenAI(api_key="any", base_url=url, max_retries=0) as asking:
        chat = await asking.chat.completions.create(model="there:large", messages=[{"role": "user", "content": shown}])
        assert chat.choices[0].message.content == "I see 2 image."
        parts: Any = [
            {"type": "input_text", "text": "?"},
            {"type": "input_image", "image_url": "https://example.com/a.png"},
        ]
        response = await asking.responses.create(model="there:large", input=[{"role": "user", "content": parts}])
        assert response.output_text == "I see 1 image."
    async with anthropic.AsyncAnthropic(
        api_key="any", base_url=url.removesuffix("/v1"), max_retries=0
    ) as asking_claude:
        blocks: Any = [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
        ]
        message = await asking_claude.messages.create(
            model="claude:large", max_tokens=99, messages=[{"role": "user", "content": blocks}]
        )
        assert [getattr(block, "text", "") for block in message.content] == ["I see 1 image."]
    assert {one.path for one in cloud.asked} == {"/v1/chat/completions", "/v1/messages"}


async def test_no_worker_is_shown_an_image(routed: tuple[str, str]) -> None:
    """A model of the fleet that reads none refuses it, with the field."""
    nats, url = routed
    async with openai.AsyncOpenAI(api_key="any", base_url=url, max_retries=0) as asking:
        shown: Any = [{"role": "user", "content": IMAGE}]
        with pytest.raises(openai.BadRequestError, match="reads no images") as refused:
            await asking.chat.completions.create(model="echo", messages=shown)
        assert str(refused.value.param).startswith("messages[0].content[")
    async with Golek(nats, deadline=20.0) as golek:
        with pytest.raises(BadRequestError, match="reads no images"):
            await golek.chat("echo", [Message("user", "", parts=IMAGE)])


async def test_unknown_fields_reach_a_cloud_and_hurt_nobody_else(routed: tuple[str, str], cloud: Cloud) -> None:
    """What a cloud's newest API has can be asked before this fleet knows it; ours win where both say something."""
    _, url = routed
    more = {"verbosity": "low", "of_a_later_api": {"a": [1]}, "extra": {"seed_of_theirs": 7, "stream": False}}
    async with openai.AsyncOpenAI(api_key="any", base_url=url, max_retries=0) as asking:
        for model, said in (("there:large", TEXT), ("echo", "Hello")):
            chat = await asking.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "Hello"}], store=True, service_tier="auto",
                extra_body=more,
            )  # fmt: skip
            assert chat.choices[0].message.content == said
    (asked,) = cloud.asked
    told = {
        name: asked.body[name] for name in ("store", "service_tier", "verbosity", "of_a_later_api", "seed_of_theirs")
    }
    assert told == {
        "store": True, "service_tier": "auto", "verbosity": "low", "of_a_later_api": {"a": [1]}, "seed_of_theirs": 7
    }  # fmt: skip
    assert asked.body["stream"] is True
    assert "extra" not in asked.body


async def test_vectors_of_a_cloud(routed: tuple[str, str]) -> None:
    """As of an embedding model of the fleet."""
    nats, url = routed
    async with Golek(nats, deadline=20.0) as golek:
        assert (await golek.embed("there:vector", ["a", "bcd"])).vectors == [[1.0, 1.0, 0.5], [3.0, 1.0, 0.5]]
    async with openai.AsyncOpenAI(api_key="any", base_url=url, max_retries=0) as asking:
        found = await asking.embeddings.create(model="there:vector", input="abc")
        assert found.data[0].embedding == [3.0, 1.0, 0.5]


async def test_a_cloud_that_refuses_is_named(routed: tuple[str, str], cloud: Cloud) -> None:
    """The caller learns who said no, in that one's words, and never sees a key."""
    nats, url = routed
    cloud.always = "401"
    async with Golek(nats, deadline=20.0) as golek:
        with pytest.raises(ProviderRefusedError) as refused:
            await golek.ask("there:large", "Hello")
        assert refused.value.details["provider"] == "there"
        assert KEY not in f"{refused.value.message}{refused.value.details}"
        cloud.always = "400"
        with pytest.raises(BadRequestError, match="Invalid value") as wrong:
            await golek.ask("claude:large", "Hello")
        assert wrong.value.details["provider"] == "claude"
    async with openai.AsyncOpenAI(api_key="any", base_url=url, max_retries=0) as asking:
        with pytest.raises(openai.BadRequestError) as over_http:
            await asking.chat.completions.create(model="there:large", messages=[{"role": "user", "content": "Hello"}])
        body: Any = over_http.value.body
        assert body["provider"] == "there"
