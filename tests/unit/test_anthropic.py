"""Anthropic's messages: what a request asks of a model, and what its answers look like, whole and in events."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anthropic.types import Message as Theirs
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from golek_wire import codec
from golek_wire.anthropic import errors, messages, models
from golek_wire.anthropic.events import MessageEvents
from golek_wire.anthropic.reply import RAW_INPUT, Shown, message
from golek_wire.errors import (
    BadRequestError,
    DeadlineExceededError,
    NoWorkersError,
    RateLimitedError,
    UnauthorizedError,
)
from golek_wire.openai.models import Model
from golek_wire.replies import Delta, FunctionCall, InferenceReply, ToolCall, ToolCallDelta
from golek_wire.requests import InferenceRequest, Message

GOLDEN = Path(__file__).parent / "golden" / "anthropic"
HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {"name": "get_weather", "description": "The weather.", "input_schema": {"type": "object"}}
FUNCTION = {"name": "get_weather", "description": "The weather.", "parameters": {"type": "object"}}


def asked(**fields: Any) -> InferenceRequest:
    """The wire's request for a body with these fields, as a worker reads it."""
    body = {"model": "m", "max_tokens": 9, "messages": HELLO, **fields}
    request = messages.to_wire(messages.read(json.dumps(body).encode()), 1000)
    return codec.decode_request(codec.encode(request))


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


CALLED = {"id": "t1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
USE = block("tool_use", id="t1", name="get_weather", input={"city": "Oslo"})


@pytest.mark.parametrize(
    ("given", "turns"),
    [
        ({}, [Message("user", "Hello")]),
        ({"system": "Be brief."}, [Message("system", "Be brief."), Message("user", "Hello")]),
        (
            {"system": [block("text", text="a", cache_control={"type": "ephemeral"}), block("text", text="b")]},
            [Message("system", "a\nb"), Message("user", "Hello")],
        ),
        (
            {"messages": [{"role": "user", "content": [block("text", text="a"), block("text", text="b")]}]},
            [Message("user", "a\nb")],
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": [
                block("thinking", thinking="Hm.", signature="x"), block("redacted_thinking", data="x"),
                block("text", text="I "), block("text", text="look."), USE]},
                {"role": "user", "content": [block("tool_result", tool_use_id="t1", content="cold"),
                                             block("text", text="And?")]}]},
            [Message("user", "Hello"),
             Message("assistant", "I look.", tool_calls=[CALLED], reasoning_content="Hm."),
             Message("tool", "cold", tool_call_id="t1"), Message("user", "And?")],
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [
                block("tool_result", tool_use_id="t1", is_error=True, content=[block("text", text="no city")]),
                block("tool_result", tool_use_id="t2")]}]},
            [Message("user", "Hello"), Message("assistant", tool_calls=[CALLED]),
             Message("tool", "Error: no city", tool_call_id="t1"), Message("tool", "", tool_call_id="t2")],
        ),
        (
            {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": []}]},
            [Message("system", "x"), Message("user", "")],
        ),
    ],
)  # fmt: skip
def test_blocks_become_turns(given: dict[str, Any], turns: list[Message]) -> None:
    """What a model reads of messages: results of tools are turns of their own, a turn's thoughts and calls one."""
    assert asked(**given).messages == turns


