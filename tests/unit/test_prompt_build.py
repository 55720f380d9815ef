"""Requests become the text that the model continues: which format is asked, and what each refuses."""

from typing import Any

import pytest

from golek_wire.errors import BadRequestError
from golek_wire.requests import STOP_LIMIT, InferenceRequest, Message, Params
from golek_worker.prompt.base import Format
from golek_worker.prompt.build import build, choose
from golek_worker.prompt.turns import TurnMarkers
from golek_worker.settings import Settings
from golek_worker.text import with_stops

TURNS = (
    "{{ bos_token }}{% for m in messages %}\n"
    "<{{ m.role }}>{{ m.content }}\n"
    "{% endfor %}\n"
    "{% for tool in tools %}[{{ tool.function.name }}]{% endfor %}\n"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MARKERS = TurnMarkers("test", "U: ", "\n", "M: ", "\n", stop=["END"])
TOOLS = [{"type": "function", "function": {"name": "find"}}]
CALL = [{"id": "a", "type": "function", "function": {"name": "find", "arguments": "{}"}}]


def form(
    template: str | None = TURNS, markers: TurnMarkers | None = None, model_format: Any = "template", **more: Any
) -> Format:
    return choose(Settings(model_name="x", model_format=model_format, **more), markers, template, "<s>", "</s>")


def ask(form: Format, **fields: Any) -> str:
    return build(InferenceRequest(**fields), form).text


@pytest.mark.parametrize(
    ("form", "text", "output"),
    [
        (form("{% if %}"), "  x\n", "text"),
        (form(None), "  x\n", "text"),
        (form(TURNS), "  x\n", "text"),
        (form(TURNS, MARKERS), "  x\n", "text"),
        (form(TURNS, MARKERS, "gguf"), "  x\n", "text"),
        (form(TURNS, MARKERS, "raw"), "  x\n", "text"),
        (form(TURNS, MARKERS, "harmony"), "<|start|>user", "special"),
    ],
)
def test_raw_input_passes_as_it_is(form: Format, text: str, output: str) -> None:
    """`raw` bypasses every format, whitespace and stop strings included; nothing of the answer is hidden."""
    prompt = build(InferenceRequest(input=text, raw=True), form)
    assert (prompt.text, prompt.output.form, prompt.stops) == (text, output, [])


@pytest.mark.parametrize(
    ("model_format", "markers", "template", "text"),
    [
        ("template", None, TURNS, "<s><user>hi\n<assistant>"),
        ("template", MARKERS, TURNS, "U: hi\nM: "),
        ("template", MARKERS, None, "U: hi\nM: "),
        ("template", MARKERS, "{% if %}", "U: hi\nM: "),
        ("template", None, None, "hi"),
        ("gguf", MARKERS, TURNS, "<s><user>hi\n<assistant>"),
        ("gguf", MARKERS, None, "hi"),
        ("raw", MARKERS, TURNS, "hi"),
    ],
)
def test_the_first_format_there_is_makes_the_prompt(
    model_format: str, markers: TurnMarkers | None, template: str | None, text: str
) -> None:
    """Markers before the file's template; MODEL_FORMAT leaves formats out."""
    assert ask(form(template, markers, model_format), input="hi") == text


def test_harmony_comes_before_markers_and_template() -> None:
    """With the deployment's words in it."""
    text = ask(
        form(TURNS, MARKERS, "harmony", harmony_model_identity="Golek", harmony_reasoning_level="high"), input="hi"
    )
    assert text.startswith("<|start|>system<|message|>You are Golek.\nKnowledge cutoff: 2024-06\nCurrent date: 20")
    assert "\n\nReasoning: high\n\n" in text
    assert text.endswith("<|start|>user<|message|>hi<|end|><|start|>assistant")


def test_a_conversation_passes_the_template() -> None:
    """Every message, in order."""
    text = ask(form(), messages=[Message("system", "be brief"), Message("user", "hi")])
    assert text == "<s><system>be brief\n<user>hi\n<assistant>"


@pytest.mark.parametrize(
    ("fields", "ending"),
    [
        ({"input": "hi", "tools": TOOLS}, "[find]<assistant>"),
        ({"messages": [Message("user", "hi"), Message("assistant", tool_calls=CALL)]}, "<assistant>\n<assistant>"),
        ({"messages": [Message("user", "hi"), Message("tool", "x")]}, "<tool>x\n<assistant>"),
        ({"messages": [Message("user", "hi"), Message("system", "now")]}, "<system>now\n<assistant>"),
    ],
)
def test_what_markers_cannot_express_goes_to_the_files_template(fields: dict[str, Any], ending: str) -> None:
    """Tools, calls and results; without a template in the file the error says so."""
    prompt = build(InferenceRequest(**fields), form(TURNS, MARKERS))
    assert prompt.text.endswith(ending)
    assert prompt.stops == []
    with pytest.raises(BadRequestError, match=r"'test' cannot express.*no chat template.*raw: true"):
        ask(form(None, MARKERS), **fields)


@pytest.mark.parametrize("field", ["messages", "tools"])
@pytest.mark.parametrize(
    ("form", "why"), [(form(None), "no chat template"), (form(TURNS, MARKERS, "raw"), "MODEL_FORMAT=raw")]
)
def test_what_cannot_be_shown_is_refused_with_the_way_out(form: Format, why: str, field: str) -> None:
    """The error says why, and that `raw: true` works."""
    value = [Message("user", "hi")] if field == "messages" else TOOLS
    with pytest.raises(BadRequestError, match=rf"{field}: .*{why}.*raw: true") as refused:
        ask(form, **{field: value})
    assert refused.value.details["param"] == field


def test_a_broken_template_stops_no_raw_prompts() -> None:
    """What is wrong with it is told to those whom it concerns."""
    with pytest.raises(BadRequestError, match=r"not valid.*raw: true"):
        ask(form("{% if %}"), input="hi")


def test_an_absent_field_is_not_defined_and_content_always_is() -> None:
    """Templates test `message.tool_calls is defined`, and print `content` without a test."""
    source = "{{ messages[0].tool_calls is defined }}[{{ messages[0].content }}]"
    assert ask(form(source), messages=[Message("assistant")]) == "False[]"


@pytest.mark.parametrize(
    ("form", "capabilities"),
    [
        (form(None), []),
        (form(TURNS), ["tool-calling"]),
        (form(TURNS, MARKERS), ["tool-calling"]),
        (form(None, MARKERS), []),
        (form(TURNS, model_format="raw"), []),
        (form("{% if %}"), []),
        (form(None, model_format="harmony"), ["reasoning", "tool-calling"]),
    ],
)
def test_a_format_tells_what_it_can_express(form: Format, capabilities: list[str]) -> None:
    """What the worker then tells of itself."""
    assert list(form.capabilities) == capabilities


def test_markers_bring_stop_strings() -> None:
    """The beginning of a user turn, and the file's own."""
    assert build(InferenceRequest(input="hi"), form(None, MARKERS)).stops == ["U:", "END"]


@pytest.mark.parametrize(
    ("params", "stops"),
    [
        (Params(), ["U:", "END"]),
        (Params(stop="END"), ["END", "U:"]),
        (Params(stop=["x", "y"]), ["x", "y", "U:", "END"]),
        (Params(stop=[str(i) for i in range(STOP_LIMIT)]), [str(i) for i in range(STOP_LIMIT)]),
        (Params(ignore_eos=True), []),
    ],
)
def test_stop_strings_of_the_format_come_after_the_callers(params: Params, stops: list[str]) -> None:
    """Never more than a request may have, none twice, and none for a text that goes on past the model's end."""
    assert with_stops(params, ["U:", "END"]).stop == stops
