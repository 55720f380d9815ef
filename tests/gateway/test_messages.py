"""Anthropic's Messages API by Anthropic's own client."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

from tests.support.broker import NatsServer
from tests.support.fronts import Fleet, GatewayProcess
from tests.support.workers import WorkerProcess

MODEL = "golek-tiny"
GREEDY: dict[str, Any] = {"extra_body": {"temperature": 0}}
"""This client knows no `temperature` any more; older ones do."""
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}
ASK: list[Any] = [{"role": "user", "content": "What is a lease?"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the current weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
IN_PARIS: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Anthropic]:
    with Anthropic(base_url=fleet.gateway, api_key="none", _strict_response_validation=True) as made:
        yield made


@pytest.fixture
async def asynchronous(fleet: Fleet) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=fleet.gateway, api_key="none", _strict_response_validation=True) as made:
        yield made


def test_a_message_has_all_that_anthropic_says(client: Anthropic) -> None:
    """Id, blocks, why it ended, what it cost; and the headers beside it."""
    raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=200, messages=ASK, **GREEDY)
    answer = raw.parse()
    assert answer.id == f"msg_{raw.headers['x-golek-job']}"
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    assert (answer.type, answer.role, answer.model, answer.stop_reason) == ("message", "assistant", MODEL, "end_turn")
    (block,) = answer.content
    assert block.type == "text"
    assert block.text
    assert answer.usage.output_tokens > 0
    assert answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0) > 0


def test_a_stream_is_the_message_in_pieces(client: Anthropic) -> None:
    """Events in Anthropic's order; text and reason as in the whole answer."""
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 200, "messages": ASK, **GREEDY}
    whole = client.messages.create(**asked)
    events = list(client.messages.create(**asked, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    with client.messages.stream(**asked) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert [block.text for block in final.content if block.type == "text"] == [text]
    assert [block.to_dict() for block in whole.content] == [{"citations": None, "text": text, "type": "text"}]
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
    read = final.usage.input_tokens + (final.usage.cache_read_input_tokens or 0)
    assert read == whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0)


async def test_a_tool_is_called_and_answered(asynchronous: AsyncAnthropic) -> None:
    """Streamed: the call's arguments come as JSON in pieces, its result goes back, and the model answers."""
    choice: Any = {"type": "any"}
    async with asynchronous.messages.stream(
        model=MODEL, max_tokens=200, messages=IN_PARIS, tools=[WEATHER], tool_choice=choice, **GREEDY
    ) as stream:
        async for _ in stream:
            pass
        first = await stream.get_final_message()
    (call,) = first.content
    assert call.type == "tool_use"
    assert (call.name, call.input, first.stop_reason) == ("get_weather", {"city": "Paris"}, "tool_use")
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "22 degrees"}]}
    turns: list[Any] = [*IN_PARIS, first.to_param(), {"role": "user", "content": [result]}]
    second = await asynchronous.messages.create(model=MODEL, max_tokens=40, messages=turns, tools=[WEATHER], **GREEDY)
    (block,) = second.content
    assert block.type == "text"


def test_one_tool_may_be_named(client: Anthropic) -> None:
    """And `none` keeps the model from calling."""
    other = WEATHER | {"name": "get_time"}
    named: Any = {"type": "tool", "name": "get_time", "disable_parallel_tool_use": True}
    none: Any = {"type": "none"}
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": IN_PARIS, "tools": [WEATHER, other]}
    (call,) = client.messages.create(**asked, tool_choice=named, **GREEDY).content
    assert call.type == "tool_use"
    assert call.name == "get_time"
    answer = client.messages.create(**asked, tool_choice=none, **GREEDY)
    assert [block.type for block in answer.content] == ["text"]