def test_every_wish_arrives() -> None:
    """Sampling, tools, form and thinking reach the worker under the names of the wire."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    request = asked(
        tools=[WEATHER, WEATHER | {"type": "custom", "name": "other"}],
        tool_choice={"type": "tool", "name": "other", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        temperature=0,
        top_k=5,
        top_p=0.5,
        thinking={"type": "enabled", "budget_tokens": 5000},
        metadata={"user_id": "u1"},
        output_config={"format": {"type": "json_schema", "schema": schema}, "effort": "high"},
        stream=True,
        context_management={},
    )
    assert request.tools == [
        {"type": "function", "function": FUNCTION},
        {"type": "function", "function": FUNCTION | {"name": "other"}},
    ]
    assert request.tool_choice == {"type": "function", "function": {"name": "other"}}
    assert (request.parallel_tool_calls, request.reasoning_effort) == (False, "medium")
    params = request.params
    assert (params.max_tokens, params.temperature, params.top_k, params.top_p, params.stop) == (9, 0, 5, 0.5, ["END"])
    assert request.metadata == {"user_id": "u1"}
    assert request.response_format is not None
    assert request.response_format.json_schema is not None
    assert request.response_format.json_schema.schema == schema
    assert request.stream


@pytest.mark.parametrize(("choice", "ours"), [("auto", "auto"), ("any", "required"), ("none", "none")])
def test_choices_have_our_words(choice: str, ours: str) -> None:
    """Whether a tool may, must or must not be called."""
    assert asked(tools=[WEATHER], tool_choice={"type": choice}).tool_choice == ours


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"type": "adaptive"}, None),
        ({"type": "disabled"}, "none"),
        ({"type": "enabled", "budget_tokens": 1024}, "low"),
        ({"type": "enabled", "budget_tokens": 32000}, "high"),
    ],
)
def test_thinking_is_an_effort(thinking: dict[str, Any], effort: str | None) -> None:
    """A budget is the nearest effort; adaptive leaves it to the model."""
    assert asked(thinking=thinking).reasoning_effort == effort


@pytest.mark.parametrize(
    ("wrong", "param", "says"),
    [
        ({"messages": []}, "messages", "at least one"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "boss"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type", "missing"),
        ({"messages": [{"role": "user", "content": [block("image")]}]}, "messages[0].content[0].source", "missing"),
        (
            {"messages": [{"role": "user", "content": [block("image", source={"type": "file"})]}]},
            "messages[0].content[0].source.type",
            "'file'",
        ),
        (
            {"messages": [{"role": "user", "content": [block("image", source={"type": "url", "url": "cat.png"})]}]},
            "messages[0].content[0].source.url",
            "no address",
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": [block("image")]}, *HELLO]},
            "messages[1].content[0].type",
            "user's turn",
        ),
        ({"messages": [{"role": "user", "content": [block("text", text=7)]}]}, "messages[0].content[0].text", "(7)"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "It"}]}, "messages[1].role", "end with a user's"),
        ({"system": [block("image")]}, "system[0].type", "image stands"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type", "bash_20250124"),
        ({"tools": [{"input_schema": {}}]}, "tools[0]", "name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice", "no `tools`"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, "tool_choice.name", "missing"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens", "missing"),
        ({"max_tokens": "many"}, "max_tokens", "many"),
        ({"temperature": -1}, "temperature", "-1"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, Any], param: str, says: str) -> None:
    """A refusal names the field in the caller's words, and why."""
    with pytest.raises(BadRequestError) as raised:
        asked(**wrong)
    assert raised.value.details["param"] == param
    assert says in raised.value.message


def test_max_tokens_is_wanted() -> None:
    """As Anthropic's API has it; only for counting it is not."""
    with pytest.raises(BadRequestError, match="max_tokens: is missing") as raised:
        messages.read(json.dumps({"messages": HELLO}).encode())
    assert raised.value.details["param"] == "max_tokens"
    counted = messages.read_counted(json.dumps({"messages": HELLO, "tools": [WEATHER]}).encode())
    assert messages.to_wire(counted, 1000).tools is not None


# -- answers -------------------------------------------------------------------------------------------------------

SHOWN = Shown("gnzmv3lrmpikcji6bcwx5hgsiq", "qwen3-4b")
TEXT = InferenceReply("", "Hi there", 7, 2, "stop", 12, 12, tokens_cached=4)
CALL = ToolCall("call_1", FunctionCall("get_weather", '{"city": "Paris"}'))
OTHER = ToolCall("call_2", FunctionCall("add", '{"a": 1}'))
Pieces = list[str | Delta]
ANSWERS: dict[str, tuple[Pieces, InferenceReply]] = {
    "text": (["Hi", " there"], TEXT),
    "nothing": ([], msgspec.structs.replace(TEXT, text="")),
    "stopped": (["Hi"], msgspec.structs.replace(TEXT, text="Hi", stopped_by=" there")),
    "cut-off": (["Hi"], msgspec.structs.replace(TEXT, text="Hi", finish_reason="length")),
    "calls": (
        [
            Delta(reasoning_content="Which?"),
            "So.",
            Delta(tool_calls=[ToolCallDelta(0, "call_1", "get_weather")]),
            Delta(tool_calls=[ToolCallDelta(0, arguments='{"city": ')]),
            Delta(tool_calls=[ToolCallDelta(0, arguments='"Paris"}'), ToolCallDelta(1, "call_2", "add", '{"a": 1}')]),
        ],
        InferenceReply(
            "", "So.", 7, 9, "tool_calls", 12, 12, reasoning_content="Which?", tool_calls=[CALL, OTHER]
        ),
    ),
}  # fmt: skip
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def streamed(pieces: Pieces, reply: InferenceReply) -> str:
    writer = MessageEvents(SHOWN)
    events = writer.opening()
    for piece in pieces:
        events += writer.piece(piece)
    return b"".join([*events, *writer.closing(reply)]).decode()


def whole(reply: InferenceReply) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(codec.encode(message(reply, SHOWN)))
    return found


def transcripts() -> dict[str, str]:
    """By file name, what is sent."""
    found = {}
    for name, (pieces, reply) in ANSWERS.items():
        found[f"{name}.sse"] = streamed(pieces, reply)
        found[f"{name}.json"] = json.dumps(whole(reply), indent=2) + "\n"
    return found


TRANSCRIPTS = transcripts()


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_an_answer_looks_as_its_file_says(name: str) -> None:
    """Byte for byte; write the files anew with `python -m tests.unit.test_anthropic`."""
    assert (GOLDEN / name).read_text() == TRANSCRIPTS[name]


def test_no_file_outlives_its_answer() -> None:
    """Each file is one of the answers."""
    assert {file.name for file in GOLDEN.iterdir()} == set(TRANSCRIPTS)


