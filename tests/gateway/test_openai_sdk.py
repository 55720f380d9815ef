"""OpenAI's own client, which checks the shape of every answer to the letter (`_strict_response_validation`)."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.support.fronts import Fleet

MODEL = "golek-tiny"
ASK: list[Any] = [{"role": "user", "content": "What is a lease?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
IN_PARIS: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture
def client(fleet: Fleet) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{fleet.gateway}/v1", api_key="none", _strict_response_validation=True) as made:
        yield made


@pytest.fixture
def lenient(fleet: Fleet) -> Iterator[OpenAI]:
    """For what the strict client refuses of OpenAI, too: `finish_reason: null` of former chunks, and base64 vectors."""
    with OpenAI(base_url=f"{fleet.gateway}/v1", api_key="none") as made:
        yield made


@pytest.fixture
async def asynchronous(fleet: Fleet) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{fleet.gateway}/v1", api_key="none", _strict_response_validation=True) as made:
        yield made


def test_an_answer_has_all_that_openai_says(client: OpenAI) -> None:
    """Id, model, usage with its details, one choice; and the headers beside it."""
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK, temperature=0)
    answer = raw.parse()
    assert answer.id.startswith("chatcmpl-")
    assert answer.id.removeprefix("chatcmpl-") == raw.headers["x-golek-job"]
    assert raw.headers["x-golek-worker"].startswith("golek-tiny-")
    assert raw.headers["x-request-id"]
    assert int(raw.headers["openai-processing-ms"]) >= 0
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert choice.message.content
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.completion_tokens_details is not None


def test_a_stream_is_the_answer_in_pieces(client: OpenAI) -> None:
    """Role first, one id throughout, the reason it ended, and what it cost in a chunk without choices."""
    options: Any = {"include_usage": True}
    whole = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0)
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, stream=True, stream_options=options)
    )
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
def test_usage_comes_only_when_it_is_asked_for(client: OpenAI, options: Any) -> None:
    """A stream that did not ask ends with the reason."""
    given = {} if options is None else {"stream_options": options}
    chunks = list(client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=3, stream=True, **given))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "length"


async def test_the_asynchronous_client_and_its_helpers(asynchronous: AsyncOpenAI) -> None:
    """`.stream()` accumulates chunks, and refuses those that lack anything."""
    whole = await asynchronous.chat.completions.create(model=MODEL, messages=ASK, temperature=0)
    async with asynchronous.chat.completions.stream(model=MODEL, messages=ASK, temperature=0) as stream:
        kinds = {event.type async for event in stream}
        final = await stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == whole.choices[0].message.content


def test_a_tool_is_called_and_its_result_read(client: OpenAI) -> None:
    """The round trip: a call, its result, an answer that tells it."""
    first = client.chat.completions.create(model=MODEL, messages=IN_PARIS, tools=[WEATHER], temperature=0)
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    turns = [*IN_PARIS, choice.message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    second = client.chat.completions.create(model=MODEL, messages=turns, tools=[WEATHER], temperature=0)
    assert second.choices[0].finish_reason == "stop"
    assert (second.choices[0].message.content or "").startswith("The tool says:")


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "get_weather"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [WEATHER]}},
    ],
    ids=["required", "named", "allowed"],
)
def test_a_call_that_must_be_made_comes_in_pieces(client: OpenAI, choice: Any) -> None:
    """Id, type and name in the first piece alone, arguments as text, each with the index of its call."""
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=ASK, tools=[WEATHER], tool_choice=choice, stream=True, temperature=0, max_tokens=60
        )
    )
    pieces = [call for chunk in chunks for one in chunk.choices for call in one.delta.tool_calls or ()]
    first, *rest = pieces
    assert first.id
    assert first.type == "function"
    assert first.function is not None
    assert first.function.name == "get_weather"
    assert {piece.index for piece in pieces} == {0}
    assert all(piece.id is None and piece.type is None for piece in rest)
    joined = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
    assert isinstance(json.loads(joined)["city"], str)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_the_stream_helper_joins_calls(client: OpenAI) -> None:
    """What `.stream()` accumulates is what a whole answer says."""
    asked: Any = {"model": MODEL, "messages": IN_PARIS, "tools": [WEATHER], "temperature": 0}
    whole = client.chat.completions.create(**asked).choices[0].message
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion().choices[0].message
    assert final.tool_calls
    assert whole.tool_calls
    assert final.content == whole.content
    assert final.tool_calls[0].function.arguments == whole.tool_calls[0].function.arguments  # type: ignore[union-attr]


def test_former_functions_are_answered_in_their_form(client: OpenAI) -> None:
    """`functions` gives `function_call`, whole and streamed."""
    asked: Any = {"model": MODEL, "messages": IN_PARIS, "functions": [WEATHER["function"]], "temperature": 0}
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert choice.message.tool_calls is None
    chunks = list(client.chat.completions.create(**asked, stream=True))
    pieces = [chunk.choices[0].delta.function_call for chunk in chunks]
    assert "".join(piece.arguments or "" for piece in pieces if piece) == choice.message.function_call.arguments
    assert chunks[-1].choices[0].finish_reason == "function_call"


class Colour(BaseModel):
    """What is asked for."""

    name: Literal["red", "green", "blue"]
    warm: bool


def test_an_answer_is_parsed_by_its_schema(client: OpenAI) -> None:
    """`.parse()` sends a strict schema and gives an object of it."""
    parsed = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Colour, temperature=0)
    assert isinstance(parsed.choices[0].message.parsed, Colour)


def test_json_is_written_when_json_is_asked_for(client: OpenAI) -> None:
    """`json_object` gives some object."""
    answer = client.chat.completions.create(
        model=MODEL, messages=ASK, response_format={"type": "json_object"}, max_tokens=200, temperature=0, seed=3
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)
    else:
        assert (answer.choices[0].message.content or "").lstrip().startswith("{")


def test_several_texts_have_an_index_each(client: OpenAI) -> None:
    """`n` texts, whole and streamed, are the same ones under one seed."""
    asked: Any = {"model": MODEL, "messages": ASK, "n": 3, "seed": 5, "temperature": 1.5, "max_tokens": 12}
    whole = client.chat.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    texts = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices]


def test_log_probabilities_are_told(client: OpenAI) -> None:
    """Of each token, with the likeliest ones beside it; streamed ones joined are the whole."""
    asked: Any = {"model": MODEL, "messages": ASK, "logprobs": True, "top_logprobs": 2, "max_tokens": 4}
    asked |= {"temperature": 0}
    logprobs = client.chat.completions.create(**asked).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [len(token.top_logprobs) for token in logprobs.content] == [2] * 4
    streamed = []
    for chunk in client.chat.completions.create(**asked, stream=True):
        if chunk.choices[0].logprobs is not None:
            streamed += chunk.choices[0].logprobs.content or []
    assert [token.token for token in streamed] == [token.token for token in logprobs.content]


def test_completions_go_on_with_prompts(client: OpenAI, lenient: OpenAI) -> None:
    """One, several, with the prompt before it, and streamed."""
    asked: Any = {"model": MODEL, "max_tokens": 5, "temperature": 0}
    (one,) = client.completions.create(prompt="NATS is", **asked).choices
    assert one.text
    several = client.completions.create(prompt=["NATS is", "A lease is"], echo=True, n=2, seed=1, **asked)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert several.choices[0].text == f"NATS is{one.text}"
    assert several.choices[3].text.startswith("A lease is")
    assert several.usage is not None
    assert several.usage.completion_tokens == 20
    streamed = {0: "", 1: ""}
    ended = {}
    for chunk in lenient.completions.create(prompt=["NATS is", "A lease is"], stream=True, **asked):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
            ended |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
    assert streamed[0] == one.text
    assert streamed[1] == several.choices[2].text.removeprefix("A lease is")
    assert ended == {0: "length", 1: "length"}


def test_log_probabilities_of_completions_are_lists(client: OpenAI, lenient: OpenAI) -> None:
    """Tokens, their values and where each begins."""
    asked: Any = {"model": MODEL, "prompt": "NATS is", "max_tokens": 5, "temperature": 0, "logprobs": 1}
    (choice,) = client.completions.create(**asked).choices
    assert choice.logprobs is not None
    assert "".join(choice.logprobs.tokens or []) == choice.text
    assert len(choice.logprobs.text_offset or []) == 5
    offsets: list[int] = []
    for chunk in lenient.completions.create(**asked, stream=True):
        if chunk.choices[0].logprobs is not None:
            offsets += chunk.choices[0].logprobs.text_offset or []
    assert offsets == choice.logprobs.text_offset


def test_vectors_come_in_both_forms(client: OpenAI, lenient: OpenAI, embedder: str) -> None:
    """The client asks for base64 by itself; numbers are the same vector."""
    texts = ["a river", "a lease"]
    packed = lenient.embeddings.create(model=embedder, input=texts)
    plain = client.embeddings.create(model=embedder, input=texts, encoding_format="float")
    assert [len(one.embedding) for one in packed.data] == [384, 384]
    assert [one.index for one in packed.data] == [0, 1]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 0
    short = lenient.embeddings.create(model=embedder, input="a river", dimensions=8)
    assert len(short.data[0].embedding) == 8


def test_models_are_listed_and_looked_up(client: OpenAI) -> None:
    """With OpenAI's fields and the fleet's; a prefix of a gateway in front is no part of a name."""
    found = {model.id: model for model in client.models.list()}
    assert found[MODEL].object == "model"
    one = client.models.retrieve(f"inference:{MODEL}")
    assert one.id == MODEL
    extra = one.model_extra or {}
    assert (extra["status"], extra["context_length"], extra["memory_mb"]) == ("loaded", 2048, 3)
    assert "text-generation" in extra["capabilities"]
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("golek/tinny")
    assert caught.value.code == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    ("fields", "kind", "code", "param"),
    [
        ({"model": "no-such"}, openai.NotFoundError, "MODEL_NOT_FOUND", None),
        ({"temperature": "hot"}, openai.BadRequestError, "BAD_REQUEST", "temperature"),
        ({"top_logprobs": 2}, openai.BadRequestError, "BAD_REQUEST", "top_logprobs"),
        ({"messages": []}, openai.BadRequestError, "BAD_REQUEST", "messages"),
        ({"max_tokens": 100_000}, openai.BadRequestError, "CONTEXT_BUDGET_EXCEEDED", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_those_of_the_client(
    client: OpenAI, fields: Any, kind: type[openai.APIStatusError], code: str, param: str | None, stream: bool
) -> None:
    """By status, with code and field, also for what a stream is refused for."""
    asked: Any = {"model": MODEL, "messages": ASK, "stream": stream, **fields}
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**asked)
    assert (caught.value.code, caught.value.param) == (code, param)  # type: ignore[attr-defined]
    assert caught.value.response.headers["x-request-id"]


@pytest.mark.parametrize("extra", [{}, {"tools": [WEATHER]}])
def test_tokens_are_counted_before_they_are_paid_for(client: OpenAI, extra: Any) -> None:
    """What is counted is what a completion reads, template and tools included; a text is counted as it stands."""
    asked: Any = {"model": MODEL, "messages": ASK, **extra}
    counted: Any = client.post("/chat/completions/input_tokens", cast_to=object, body=asked)
    usage = client.chat.completions.create(**asked, max_tokens=1).usage
    assert usage is not None
    assert counted["input_tokens"] == usage.prompt_tokens
    plain: Any = client.post("/tokenize", cast_to=object, body={"model": MODEL, "content": "NATS is"})
    continued = client.completions.create(model=MODEL, prompt="NATS is", max_tokens=1).usage
    assert continued is not None
    assert plain["count"] == continued.prompt_tokens
    empty = client.completions.create(model=MODEL, prompt="NATS is", max_tokens=0)
    assert (empty.choices[0].text, empty.choices[0].finish_reason) == ("", "length")