def test_why_it_ended_is_told(client: Anthropic) -> None:
    """A stop sequence by its name, the limit by its own."""
    whole = client.messages.create(model=MODEL, max_tokens=200, messages=ASK, **GREEDY)
    text = "".join(block.text for block in whole.content if block.type == "text")
    word = text.split()[2]
    asked: dict[str, Any] = {"model": MODEL, "messages": ASK, **GREEDY}
    stopped = client.messages.create(**asked, max_tokens=200, stop_sequences=["zebra", word])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", word)
    *_, last, _ = client.messages.create(**asked, max_tokens=200, stop_sequences=[word], stream=True)
    assert last.type == "message_delta"
    assert (last.delta.stop_reason, last.delta.stop_sequence) == ("stop_sequence", word)
    short = client.messages.create(**asked, max_tokens=2)
    assert (short.stop_reason, short.stop_sequence) == ("max_tokens", None)


def test_a_form_is_followed(client: Anthropic) -> None:
    """`output_config.format` with a JSON schema."""
    schema = {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}, "required": ["mood"]}
    config: Any = {"format": {"type": "json_schema", "schema": schema | {"additionalProperties": False}}}
    answer = client.messages.create(model=MODEL, max_tokens=200, messages=ASK, output_config=config, **GREEDY)
    (block,) = answer.content
    assert block.type == "text"
    assert json.loads(block.text)["mood"] in ("good", "bad")


def test_a_form_is_parsed(client: Anthropic) -> None:
    """`parse` gives an object of the class that was asked for."""

    class Mood(BaseModel):
        good: bool

    answer = client.messages.parse(model=MODEL, max_tokens=200, messages=ASK, output_format=Mood, **GREEDY)
    assert isinstance(answer.parsed_output, Mood)


def test_what_coding_agents_send_is_understood(client: Anthropic) -> None:
    """System blocks with cache marks, reminders beside the question, betas, tools with cache marks, user ids."""
    mark: Any = {"type": "ephemeral"}
    system: list[Any] = [
        {"type": "text", "text": "You are a coding agent.", "cache_control": mark},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    said: list[Any] = [
        {"type": "text", "text": "<system-reminder>Today is Monday.</system-reminder>"},
        {"type": "text", "text": "hello", "cache_control": mark},
    ]
    extra = {"context_management": {"edits": []}, "output_config": {"effort": "high"}}
    answer = client.messages.create(
        model=MODEL, max_tokens=32, system=system, messages=[{"role": "user", "content": said}],
        tools=[WEATHER | {"cache_control": mark}], thinking={"type": "adaptive"}, metadata={"user_id": "user_1"},
        extra_headers={"anthropic-beta": "claude-code-20250219"}, extra_query={"beta": "true"}, extra_body=extra,
    )  # fmt: skip
    assert answer.content
    history: list[Any] = [
        {"role": "user", "content": said},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "A greeting.", "signature": ""},
            {"type": "text", "text": "Hello!"},
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": "no such city"},
            {"type": "text", "text": "And now?"},
        ]},
    ]  # fmt: skip
    answer = client.messages.create(model=MODEL, max_tokens=32, system=system, messages=history, tools=[WEATHER])
    assert answer.stop_reason in ("end_turn", "max_tokens", "tool_use")


def test_tokens_are_counted(client: Anthropic) -> None:
    """As many as the message then costs, system and tools included."""
    asked: dict[str, Any] = {"model": MODEL, "messages": IN_PARIS, "system": "Be brief.", "tools": [WEATHER]}
    count = client.messages.count_tokens(**asked)
    usage = client.messages.create(**asked, max_tokens=1).usage
    assert count.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_the_beta_client_is_served_as_well(client: Anthropic) -> None:
    """It asks on the same paths."""
    answer = client.beta.messages.create(model=MODEL, max_tokens=9, messages=ASK, betas=["whatever"])
    assert answer.usage.output_tokens == 9
    with client.beta.messages.stream(model=MODEL, max_tokens=9, messages=ASK) as stream:
        assert stream.get_final_message().stop_reason == "max_tokens"


