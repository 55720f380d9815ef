"""Chat templates in Jinja: their environment, what they see, and how they fail."""

import json
from typing import Any

import pytest

from golek_wire.errors import BadRequestError
from golek_worker.prompt import capabilities
from golek_worker.prompt.templates import ChatTemplate


def render(source: str, **message: Any) -> str:
    return ChatTemplate(source, "<s>", "</s>").render([{"role": "user", "content": "hi", **message}])


def test_a_template_refuses_in_its_own_words() -> None:
    """raise_exception reaches the caller as a bad request."""
    with pytest.raises(BadRequestError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 / 0 }}",
        "{{ missing.field }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__name__ }}",
        "{{ strftime_now.__globals__['datetime'] }}",
        "{{ strftime_now | tojson }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{{ 'a' * (messages | length * 99999999999999) }}",
        "{% set d = {'a': 1} %}{% for k in d %}{% set _ = d.update({loop.index ~ 'x': 1}) %}{% endfor %}",
    ],
)
def test_a_template_that_fails_is_a_bad_request(source: str) -> None:
    """Errors of a template, and what the sandbox forbids, do not reach the worker."""
    with pytest.raises(BadRequestError, match="template fails"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{% for a in [1] %}" * 25 + "{% endfor %}" * 25,
        "{% if true %}" * 120 + "{% endif %}" * 120,
        "{{ " + "9" * 5000 + " }}",
    ],
)
def test_a_template_that_does_not_compile_is_named(source: str) -> None:
    """No Jinja, or more than Python's own compiler takes: reported when it is compiled."""
    with pytest.raises(BadRequestError, match=r"not valid: \S"):
        ChatTemplate(source)


def test_a_template_changes_copies_only() -> None:
    """Published templates append to lists; what the caller sent stays."""
    call = {"function": {"name": "find", "arguments": "{}"}}
    messages = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    tools = [{"function": {"name": "find"}}]
    source = (
        "{% set _ = messages[0].tool_calls.append(1) %}{% set _ = messages[0].update({'content': 'x'}) %}"
        "{% set _ = tools[0].function.update({'name': 'y'}) %}{{ messages | tojson }}{{ tools | tojson }}"
    )
    text = ChatTemplate(source).render(messages, tools)
    assert '"content": "x"' in text
    assert '"name": "y"' in text
    assert messages == [{"role": "assistant", "content": "", "tool_calls": [call]}]
    assert call == {"function": {"name": "find", "arguments": "{}"}}
    assert tools == [{"function": {"name": "find"}}]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ messages[0].content | tojson }}", "\"<ä> & 'x'\""),
        ("{{ 'a<'|safe + messages[0].content }}", "a<<ä> & 'x'"),
        ("{{ messages | map(attribute='role') | tojson }}", '["user"]'),
        ("{{ {'b': 1, 'a': [2]} | tojson(indent=1) }}", '{\n "b": 1,\n "a": [\n  2\n ]\n}'),
        ("{% generation %}{{ messages[0].role }}{% endgeneration %}!", "user!"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ strftime_now('%Y')[:2] }}", "20"),
        ("{{ bos_token }}{{ eos_token }}", "<s></s>"),
        ("{{ tools is defined }}{% for tool in tools %}{% endfor %}", "False"),
    ],
)
def test_what_published_templates_use_is_there(source: str, text: str) -> None:
    """JSON as it is, loop controls, the date, and tags of transformers."""
    assert render(source, content="<ä> & 'x'") == text


@pytest.mark.parametrize(
    ("source", "role"), [("{{ messages[0].role }}", "system"), ("{# developer #}{{ messages[0].role }}", "developer")]
)
def test_developer_is_system_to_templates_that_do_not_know_it(source: str, role: str) -> None:
    """Newer clients work with older models."""
    assert render(source, role="developer") == role