def events_of(stream: str) -> list[dict[str, Any]]:
    """The events of a stream, each named as its type."""
    *events, rest = stream.split("\n\n")
    assert rest == ""
    found = []
    for event in events:
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_is_one_that_anthropic_knows(name: str) -> None:
    """All fields of Anthropic's own types are there, with values of their types."""
    pieces, reply = ANSWERS[name]
    Theirs.model_validate(whole(reply))
    for event in events_of(streamed(pieces, reply)):
        EVENT.validate_python(event)


def put_together(stream: str) -> dict[str, Any]:
    """The message that a client puts together, as Anthropic's documentation says."""
    found: dict[str, Any] = {}
    written: dict[int, str] = {}
    for event in events_of(stream):
        match event["type"]:
            case "message_start":
                found = event["message"]
            case "content_block_start":
                assert event["index"] == len(found["content"])
                found["content"].append(event["content_block"])
            case "content_block_delta":
                one, delta = found["content"][event["index"]], event["delta"]
                if delta["type"] == "input_json_delta":
                    written[event["index"]] = written.get(event["index"], "") + delta["partial_json"]
                else:
                    name = delta["type"].removesuffix("_delta")
                    one[name] += delta[name]
            case "message_delta":
                found |= event["delta"]
                found["usage"] |= event["usage"]
    for index, text in written.items():
        found["content"][index]["input"] = json.loads(text)
    return found


@pytest.mark.parametrize("name", ANSWERS)
def test_examples_joined_are_the_whole(name: str) -> None:
    """Reason, stop sequence and usage, too."""
    pieces, reply = ANSWERS[name]
    assert put_together(streamed(pieces, reply)) == whole(reply)


def cut(text: str, places: list[int]) -> list[str]:
    """`text` in pieces."""
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends) if end > start]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
cuts = st.lists(st.integers(0, 100), max_size=6)
inputs = st.dictionaries(st.text("ab", max_size=3), texts | st.integers(-9, 9), max_size=3)


@settings(max_examples=300, deadline=None)
@given(texts, texts, st.lists(inputs, max_size=3), cuts)
def test_a_stream_joined_is_the_whole_answer(
    text: str, thoughts: str, called: list[dict[str, Any]], places: list[int]
) -> None:
    """Whatever the pieces: what a client puts together is what it would have got at once."""
    made = [ToolCall(f"call_{number}", FunctionCall("f", json.dumps(one))) for number, one in enumerate(called)]
    reason: Any = "tool_calls" if made else "stop"
    reply = InferenceReply(
        "", text, 7, 9, reason, 12, 12, reasoning_content=thoughts or None, tool_calls=made or None
    )  # fmt: skip
    pieces: Pieces = [Delta(reasoning_content=piece) for piece in cut(thoughts, places)]
    pieces += cut(text, places)
    for number, call in enumerate(made):
        pieces.append(Delta(tool_calls=[ToolCallDelta(number, call.id, call.function.name)]))
        rest = cut(call.function.arguments, places)
        pieces += [Delta(tool_calls=[ToolCallDelta(number, arguments=piece)]) for piece in rest]
    assert put_together(streamed(pieces, reply)) == whole(reply)


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "7", "nonsense", "[" * 100_000])
def test_arguments_that_are_no_object_are_not_lost(arguments: str) -> None:
    """They stand as they were written under a key of their own."""
    reply = msgspec.structs.replace(TEXT, text="", tool_calls=[ToolCall("c", FunctionCall("f", arguments))])
    (call,) = whole(reply)["content"]
    assert call["input"] == {RAW_INPUT: arguments}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequestError("x"), "invalid_request_error"),
        (UnauthorizedError("x"), "authentication_error"),
        (RateLimitedError("x"), "rate_limit_error"),
        (NoWorkersError("x"), "overloaded_error"),
        (DeadlineExceededError("x"), "timeout_error"),
    ],
)
def test_errors_have_anthropics_words(error: Any, kind: str) -> None:
    """The type by the status, our code with its details beside it, and the request's id."""
    told = json.loads(codec.encode(errors.body(error, "req_1")))
    assert (told["type"], told["request_id"]) == ("error", "req_1")
    assert told["error"] == {
        "type": kind, "message": "x", "code": error.code, "param": None, "provider": "golek", "details": error.details,
    }  # fmt: skip


def test_models_are_those_that_write() -> None:
    """With the dates and limits that Anthropic's client reads; embedding models are none to talk to."""
    known = [
        Model("a", 1767323045, "loaded", context_length=2048, kinds=["inference"]),
        Model("b", 0, "loaded", kinds=["embedding"]),
    ]
    page = models.listed(known)
    assert (page.first_id, page.last_id, page.has_more) == ("a", "a", False)
    (one,) = page.data
    assert (one.created_at, one.max_input_tokens) == ("2026-01-02T03:04:05Z", 2048)


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for each, content in TRANSCRIPTS.items():
        (GOLDEN / each).write_text(content)
