"""Requests become the text that the model continues."""

from typing import Any

import pytest

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest, Message
from golek_worker.prompt.build import build
from golek_worker.prompt.templates import ChatTemplate

TURNS = (
    "{{ bos_token }}{% for m in messages %}\n"
    "<{{ m.role }}>{{ m.content }}\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def template(source: str | None) -> ChatTemplate | None:
    return None if source is None else ChatTemplate(source, "<s>", "</s>")


def render(source: str, **message: Any) -> str:
    return ChatTemplate(source, "<s>", "</s>").render([{"role": "user", "content": "hi", **message}])


@pytest.mark.parametrize("source", [None, TURNS])
def test_raw_input_passes_as_it_is(source: str | None) -> None:
    """`raw` bypasses any template, whitespace included."""
    assert build(InferenceRequest(input="  x\n", raw=True), template(source)) == "  x\n"


def test_input_is_one_user_turn() -> None:
    """The template sees it as a message of the user; block lines leave no blank lines."""
    assert build(InferenceRequest(input="hi"), template(TURNS)) == "<s><user>hi\n<assistant>"


def test_a_conversation_passes_the_template() -> None:
    """Every message, in order."""
    messages = [Message("system", "be brief"), Message("user", "hi")]
    text = build(InferenceRequest(messages=messages), template(TURNS))
    assert text == "<s><system>be brief\n<user>hi\n<assistant>"


def test_input_without_a_template_passes_as_it_is() -> None:
    """A base model continues text."""
    assert build(InferenceRequest(input="Once upon"), template(None)) == "Once upon"


def test_messages_without_a_template_are_refused_with_the_way_out() -> None:
    """The error says that `raw: true` works."""
    with pytest.raises(BadRequestError, match=r"no chat template.*raw: true"):
        build(InferenceRequest(messages=[Message("user", "hi")]), template(None))


def test_a_template_refuses_in_its_own_words() -> None:
    """raise_exception reaches the caller as a bad request."""
    with pytest.raises(BadRequestError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "source", ["{{ 1 / 0 }}", "{{ missing.field }}", "{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}"]
)
def test_a_template_that_fails_is_a_bad_request(source: str) -> None:
    """Errors of a template, and what the sandbox forbids, do not reach the worker."""
    with pytest.raises(BadRequestError, match="template fails"):
        render(source)


def test_a_template_that_is_no_jinja_is_named() -> None:
    """A broken template is reported when it is first used."""
    with pytest.raises(BadRequestError, match="not valid"):
        ChatTemplate("{% if %}")


def test_tojson_does_not_escape_for_html() -> None:
    """Tools and arguments reach the model as JSON."""
    assert render("{{ messages[0].content | tojson }}", content="<ä> & 'x'") == "\"<ä> & 'x'\""


def test_loop_controls_and_the_date_are_there() -> None:
    """Templates of published models use both."""
    text = render(
        "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %} {{ strftime_now('%Y') }}"
    )
    assert text.startswith("01 20")


@pytest.mark.parametrize(
    ("source", "role"), [("{{ messages[0].role }}", "system"), ("{# developer #}{{ messages[0].role }}", "developer")]
)
def test_developer_is_system_to_templates_that_do_not_know_it(source: str, role: str) -> None:
    """Newer clients work with older models."""
    assert render(source, role="developer") == role


def test_an_absent_field_is_not_defined_and_content_always_is() -> None:
    """Templates test `message.tool_calls is defined`, and print `content` without a test."""
    source = "{{ messages[0].tool_calls is defined }}[{{ messages[0].content }}]"
    assert build(InferenceRequest(messages=[Message("assistant")]), template(source)) == "False[]"