CALLS = "{% for m in messages if m.tool_calls %}{% for c in m.tool_calls %}"
ENDS = "{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("prints", "shown"),
    [
        ("{{ c.function.arguments | tojson }}", '{"ort": "Köln"}'),
        ("{{ c.function | tojson }}", '{"name": "f", "arguments": {"ort": "Köln"}}'),
        ("{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}", "ort=Köln"),
        ("{{ c.function.arguments }}", '{"ort": "Köln"}'),
        ("{{ '<' + c.function.arguments + '>' }}", '<{"ort": "Köln"}>'),
        ("{{ raise_exception('no calls') if false }}", ""),
    ],
)
@pytest.mark.parametrize("arguments", [{"ort": "Köln"}, '{"ort": "Köln"}'])
def test_arguments_come_in_the_form_the_template_can_print(prints: str, shown: str, arguments: Any) -> None:
    """An object to templates that print JSON or walk over it, text to those that print what they get."""
    called = [{"function": {"name": "f", "arguments": arguments}}]
    assert render(CALLS + prints + ENDS, role="assistant", tool_calls=called) == shown


@pytest.mark.parametrize(
    ("condition", "shown"),
    [("m.content is none", "f"), ("m.content is string", "f"), ("not m.content", "f"), ("false", "")],
)
def test_calls_alone_have_the_content_the_template_knows_them_by(condition: str, shown: str) -> None:
    """Some show calls only where the content is none, others fail on none."""
    source = "{% for m in messages if m.tool_calls and " + condition + " %}{% for c in m.tool_calls %}"
    source += "{{ c.function.name ~ ('' if c.function.arguments == {} else c.function.arguments) }}" + ENDS
    called = [{"function": {"name": "f", "arguments": "{}"}}]
    assert render(source, role="assistant", content="", tool_calls=called).removesuffix("{}") == shown


def test_arguments_that_are_no_object_stay_as_they_are() -> None:
    """A model may have written broken JSON; it is shown what it wrote."""
    called = [{"function": {"name": "f", "arguments": text}} for text in ('{"a": ', "[1]")]
    source = CALLS + "{{ c.function.arguments | tojson }}" + ENDS
    assert render(source, role="assistant", tool_calls=called) == json.dumps('{"a": ') + json.dumps("[1]")


SAYS = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (SAYS, []),
        ("{# tools reasoning_content enable_thinking <think> #}" + SAYS, []),
        (SAYS + "{{ tools | tojson if tools }}", ["tool-calling"]),
        (SAYS + "{{ tools | length if tools }}", []),
        (SAYS + "{{ raise_exception('no tools here') if tools }}", []),
        (SAYS + "<think>\n", ["reasoning"]),
        (SAYS + "<think></think>", []),
        (SAYS + "{{ '<think></think>' if enable_thinking is defined and not enable_thinking }}", ["reasoning"]),
        ("{% for m in messages %}{{ m.reasoning_content }}{{ m.content }}{% endfor %}", ["reasoning"]),
        (SAYS + "{% for m in messages if m.tool_calls %}{{ m.reasoning_content }}{% endfor %}", ["reasoning"]),
        ("{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}", ["reasoning"]),
        ("{{ raise_exception('never') }}", []),
        (SAYS + "{{ messages[0].content if tools else '<think>' }}", ["reasoning"]),
    ],
)
def test_capabilities_are_what_comes_out_not_what_is_written(source: str, found: list[str]) -> None:
    """A template that only mentions tools or thoughts offers neither."""
    assert capabilities.of(ChatTemplate(source)) == found


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("[{{ none }}]", "[]"),
        ("[{{ messages[0].content + absent }}]", "[hi]"),
        ("[{{ absent + '!' }}]", "[!]"),
    ],
)
def test_what_is_not_there_writes_nothing(source: str, text: str) -> None:
    """As in llama.cpp: neither `None` nor an error for a variable that only one vendor's server has."""
    assert ChatTemplate(source).render([{"role": "user", "content": "hi"}]) == text
