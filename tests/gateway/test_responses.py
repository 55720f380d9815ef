"""The Responses API by OpenAI's own client, which checks the shape of every answer (`_strict_response_validation`)."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, DefaultHttpxClient, OpenAI
from pydantic import BaseModel

from tests.support.fronts import Fleet

MODEL = "golek-tiny"
ASK = "What is a lease?"
IMAGE = {"type": "input_image", "image_url": "https://example.com/cat.png"}
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
IN_PARIS = "What is the weather in Paris?"


@pytest.fixture
def client(fleet: Fleet) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{fleet.gateway}/v1", api_key="none", _strict_response_validation=True) as made:
        yield made


@pytest.fixture
async def asynchronous(fleet: Fleet) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{fleet.gateway}/v1", api_key="none", _strict_response_validation=True) as made:
        yield made


def test_a_response_has_all_that_openai_says(client: OpenAI) -> None:
    """Id, one item of text, usage with its details; and the headers beside it."""
    raw = client.responses.with_raw_response.create(model=MODEL, input=ASK, temperature=0, store=False)
    answer = raw.parse()
    assert raw.headers["x-golek-job"]
    assert (answer.status, answer.object, answer.model, answer.temperature) == ("completed", "response", MODEL, 0)
    (item,) = answer.output
    assert item.type == "message"
    assert answer.output_text
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_it_is_what_the_chat_api_says(client: OpenAI) -> None:
    """Instructions are a system message, and the text is the same as by chat completions."""
    response = client.responses.create(model=MODEL, instructions="Be brief.", input=ASK, temperature=0)
    turns: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASK}]
    chat = client.chat.completions.create(model=MODEL, messages=turns, temperature=0)
    assert response.output_text == chat.choices[0].message.content
    assert response.usage is not None
    assert chat.usage is not None
    assert response.usage.input_tokens == chat.usage.prompt_tokens


def test_a_stream_is_the_response_in_pieces(client: OpenAI) -> None:
    """Every event has OpenAI's form, in its order, numbered; deltas joined are the text."""
    whole = client.responses.create(model=MODEL, input=ASK, temperature=0, store=False)
    events = list(client.responses.create(model=MODEL, input=ASK, temperature=0, store=False, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    begun = ["created", "in_progress", "output_item.added", "content_part.added"]
    ended = ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert kinds[:4] == [f"response.{kind}" for kind in begun]
    assert kinds[-4:] == [f"response.{kind}" for kind in ended]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == text
    assert events[-1].response.usage == whole.usage or events[-1].response.usage is not None


async def test_the_stream_helper_puts_a_call_together(asynchronous: AsyncOpenAI) -> None:
    """As OpenAI's own helper reads it."""
    async with asynchronous.responses.stream(
        model=MODEL, input=IN_PARIS, tools=[WEATHER], tool_choice="required", temperature=0
    ) as stream:
        pieces = [event.delta async for event in stream if event.type == "response.function_call_arguments.delta"]
        response = await stream.get_final_response()
    (call,) = response.output
    assert call.type == "function_call"
    assert "".join(pieces) == call.arguments
    assert json.loads(call.arguments) == {"city": "Paris"}


def test_a_tool_is_called_and_answered(client: OpenAI) -> None:
    """The call's item goes back as it came, its result beside it, and the model answers."""
    asked: list[Any] = [{"role": "user", "content": IN_PARIS}]
    first = client.responses.create(model=MODEL, input=asked, tools=[WEATHER], tool_choice="required", temperature=0)
    (call,) = first.output
    assert call.type == "function_call"
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "22 degrees"}
    again = [*asked, call.model_dump(exclude_none=True), result]
    second = client.responses.create(model=MODEL, input=again, tools=[WEATHER], temperature=0, max_output_tokens=40)
    assert second.output_text


def test_a_form_is_parsed(client: OpenAI) -> None:
    """`parse` gives an object of the class that was asked for."""

    class Mood(BaseModel):
        mood: Literal["good", "bad"]

    response = client.responses.parse(model=MODEL, input="hello", text_format=Mood, max_output_tokens=60)
    assert response.output_parsed is not None
    assert response.output_parsed.mood in ("good", "bad")


def test_a_text_that_was_cut_off_says_so(client: OpenAI) -> None:
    """Status and reason, in the response and as the last event."""
    response = client.responses.create(model=MODEL, input=ASK, max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    *_, last = client.responses.create(model=MODEL, input=ASK, max_output_tokens=3, stream=True)
    assert last.type == "response.incomplete"


def test_log_probabilities_come_with_the_text(client: OpenAI) -> None:
    """Where `include` asks for them."""
    response = client.responses.create(
        model=MODEL, input=ASK, include=["message.output_text.logprobs"], top_logprobs=2, temperature=0
    )
    (item,) = response.output
    assert item.type == "message"
    (part,) = item.content
    assert part.type == "output_text"
    assert part.logprobs
    assert "".join(one.token for one in part.logprobs).startswith(part.text)
    assert all(len(one.top_logprobs) == 2 for one in part.logprobs)


def test_responses_can_be_gone_on_from(client: OpenAI, fleet: Fleet) -> None:
    """The conversation comes along, without the instructions; two may go on from one; it can be forgotten."""
    first = client.responses.create(model=MODEL, instructions="Be brief.", input=ASK, temperature=0)
    assert first.store is True  # type: ignore[attr-defined]
    further = [
        client.responses.create(model=MODEL, input=question, previous_response_id=first.id, temperature=0)
        for question in ("What is a slot?", "Thanks!")
    ]
    for question, response in zip(("What is a slot?", "Thanks!"), further, strict=True):
        turns: list[Any] = [
            {"role": "user", "content": ASK},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": question},
        ]
        chat = client.chat.completions.create(model=MODEL, messages=turns, temperature=0)
        assert response.output_text == chat.choices[0].message.content
        assert response.previous_response_id == first.id
    third = client.responses.create(
        model=MODEL, input="What is a lease?", previous_response_id=further[0].id, stream=True, temperature=0
    )
    (*_, last) = third
    assert last.type == "response.completed"
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError) as raised:
        client.responses.create(model=MODEL, input="And?", previous_response_id=first.id)
    assert raised.value.param == "previous_response_id"
    client.responses.create(model=MODEL, input="Thanks!", previous_response_id=further[0].id)


def test_a_repeat_with_the_same_key_is_the_same_response(client: OpenAI) -> None:
    """`Idempotency-Key`: one job, one response, which can be gone on from."""
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first, again = (client.responses.create(model=MODEL, input="hello", extra_headers=key) for _ in range(2))
    assert (first.id, first.output_text) == (again.id, again.output_text)
    assert client.responses.create(model=MODEL, input="Thanks!", previous_response_id=again.id).output_text


def test_what_is_not_stored_cannot_be_gone_on_from(client: OpenAI) -> None:
    """With `store` false nothing is kept, and the response says so."""
    response = client.responses.create(model=MODEL, input=ASK, store=False)
    assert response.store is False  # type: ignore[attr-defined]
    for wrong in (response.id, "trip-to-oslo"):
        with pytest.raises(openai.NotFoundError):
            client.responses.create(model=MODEL, input="And?", previous_response_id=wrong)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [IMAGE]}]}, "input[0].content[0].image_url"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "x"}}}}, "text.format.schema"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "other"}}, "tool_choice"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_name_the_field_as_the_caller_did(
    client: OpenAI, wrong: dict[str, Any], param: str, stream: bool
) -> None:
    """Those of the gateway and those of a worker, as a status also where a stream was asked for."""
    asked: dict[str, Any] = {"model": MODEL, "input": ASK, "stream": stream, **wrong}
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(**asked)
    assert raised.value.param == param
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nobody", input=ASK, stream=stream)


