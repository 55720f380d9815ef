"""What replies and streams of the bus look like in the Responses API: golden transcripts, and the two held equal."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from golek_wire import codec
from golek_wire.errors import EngineFailedError
from golek_wire.openai import response_body, responses
from golek_wire.openai.response_body import Echo
from golek_wire.openai.response_stream import ResponseWriter
from golek_wire.replies import (
    Delta,
    FunctionCall,
    InferenceReply,
    SessionUse,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    TopLogprob,
)

GOLDEN = Path(__file__).parent / "golden" / "responses"
KEY, MODEL, CREATED = "gnzmv3lrmpikcji6bcwx5hgsiq", "qwen3-4b", 1767323045
ASKED = response_body.echo(
    responses.read(
        json.dumps(
            {
                "input": "?",
                "instructions": "Be brief.",
                "tools": [{"type": "function", "name": "add", "parameters": {"type": "object"}}],
                "reasoning": {"effort": "low"},
                "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
                "metadata": {"a": "b"},
                "temperature": 0,
                "store": False,
            }
        ).encode()
    )
)
TEXT = InferenceReply("", "Hi there", 7, 2, "stop", 1200, 1200, tokens_cached=4, session=SessionUse(0))
CALL = ToolCall("call_1", FunctionCall("get_weather", '{"city": "Paris"}'))
OTHER = ToolCall("call_2", FunctionCall("add", '{"a": 1}'))
CALLS = InferenceReply("", "So.", 7, 9, "tool_calls", 12, 12, reasoning_content="Which?", tool_calls=[CALL, OTHER])
LIKELY = TokenLogprob("Hi", -0.5, [72, 105], [TopLogprob("Hi", -0.5, [72, 105], 7)], 7)
Pieces = list[str | Delta]
ANSWERS: dict[str, tuple[Echo, Pieces, InferenceReply]] = {
    "text": (Echo(), ["Hi", " there"], TEXT),
    "nothing": (Echo(), [], msgspec.structs.replace(TEXT, text="")),
    "cut-off": (ASKED, ["Hi"], msgspec.structs.replace(TEXT, text="Hi", finish_reason="length")),
    "likely": (
        Echo(top_logprobs=1), [Delta("Hi", logprobs=[LIKELY])],
        msgspec.structs.replace(TEXT, text="Hi", logprobs=[LIKELY]),
    ),
    "calls": (
        ASKED,
        [
            Delta(reasoning_content="Which?"),
            "So.",
            Delta(tool_calls=[ToolCallDelta(0, "call_1", "get_weather")]),
            Delta(tool_calls=[ToolCallDelta(0, arguments='{"city": ')]),
            Delta(tool_calls=[ToolCallDelta(0, arguments='"Paris"}'), ToolCallDelta(1, "call_2", "add", '{"a": 1}')]),
        ],
        CALLS,
    ),
}  # fmt: skip
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def streamed(asked: Echo, pieces: Pieces, reply: InferenceReply) -> bytes:
    writer = ResponseWriter(asked, KEY, MODEL, CREATED)
    events = writer.begin()
    for piece in pieces:
        events += writer.piece(piece)
    return b"".join([*events, *writer.end(reply)])


def whole(asked: Echo, reply: InferenceReply) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(codec.encode(response_body.whole(asked, KEY, MODEL, CREATED, reply)))
    return found


def failed() -> str:
    """A stream that breaks off in a call."""
    writer = ResponseWriter(ASKED, KEY, MODEL, CREATED)
    events = [
        *writer.begin(),
        *writer.piece("Hi"),
        *writer.piece(Delta(tool_calls=[ToolCallDelta(0, "c", "add", "{")])),
    ]
    return b"".join([*events, *writer.fail(EngineFailedError("The engine stopped"))]).decode()


def transcripts() -> dict[str, str]:
    """By file name, what is sent."""
    found = {"failed.sse": failed()}
    for name, (asked, pieces, reply) in ANSWERS.items():
        found[f"{name}.sse"] = streamed(asked, pieces, reply).decode()
        found[f"{name}.json"] = json.dumps(whole(asked, reply), indent=2) + "\n"
    return found


TRANSCRIPTS = transcripts()


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_an_answer_looks_as_its_file_says(name: str) -> None:
    """Byte for byte; write the files anew with `python -m tests.unit.test_responses_answers`."""
    assert (GOLDEN / name).read_text() == TRANSCRIPTS[name]


def test_no_file_outlives_its_answer() -> None:
    """Each file is one of the answers."""
    assert {file.name for file in GOLDEN.iterdir()} == set(TRANSCRIPTS)


def events_of(stream: str) -> list[dict[str, Any]]:
    """The events of a stream, numbered without a gap and named as their type."""
    *events, rest = stream.split("\n\n")
    assert rest == ""
    found = []
    for event in events:
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


@pytest.mark.parametrize("name", [name for name in TRANSCRIPTS if name.endswith(".sse")])
def test_every_event_is_one_that_openai_knows(name: str) -> None:
    """All fields of OpenAI's own types are there, with values of their types."""
    for event in events_of(TRANSCRIPTS[name]):
        EVENT.validate_python(event)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_whole_response_is_one_that_openai_knows(name: str) -> None:
    """All fields of OpenAI's own type are there."""
    asked, _, reply = ANSWERS[name]
    assert Response.model_validate(whole(asked, reply)).output_text == reply.text


