"""How does a conversation become the text a model was trained on, by the template in its file?

The template is Jinja, code from a stranger's file: it runs in a sandbox that reaches nothing, on copies of what the
caller sent, with the environment that Hugging Face's transformers gives to chat templates. Where transformers refuses
what llama.cpp renders, and published models rely on it, it is rendered: lists can be appended to, `tojson` takes what
`map` gives, and `safe` does nothing.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import msgspec
from jinja2 import TemplateError, Undefined, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment

from golek_wire.errors import BadRequestError

TemplateMessage = Mapping[str, Any]
TemplateMessages = Sequence[TemplateMessage]
_PYTHON_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""Whatever goes wrong inside a template comes from its code and the messages."""
_NEEDLE = "needle8731"


class ChatTemplate:
    """A compiled chat template. Compile once, render often."""

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        """Raises BadRequestError when `source` is not Jinja."""
        self.source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._knows_developer = "developer" in source
        try:
            self._template = _environment().from_string(source)
        except (TemplateError, *_PYTHON_ERRORS) as error:  # Jinja makes Python code of it, which has limits of its own
            raise BadRequestError(f"The model's chat template is not valid: {_said(error)}") from None
        self._wants_parts = False
        self._arguments_as_text = False
        self._calls_lack_content = False
        self._learn_form_of_texts()
        self._learn_form_of_calls()

    def render(self, messages: TemplateMessages, tools: Sequence[Mapping[str, Any]] | None = None, **more: Any) -> str:
        """The text of `messages`, up to where the assistant's answer begins; `more` are further variables.

        Raises BadRequestError with the template's own words when it refuses the conversation, and Jinja's when it
        fails.
        """
        try:
            return self._template.render(self.variables(messages, tools) | more)
        except _TemplateRefusalError as error:
            raise BadRequestError(f"The model's chat template refuses the conversation: {error}") from None
        except (TemplateError, *_PYTHON_ERRORS) as error:
            raise BadRequestError(f"The model's chat template fails on the conversation: {_said(error)}") from None

    def variables(self, messages: TemplateMessages, tools: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """What the template reads.

        The role `developer` is shown as `system` to a template that does not speak of it. Arguments of tool calls are
        JSON in a string on the wire; templates get the object, or the string where they print it as it is. A message
        of calls alone has an empty content, or None where a template knows calls by that. A text is a list of one part
        for a template that shows no other, as many do whose models see. Without tools there is no
        variable `tools`: templates made for tools alone walk over it without asking.
        """
        shown = [self._shown(message) for message in messages]
        offered = {"tools": copy.deepcopy(list(tools))} if tools else {}
        return {"messages": shown, **offered, "add_generation_prompt": True, **self._tokens}

    def _shown(self, message: TemplateMessage) -> dict[str, Any]:
        shown = copy.deepcopy(dict(message))
        if shown["role"] == "developer" and not self._knows_developer:
            shown["role"] = "system"
        if self._calls_lack_content and shown.get("tool_calls") and not shown.get("content"):
            shown["content"] = None
        if self._wants_parts and isinstance(shown.get("content"), str):
            shown["content"] = [{"type": "text", "text": shown["content"]}]
        for call in shown.get("tool_calls") or ():
            function = call.get("function")
            if isinstance(function, dict) and "arguments" in function:
                function["arguments"] = self._arguments(function["arguments"])
        return shown

    def _arguments(self, arguments: Any) -> Any:
        if self._arguments_as_text:
            return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        if not isinstance(arguments, str):
            return arguments
        try:
            parsed = msgspec.json.decode(arguments)
        except (ValueError, RecursionError):
            return arguments  # what a model wrote wrongly is shown as it wrote it
        return parsed if isinstance(parsed, dict) else arguments

    def _learn_form_of_texts(self) -> None:
        """Find the form of texts that this template shows; a string when it shows none."""
        for self._wants_parts in (False, True):
            try:
                if _NEEDLE in self.render([{"role": "user", "content": _NEEDLE}]):
                    return
            except BadRequestError:
                continue
        self._wants_parts = False

    def _learn_form_of_calls(self) -> None:
        """Find the form of tool calls that this template shows; the usual one when it shows none."""
        for lack_content in (False, True):
            for as_text in (False, True):
                self._arguments_as_text, self._calls_lack_content = as_text, lack_content
                shown = self._probe({"needle": "hay"}) or ""
                # Printed as Python would: the template takes the object for text.
                if "needle" in shown and "'needle'" not in shown and '\\"needle' not in shown:
                    return
        self._arguments_as_text = self._calls_lack_content = False

    def shown_call(self) -> str:
        """A call of the tool `find` as the template shows it; nothing where it does not."""
        return self._probe({"needle": "hay"}) or ""

    def _probe(self, arguments: dict[str, str]) -> str | None:
        """A tool call as the template shows it; None when it does not."""
        call = {"id": "call00000", "type": "function", "function": {"name": "find", "arguments": arguments}}
        asked = {"role": "user", "content": "?"}
        called = {"role": "assistant", "content": "", "tool_calls": [call]}
        told = {"role": "tool", "name": "find", "tool_call_id": "call00000", "content": "found"}
        try:
            return self.render([asked, called, told])
        except BadRequestError:
            return None


class _TemplateRefusalError(Exception):
    """What `raise_exception` in a template raises."""


class _Generation(Extension):
    """`{% generation %}`: transformers marks with it what a model learns to write; for a prompt it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own interface

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The block's content, as if the tag were not there."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[loopcontrols, _Generation],
        finalize=_printed,
        undefined=_Missing,
    )
    environment.filters["tojson"] = _to_json
    environment.filters["safe"] = str  # Jinja's marks the text as HTML, and what is added to it is then escaped
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


class _Missing(Undefined):
    """A variable that nobody gave: added to a text it adds nothing, as in llama.cpp."""

    def __add__(self, other: Any) -> Any:
        return other

    __radd__ = __add__


def _printed(value: Any) -> Any:
    """What `{{ … }}` writes: of None nothing, as llama.cpp does; a prompt that says `None` is no one's wish."""
    return "" if value is None else value


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is; Jinja's own filter would escape it for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, default=_as_list
    )


def _as_list(value: object) -> list[Any]:
    """What `map`, `select` and the like give. Raises TypeError for anything else."""
    if isinstance(value, Iterator):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _raise_exception(message: str) -> NoReturn:
    raise _TemplateRefusalError(message)


def _strftime_now(form: str) -> str:
    """Today in the worker's time zone; some templates tell the model the date."""
    return datetime.now().astimezone().strftime(form)
