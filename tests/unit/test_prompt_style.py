"""What a chat template tells of its model: how it thinks, how it calls, and how a prompt must end for that."""

import json
from typing import Any

import pytest

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest, Params, ResponseFormat, Resume
from golek_worker.output import Output
from golek_worker.prompt import style
from golek_worker.prompt.base import Prompt
from golek_worker.prompt.build import build, check, choose
from golek_worker.prompt.templates import ChatTemplate
from golek_worker.settings import Settings
from golek_worker.text import call_constraint

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.tool_calls %}CALLS{% endif %}{% endfor %}"
OFFER = "{% if tools %}{{ tools | tojson }}{% endif %}"
ONE = "{% for c in m.tool_calls %}FORM{% endfor %}"
ARGS = "{{ c.function.arguments | tojson }}"
NAME = "{{ c.function.name }}"
BAR = "\uff5c"
SEP = f"<{BAR}tool▁sep{BAR}>"
FORMS = {
    "tool_call": f'<tool_call>\n{{"name": "{NAME}", "arguments": {ARGS}}}\n</tool_call>',
    "function": f"<tool_call><function={NAME}></function></tool_call>",
    "list": f'<|tool_call|>[{{"name": "{NAME}", "arguments": {ARGS}}}]',
    "mistral": f'[TOOL_CALLS][{{"name": "{NAME}", "arguments": {ARGS}}}]',
    "mistral, named": f"[TOOL_CALLS]{NAME}[ARGS]{ARGS}",
    "deepseek": f"<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>{NAME}{SEP}{ARGS}",
    "deepseek, earlier": f"<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>function{SEP}{NAME}\n```json\n{ARGS}",
    "llama": f'{{{{ \'{{"name": "\' }}}}{NAME}", "parameters": {ARGS}}}',
    "object": f'{{{{ \'{{"name": "\' }}}}{NAME}", "arguments": {ARGS}}}',
}
THINKS = (
    "{% if add_generation_prompt %}<bot>{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
OPENS = "{% if add_generation_prompt %}<bot><think>\n{% endif %}"
HARMONY = OFFER + (
    "{# <|channel|> #}<|start|>system<|message|>{{ reasoning_effort }}<|end|>{{ messages[0].content }}"
    "<|start|>assistant"
)
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}}
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "go"}},
]
NAMED = {"type": "function", "function": {"name": "go"}}


def template(form: str = "", ending: str = "<bot>", *, offers: bool = True) -> str:
    calls = ONE.replace("FORM", FORMS[form]) if form else ""
    return TURNS.replace("CALLS", calls) + (OFFER if offers else "") + ending


def ask(source: str, **fields: Any) -> Prompt:
    form = choose(Settings(model_name="x"), None, source, "", "")
    return build(InferenceRequest(**({"input": "hi"} | fields)), form)


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_calls_is_found_in_the_template(form: str) -> None:
    """By what it makes of a call; it means something only where tools are offered."""
    assert style.of(ChatTemplate(template(form))).calls == form.partition(",")[0]
    assert ask(template(form), tools=TOOLS).output.calls == form.partition(",")[0]
    assert ask(template(form)).output.calls == ""
    assert ask(template(form), tools=TOOLS, tool_choice="none") == ask(template(form))


@pytest.mark.parametrize(
    ("form", "begun", "first"),
    [
        ("tool_call", "<tool_call>\n", '{"name": "go", "arguments": '),
        ("function", "<tool_call>\n", '{"name": "go", "arguments": '),
        ("list", "<|tool_call|>[", '{"name": "go", "arguments": '),
        ("mistral", "[TOOL_CALLS][", '{"name": "go", "arguments": '),
        ("mistral, named", "[TOOL_CALLS]go[ARGS]", ""),
        ("deepseek", f"<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>go{SEP}", ""),
        (
            "deepseek, earlier",
            f"<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>function{SEP}go\n```json\n",
            "",
        ),
        ("llama", "", '{"name": "go", "parameters": '),
        ("object", "", '{"name": "go", "arguments": '),
    ],
)
def test_a_call_that_must_come_is_begun_in_the_prompt(form: str, begun: str, first: str) -> None:
    """In the model's own form; the rest is a constraint."""
    prompt = ask(template(form), tools=TOOLS, tool_choice=NAMED)
    assert prompt.text.endswith(f"<bot>{begun}")
    assert (prompt.output.begun, prompt.output.one_call) == (begun, True)
    assert [(way.before, way.schema) for way in prompt.ways] == [(first, {"type": "object"})]
    names = [way.before for way in ask(template(form), tools=TOOLS, tool_choice="required").ways]
    assert len(names) == 2
    assert all(name in way for name, way in zip(("look", "go"), names, strict=True))


def test_the_constraint_of_a_call_is_one_of_its_ways() -> None:
    """As llguidance's Lark: a rule for each tool's arguments."""
    ways = ask(template("tool_call"), tools=TOOLS, tool_choice="required").ways
    made = call_constraint(ways)
    start, look, go = made.text.split("\n")
    assert made.kind == "lark"
    assert start == (
        'start: "{\\"name\\": \\"look\\", \\"arguments\\": " arguments0 "}"'
        ' | "{\\"name\\": \\"go\\", \\"arguments\\": " arguments1 "}"'
    )
    assert json.loads(look.removeprefix("arguments0: %json ")).items() >= SCHEMA.items()
    assert json.loads(go.removeprefix("arguments1: %json "))["type"] == "object"