def test_models_are_listed_in_anthropics_form(client: Anthropic) -> None:
    """To who sends `anthropic-version`; everybody else gets OpenAI's."""
    page = client.models.list()
    assert MODEL in [model.id for model in page.data]
    found = client.models.retrieve(MODEL)
    assert (found.type, found.id, found.max_input_tokens) == ("model", MODEL, 2048)
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody")
    told = httpx2.get(f"{str(client.base_url).rstrip('/')}/v1/models").json()
    assert told["object"] == "list"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"max_tokens": -1}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].source"),
        ({"messages": [*ASK, {"role": "assistant", "content": "It is"}]}, "messages[1].role"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_anthropics_form(client: Anthropic, wrong: dict[str, Any], param: str, stream: bool) -> None:
    """Type, message and the field in the caller's words, as a status also where a stream was asked for."""
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 9, "messages": ASK, "stream": stream, **wrong}
    with pytest.raises(anthropic.BadRequestError) as raised:
        client.messages.create(**asked)
    told: Any = raised.value.body
    assert told["type"] == "error"
    assert (told["error"]["type"], told["error"]["param"]) == ("invalid_request_error", param)
    assert raised.value.request_id == told["request_id"]


def test_what_is_not_there_is_told_in_anthropics_form(client: Anthropic, fleet: Fleet) -> None:
    """A model that nobody serves, a path that there is not, a method, a body that is no JSON."""
    with pytest.raises(anthropic.NotFoundError) as raised:
        client.messages.create(model="nobody", max_tokens=9, messages=ASK)
    told: Any = raised.value.body
    assert told["error"]["type"] == "not_found_error"
    for method, path in (("GET", "/v1/messages"), ("POST", "/v1/messages/batches"), ("POST", "/v1/messages")):
        answer = httpx2.request(method, fleet.gateway + path, content=b"{" if method == "POST" else None)
        assert answer.status_code in (400, 404, 405)
        assert answer.json()["type"] == "error"
        assert answer.headers["request-id"]


def test_a_base_url_with_v1_is_told_apart(fleet: Fleet) -> None:
    """Whoever writes it as for OpenAI's clients learns what to leave out, in Anthropic's form."""
    with (
        Anthropic(base_url=f"{fleet.gateway}/v1", api_key="none") as client,
        pytest.raises(anthropic.NotFoundError, match="leave it out of its base URL") as caught,
    ):
        client.messages.create(model=MODEL, max_tokens=5, messages=ASK)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "not_found_error"


def test_keys_are_taken_as_anthropics_clients_send_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`x-api-key`, or a bearer token; without a right one 401 in Anthropic's form, with another model's 403."""
    data = tmp_path_factory.mktemp("keyed")
    (data / "nats").mkdir()
    server = NatsServer(data / "nats").start()
    keys = data / "keys"
    keys.write_text("ann:sk-ann-0123456789abcdef\nbob:sk-bob-0123456789abcdef models=other\n")
    keys.chmod(0o600)
    try:
        given = {"GOLEK_NATS_IDENTITY": "keys", "GOLEK_KEY_FILE": str(keys)}
        with (
            WorkerProcess(server.url, data, "golek-tiny", MODEL_THREADS=1, HTTP_ADDR="", **given),
            GatewayProcess(server.url, data, **given) as gateway,
        ):
            say: dict[str, Any] = {"model": MODEL, "max_tokens": 5, "messages": ASK}
            with Anthropic(base_url=gateway.url, api_key="sk-ann-0123456789abcdef") as client:
                assert client.messages.create(**say).content
            with Anthropic(base_url=gateway.url, auth_token="sk-ann-0123456789abcdef") as client:
                assert client.messages.create(**say).content
            with Anthropic(base_url=gateway.url, api_key="sk-eve") as client:
                with pytest.raises(anthropic.AuthenticationError) as wrong:
                    client.messages.create(**say)
                told: Any = wrong.value.body
                assert told["error"]["type"] == "authentication_error"
            with (
                Anthropic(base_url=gateway.url, api_key="sk-bob-0123456789abcdef") as client,
                pytest.raises(anthropic.PermissionDeniedError),
            ):
                client.messages.create(**say)
    finally:
        server.kill()
