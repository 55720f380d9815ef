"""What a request to the Responses API asks of a model, and what of it is refused by name."""

import json
from typing import Any

import pytest

from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.openai import responses
from golek_wire.requests import InferenceRequest, Message


def asked(**fields: Any) -> InferenceRequest:
    """The wire's request for a body with these fields, as a worker reads it."""
    request = responses.to_wire(responses.read(json.dumps({"model": "m", **fields}).encode()), 1000)
    return codec.decode_request(codec.encode(request))


WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
CALL = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city":"Paris"}', "id": "fc_1"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "22 degrees"}
CALLED = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}


@pytest.mark.parametrize(
    ("given", "turns"),
    [
        ("Hello", [Message("user", "Hello")]),
        ([{"role": "user", "content": "Hello"}], [Message("user", "Hello")]),
        (
            [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
             {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}],
            [Message("developer", "Be brief."), Message("user", "a\nb")],
        ),
        (
            [{"role": "user", "content": "Weather?"},
             {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
             {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
              "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}]},
             CALL, RESULT],
            [Message("user", "Weather?"),
             Message("assistant", "I look.", tool_calls=[CALLED], reasoning_content="Hm."),
             Message("tool", "22 degrees", tool_call_id="c1")],
        ),
        (
            [{"role": "user", "content": "?"}, CALL, CALL | {"call_id": "c2"}, RESULT,
             {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "x"}]}],
            [Message("user", "?"), Message("assistant", tool_calls=[CALLED, CALLED | {"id": "c2"}]),
             Message("tool", "22 degrees", tool_call_id="c1"), Message("tool", "x", tool_call_id="c2")],
        ),
        (
            [{"role": "user", "content": "?"}, {"role": "assistant", "content": "a"},
             {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
            [Message("user", "?"), Message("assistant", "a"), Message("assistant", "No.")],
        ),
        (
            [{"role": "user", "content": "?"},
             {"type": "reasoning", "summary": [{"type": "summary_text", "text": "S"}], "encrypted_content": "xx"}],
            [Message("user", "?")],
        ),
    ],
)  # fmt: skip
def test_items_become_turns(given: Any, turns: list[Message]) -> None:
    """Text and items are the conversation that a model reads: thoughts, text and calls of one turn in one message."""
    assert asked(input=given).messages == turns


def test_every_wish_arrives() -> None:
    """Sampling, form, thinking and tools reach the worker under the names of the wire."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    request = asked(
        input="x",
        instructions="Be brief.",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "get_weather"},
        parallel_tool_calls=False,
        max_output_tokens=7,
        temperature=0,
        top_p=0.5,
        seed=3,
        stop="END",
        include=["message.output_text.logprobs"],
        top_logprobs=2,
        reasoning={"effort": "max", "summary": "auto"},
        metadata={"who": "me"},
        session_id="s1",
        stream=True,
        unknown_field=1,
    )
    assert request.messages == [Message("system", "Be brief."), Message("user", "x")]
    assert request.tools == [{"type": "function", "function": {k: v for k, v in WEATHER.items() if k != "type"}}]
    assert request.tool_choice == {"type": "function", "function": {"name": "get_weather"}}
    assert (request.parallel_tool_calls, request.reasoning_effort) == (False, "high")
    params = request.params
    assert (params.max_tokens, params.temperature, params.top_p, params.seed, params.stop) == (7, 0, 0.5, 3, "END")
    assert (params.logprobs, params.top_logprobs) == (True, 2)
    assert (request.metadata, request.deadline_ms, request.session_id) == ({"who": "me"}, 1000, "s1")
    assert request.stream
    form = asked(input="x", text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}})
    assert form.response_format is not None
    assert form.response_format.json_schema is not None
    assert form.response_format.json_schema.schema == schema
    assert asked(input="x", text={"format": {"type": "text"}, "verbosity": "low"}).response_format is None


def test_what_is_not_said_is_left_to_the_model() -> None:
    """Absent and null fields add nothing: the model's defaults apply."""
    nothing = dict.fromkeys(("temperature", "tools", "text", "reasoning", "metadata", "instructions", "include"))
    assert asked(input="x", **nothing) == InferenceRequest(messages=[Message("user", "x")], deadline_ms=1000)


def test_some_of_the_tools_may_be_allowed() -> None:
    """`allowed_tools` leaves the others out and says whether one must be called."""
    other = WEATHER | {"name": "other"}
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]}
    request = asked(input="x", tools=[WEATHER, other], tool_choice=choice)
    assert [tool["function"]["name"] for tool in request.tools or ()] == ["other"]
    assert request.tool_choice == "required"


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({}, "input", "missing"),
        ({"input": ""}, "input", "empty"),
        ({"input": []}, "input", "empty"),
        ({"input": 7}, "input", "got `int` (7)"),
        ({"input": [7]}, "input[0]", "object"),
        ({"input": [{}]}, "input[0].type", "missing"),
        ({"input": [{"role": "boss", "content": "x"}]}, "input[0].role", "boss"),
        ({"input": [{"role": "user"}]}, "input[0].content", "is missing"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text", "missing"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].image_url",
            "no address",
        ),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type", "previous_response_id"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type", "web_search_call"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0].type", "web_search"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name", "missing"),
        ({"input": "x", "tool_choice": {"type": "file_search"}}, "tool_choice", "allowed_tools"),
        ({"input": "x", "max_output_tokens": -1}, "max_output_tokens", "got -1"),
        ({"input": "x", "text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema", "missing"),
        ({"input": "x", "reasoning": {"effort": "huge"}}, "reasoning.effort", "one of"),
        ({"input": "x", "conversation": "c"}, "conversation", "session_id"),
        ({"input": "x", "background": True}, "background", "stream"),
        ({"input": "x", "session_id": "a", "previous_response_id": "b"}, "previous_response_id", "session_id"),
        ({"input": "x", "prompt": {"id": "p"}}, "prompt", "instructions"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str, says: str) -> None:
    """A refusal names the field in the caller's words, and why."""
    with pytest.raises(BadRequestError) as raised:
        asked(**body)
    assert raised.value.details["param"] == param
    assert says in raised.value.message