@pytest.mark.parametrize(
    ("ending", "effort", "end", "begun", "opening"),
    [
        (THINKS, None, "<bot>", "", "<think>\n\n</think>\n\n"),
        (THINKS, "high", "<bot>", "", "<think>\n\n</think>\n\n"),
        (THINKS, "none", "<bot><think>\n\n</think>\n\n", "", ""),
        (OPENS, None, "<bot><think>\n", "<think>", "\n</think>\n\n"),
        (OPENS, "none", "<bot><think>\n\n</think>\n\n", "", ""),
    ],
)
def test_thoughts_begin_where_the_prompt_ends(
    ending: str, effort: str | None, end: str, begun: str, opening: str
) -> None:
    """What leads past them is known, for a text to resume, and written where the caller wants no thoughts."""
    prompt = ask(template(ending=ending), reasoning_effort=effort)
    assert prompt.text.endswith(end)
    assert (prompt.output.think, prompt.output.begun, prompt.output.opening) == (
        ("<think>", "</think>"),
        begun,
        opening,
    )


@pytest.mark.parametrize(
    "wish",
    [
        {"params": Params(grammar='root ::= "a"')},
        {"params": Params(regex="a")},
        {"params": Params(choice=["a"])},
        {"response_format": ResponseFormat("json_object")},
    ],
)
@pytest.mark.parametrize(
    ("source", "more"),
    [
        (template(ending=THINKS), {}),
        (template(ending=OPENS), {"reasoning_effort": "none"}),
        (template(ending=OPENS), {"resume": Resume("a")}),
        (HARMONY, {}),
    ],
    ids=["by itself", "not wanted", "resumed", "harmony"],
)
def test_an_answer_that_must_follow_something_begins_without_thoughts(
    source: str, more: dict[str, Any], wish: dict[str, Any]
) -> None:
    """All that is written then is the answer."""
    prompt = ask(source, **wish, **more)
    assert prompt.text.endswith(("<think>\n\n</think>\n\n", "<|channel|>final<|message|>"))
    assert prompt.output == Output()


@pytest.mark.parametrize(
    ("source", "effort"), [(template(ending=OPENS), None), (template(ending=THINKS), "low")], ids=["opened", "wanted"]
)
def test_an_answer_that_must_follow_something_may_be_thought_of(source: str, effort: str | None) -> None:
    """Where the prompt opens thoughts, or the caller wants them: what must be followed counts behind them."""
    prompt = ask(source, response_format=ResponseFormat("json_object"), reasoning_effort=effort)
    assert prompt.text.endswith("<bot><think>\n")
    assert prompt.output == Output("marked", ("<think>", "</think>"), begun="<think>")
    assert prompt.output.end_of_thoughts == "</think>"


def test_a_template_of_harmony_is_read_as_harmony() -> None:
    """Whatever MODEL_FORMAT says of prompts."""
    prompt = ask(HARMONY, tools=TOOLS, reasoning_effort="minimal")
    assert "<|message|>low<|end|>" in prompt.text
    assert (prompt.output.form, prompt.output.calls) == ("harmony", "harmony")
    forced = ask(HARMONY, tools=TOOLS, tool_choice=NAMED)
    assert forced.text.endswith("<|channel|>commentary to=functions.go <|constrain|>json<|message|>")


@pytest.mark.parametrize(
    ("source", "fields", "says"),
    [
        (template(offers=False), {"tools": TOOLS}, "shows no tools.*tool-calling"),
        (template("tool_call"), {"tool_choice": "required"}, "no `tools` to call"),
        (template("tool_call"), {"tools": TOOLS, "tool_choice": {"function": {"name": "run"}}}, "look, go"),
        (template(), {"tools": TOOLS, "tool_choice": "required"}, "form .* is not known"),
        (template("tool_call"), {"tools": [{"function": {}}], "tool_choice": "required"}, r"tools\[0\]"),
        (
            template("tool_call"),
            {"tools": TOOLS, "tool_choice": "required", "response_format": ResponseFormat("json_object")},
            "one of the two",
        ),
        (template("tool_call"), {"tools": TOOLS, "tool_choice": "required", "resume": Resume("a")}, "resume"),
        (template(), {"reasoning_effort": "low"}, "does not think"),
        (template("tool_call"), {"raw": True, "tools": TOOLS}, "tools: a raw prompt"),
        (template(ending=THINKS), {"raw": True, "reasoning_effort": "high"}, "reasoning_effort: a raw prompt"),
    ],
)
def test_a_wish_that_cannot_be_kept_is_refused(source: str, fields: dict[str, Any], says: str) -> None:
    """With the field, and the way out."""
    with pytest.raises(BadRequestError, match=says):
        ask(source, **fields)


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        (template(offers=False), {"tools": TOOLS}),
        (template(), {"reasoning_effort": "low"}),
        (template(), {"raw": True, "tools": TOOLS}),
    ],
)
def test_what_a_model_can_never_do_is_refused_before_it_queues(source: str, fields: dict[str, Any]) -> None:
    """At the gate, without rendering anything; what it can do passes."""
    form = choose(Settings(model_name="x"), None, source, "", "")
    with pytest.raises(BadRequestError):
        check(InferenceRequest(input="hi", **fields), form)
    check(InferenceRequest(input="hi"), form)


def test_one_call_at_most_ends_the_answer() -> None:
    """parallel_tool_calls=false; the types of parameters go along where values have none of their own."""
    assert ask(template("tool_call"), tools=TOOLS, parallel_tool_calls=False).output.one_call
    assert not ask(template("tool_call"), tools=TOOLS).output.one_call
    assert ask(template("function"), tools=TOOLS).output.kinds == {"look": {"x": "string"}}
