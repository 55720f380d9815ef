"""Harmony prompts, held equal to OpenAI's own library (scripts/make_harmony_golden.py)."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest, Message, Params
from golek_worker.prompt.harmony import Harmony

GOLDEN = json.loads((Path(__file__).parent / "golden/harmony.json").read_text("utf-8"))
CONVERSATIONS = GOLDEN["conversations"]


def harmony(level: str = "medium", identity: str = "", cutoff: str = "2024-06", *, extract: bool = True) -> Harmony:
    today = date.fromisoformat(GOLDEN["today"])
    return Harmony(identity or GOLDEN["identity"], cutoff, level, extract, lambda: today)


def request(**fields: Any) -> InferenceRequest:
    return InferenceRequest(messages=[Message("user", "hi")], **fields)


@pytest.mark.parametrize("chat", CONVERSATIONS, ids=[chat["name"] for chat in CONVERSATIONS])
def test_prompts_are_those_of_the_library(chat: dict[str, Any]) -> None:
    """Character by character."""
    form = harmony(
        chat.get("reasoning_level", "medium"), chat.get("identity", ""), chat.get("knowledge_cutoff", "2024-06")
    )
    messages = msgspec.convert(chat["messages"], list[Message])
    assert form.render(messages, chat.get("tools", ())) == chat["text"]


def test_there_are_enough_conversations() -> None:
    """A golden file that shrank would prove little."""
    assert len(CONVERSATIONS) >= 30
    assert len(GOLDEN["completions"]) >= 30


def test_an_input_is_one_turn_of_the_user() -> None:
    """The same text as for one message."""
    assert harmony().prompt(InferenceRequest(input="hi")) == harmony().prompt(request())


@pytest.mark.parametrize(("extract", "output"), [(True, "harmony"), (False, "special")])
def test_the_answer_is_the_final_channel_unless_all_is_asked_for(extract: bool, output: str) -> None:
    """HARMONY_EXTRACT_FINAL decides what the engine hides."""
    assert harmony(extract=extract).prompt(request()).output.form == output


def test_a_grammar_is_for_the_answer() -> None:
    """The prompt opens the final channel, for the grammar would not let the model do so."""
    plain, ruled = harmony().prompt(request()), harmony().prompt(request(params=Params(grammar='root ::= "a"')))
    assert ruled.text == plain.text + "<|channel|>final<|message|>"
    assert ruled.output.form == "text"


def test_arguments_as_an_object_are_written_as_json() -> None:
    """Some clients send them so; the model reads the same."""
    call = {"id": "a", "function": {"name": "find", "arguments": {"ort": "Köln"}}}
    text = harmony().render([Message("user", "?"), Message("assistant", tool_calls=[call])])
    assert 'to=functions.find<|channel|>commentary <|constrain|>json<|message|>{"ort": "Köln"}<|call|>' in text


@pytest.mark.parametrize(
    ("result", "name"),
    [
        (Message("tool", "x", tool_call_id="a"), "find"),
        (Message("tool", "x"), "look"),
        (Message("tool", "x", tool_call_id="other", name="third"), "third"),
    ],
)
def test_a_result_is_told_as_that_tools(result: Message, name: str) -> None:
    """By the call's id, else the message's own name, else the last call."""
    calls = [{"id": i, "function": {"name": n, "arguments": "{}"}} for i, n in (("a", "find"), ("b", "look"))]
    text = harmony().render([Message("user", "?"), Message("assistant", tool_calls=calls), result])
    assert f"<|start|>functions.{name} to=assistant<|channel|>commentary<|message|>x<|end|>" in text


@pytest.mark.parametrize(
    ("messages", "tools", "field"),
    [
        ([Message("tool", "x", tool_call_id="a")], [], r"messages\[0\].tool_call_id=a"),
        ([Message("user", "x")], [{"type": "function", "function": {}}], r"tools\[0\].function.name"),
        ([Message("user", "x")], [{"name": "flat"}], r"tools\[0\].function.name"),
        ([Message("assistant", tool_calls=[{"id": "a"}])], [], r"messages\[0\].tool_calls\[0\].function.name"),
    ],
)
def test_what_has_no_name_is_refused(messages: list[Message], tools: list[dict[str, Any]], field: str) -> None:
    """The error names the field."""
    with pytest.raises(BadRequestError, match=field):
        harmony().render(messages, tools)


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {"a": True, "b": 3, "c": None, "d": {"oneOf": [True, 1]}}},
        {"type": "object", "properties": [], "required": "a"},
        {"type": ["object", 3], "oneOf": 7},
        {"type": 5, "enum": {"a": 1}},
        {"type": "array", "items": []},
        {},
    ],
)
def test_a_schema_that_makes_no_sense_does_no_harm(parameters: dict[str, Any]) -> None:
    """It is JSON from a caller: described as far as it can be, never a failure."""
    tool = {"type": "function", "function": {"name": "odd", "description": "x", "parameters": parameters}}
    assert "type odd = (_: " in harmony().render([Message("user", "?")], [tool])