def test_a_session_may_be_gone_on_with_instead(client: OpenAI) -> None:
    """`session_id`, as on all other ways in; such a response is not kept for itself."""
    mine: Any = {"extra_body": {"session_id": secrets.token_hex(8)}, "temperature": 0}
    first = client.responses.create(model=MODEL, input=ASK, **mine)
    second = client.responses.create(model=MODEL, input="Thanks!", **mine)
    assert first.store is False  # type: ignore[attr-defined]
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens


def test_what_coding_agents_send_is_understood(client: OpenAI) -> None:
    """A developer's words as items with null ids, tools, an empty `include`, hints that have no effect."""
    words = [{"type": "input_text", "text": "Be brief."}]
    said = [{"type": "input_text", "text": "hello"}]
    items: list[Any] = [
        {"type": "message", "id": None, "role": "developer", "content": words},
        {"type": "message", "id": None, "role": "user", "content": said},
    ]
    events = client.responses.create(
        model=MODEL, instructions="You are a coding agent.", input=items, tools=[WEATHER], tool_choice="auto",
        parallel_tool_calls=False, reasoning=None, store=False, stream=True, include=["reasoning.encrypted_content"],
        prompt_cache_key="a", text={"verbosity": "low"}, service_tier="auto", max_output_tokens=16,
        extra_body={"client_metadata": {}},
    )  # fmt: skip
    assert list(events)[-1].type in ("response.completed", "response.incomplete")


def test_langchain_asks_streams_calls_and_goes_on(fleet: Fleet) -> None:
    """With `use_responses_api`, and with the id of the response before instead of the turns."""
    given: dict[str, Any] = {"base_url": f"{fleet.gateway}/v1", "api_key": "none", "use_responses_api": True}
    with DefaultHttpxClient() as http:  # LangChain closes none of its own
        chat = ChatOpenAI(model=MODEL, temperature=0, use_previous_response_id=True, http_client=http, **given)
        asked = HumanMessage(ASK)
        answer = chat.invoke([asked])
        assert isinstance(answer, AIMessage)
        assert answer.text
        assert answer.usage_metadata is not None
        assert "".join(chunk.text for chunk in chat.stream([asked])) == answer.text
        assert chat.invoke([asked, answer, HumanMessage("Thanks!")]).text
        calling = chat.bind_tools([WEATHER], tool_choice="required").invoke(IN_PARIS)
        assert isinstance(calling, AIMessage)
        assert [(call["name"], call["args"]) for call in calling.tool_calls] == [("get_weather", {"city": "Paris"})]


def test_a_worker_serves_it_as_well(fleet: Fleet) -> None:
    """Its own model, which need not be named."""
    with OpenAI(base_url=f"{fleet.worker}/v1", api_key="none") as client:
        assert client.responses.create(input=ASK, max_output_tokens=5).model == MODEL