def put_together(stream: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The items that a client puts together from deltas, and the response that the last event tells."""
    items: list[dict[str, Any]] = []
    events = events_of(stream)
    for event in events:
        match event["type"]:
            case "response.output_item.added":
                assert event["output_index"] == len(items)
                items.append(event["item"])
            case "response.content_part.added":
                items[event["output_index"]]["content"].append(event["part"])
            case "response.output_text.delta":
                part = items[event["output_index"]]["content"][event["content_index"]]
                part["text"] += event["delta"]
                part["logprobs"] += event["logprobs"]
            case "response.reasoning_text.delta":
                items[event["output_index"]]["content"][event["content_index"]]["text"] += event["delta"]
            case "response.function_call_arguments.delta":
                items[event["output_index"]]["arguments"] += event["delta"]
            case "response.output_item.done":
                items[event["output_index"]]["status"] = event["item"]["status"]
                assert items[event["output_index"]] == event["item"]
    return items, events[-1]["response"]


@pytest.mark.parametrize("name", ANSWERS)
def test_examples_joined_are_the_whole(name: str) -> None:
    """Deltas joined, finished items, the last event and the answer that is not streamed are all the same."""
    asked, pieces, reply = ANSWERS[name]
    items, last = put_together(streamed(asked, pieces, reply).decode())
    assert last == whole(asked, reply)
    assert items == last["output"]


def cut(text: str, places: list[int]) -> list[str]:
    """`text` in pieces."""
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends) if end > start]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
cuts = st.lists(st.integers(0, 100), max_size=6)
calls = st.lists(st.tuples(st.text("abc", min_size=1, max_size=8), texts), max_size=3)


@settings(max_examples=300, deadline=None)
@given(texts, texts, calls, cuts)
def test_a_stream_joined_is_the_whole_answer(
    text: str, thoughts: str, called: list[tuple[str, str]], places: list[int]
) -> None:
    """Whatever the pieces: what a client puts together is what it would have got at once."""
    made = [ToolCall(f"call_{number}", FunctionCall(*one)) for number, one in enumerate(called)]
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
    items, last = put_together(streamed(Echo(), pieces, reply).decode())
    assert items == last["output"] == whole(Echo(), reply)["output"]


def test_text_behind_a_call_is_an_item_of_its_own() -> None:
    """Nothing is put where a client has read on already."""
    pieces: Pieces = ["a", Delta(tool_calls=[ToolCallDelta(0, "c", "add", "{}")]), "b"]
    reply = msgspec.structs.replace(TEXT, text="ab", tool_calls=[CALL])
    items, last = put_together(streamed(Echo(), pieces, reply).decode())
    assert [item["type"] for item in items] == ["message", "function_call", "message"]
    assert items == last["output"]


def test_the_id_of_a_response_is_known_as_one() -> None:
    """What is no such id is asked of nobody."""
    made = response_body.response_id(response_body.key_of("random"))
    assert response_body.is_response_id(made)
    assert not response_body.is_response_id(KEY)
    assert not response_body.is_response_id("resp_../x")


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for each, content in TRANSCRIPTS.items():
        (GOLDEN / each).write_text(content)
