"""Calls that must come, from a real model: the shipped demo model, which knows one form of them."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from golek_wire.replies import Delta, FunctionCall
from golek_wire.requests import InferenceRequest, Params
from golek_worker.engine.base import Finished, Submit
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.prompt.build import build, choose
from golek_worker.settings import Settings
from golek_worker.text import call_constraint
from tests.engine.tiny import engine_of

SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "kelvin"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["unit", "days"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "forecast", "parameters": SCHEMA}},
]
OFFER = (
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}FORM{% endfor %}{% endfor %}"
    "{{ tools | tojson if tools }}"
)
FORMS = {
    "tool_call": '<tool_call>{"name": "{{ c.function.name }}"}</tool_call>',
    "list": '<|tool_call|>[{"name": "{{ c.function.name }}"}]',
    "mistral": '[TOOL_CALLS][{"name": "{{ c.function.name }}"}]',
    "named": "[TOOL_CALLS]{{ c.function.name }}[ARGS]{}",
    "llama": '<|python_tag|>{"name": "{{ c.function.name }}"}',
    "harmony": "<|channel|><|message|>",
}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaCppEngine]:
    """The demo model, in this process."""
    with engine_of(2) as engine:
        yield engine


@pytest.mark.parametrize("choice", [None, "required"])
def test_the_shipped_model_calls_in_its_own_form(engine: LlamaCppEngine, choice: Any) -> None:
    """Its template shows the form: what it writes by itself is read as a call, and one can be asked for."""
    tool = {"name": "get_weather", "description": "Get the current weather of a city.", "parameters": WEATHER}
    asked = InferenceRequest(
        input="What is the weather in Paris?", tools=[{"type": "function", "function": tool}], tool_choice=choice
    )
    prompt = build(asked, choose(Settings(model_name="x"), None, engine.ready.chat_template, "", ""))
    submit = Submit("j", prompt.text, Params(max_tokens=60, temperature=0.0), 7, output=prompt.output)
    if prompt.ways:
        submit = msgspec.structs.replace(submit, constraint=call_constraint(prompt.ways))
    engine.submit(submit)
    events = []
    while engine.running:
        events += list(engine.step())
    (end,) = events
    assert isinstance(end, Finished)
    assert (end.text, end.finish_reason) == ("", "tool_calls")
    assert [call.function for call in end.tool_calls or ()] == [FunctionCall("get_weather", '{"city": "Paris"}')]


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "forecast"}}], ids=["any", "one"]
)
@pytest.mark.parametrize("form", FORMS)
def test_a_call_that_must_come_comes(engine: LlamaCppEngine, form: str, choice: object) -> None:
    """One of the tools, or the one that was named, with arguments by its schema; streamed, the same call."""
    chosen = choose(Settings(model_name="x"), None, OFFER.replace("FORM", FORMS[form]), "", "")
    prompt = build(InferenceRequest(input="hi", tools=TOOLS, tool_choice=choice), chosen)  # type: ignore[arg-type]
    asked = Submit("j", prompt.text, Params(max_tokens=200), 7, stream=True, output=prompt.output)
    engine.submit(msgspec.structs.replace(asked, constraint=call_constraint(prompt.ways)))
    events = []
    while engine.running:
        events += list(engine.step())
    *pieces, end = events
    assert isinstance(end, Finished)
    assert (end.text, end.finish_reason) == ("", "tool_calls")
    (call,) = end.tool_calls or ()
    assert call.function.name in (("weather", "forecast") if choice == "required" else ("forecast",))
    arguments = json.loads(call.function.arguments)
    assert arguments["unit"] in ("celsius", "kelvin")
    assert 1 <= arguments["days"] <= 9
    deltas = [delta for _, piece in pieces for delta in (piece.tool_calls if isinstance(piece, Delta) else None) or ()]
    told = FunctionCall("".join(d.name for d in deltas), "".join(d.arguments for d in deltas))
    assert (deltas[0].id, told) == (call.id, call.function)
