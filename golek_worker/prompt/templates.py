"""How does a conversation become the text a model was trained on?

The template in the GGUF file says so, in Jinja. It is code from a stranger's file: it runs in a sandbox that changes
nothing and reaches nothing, with the environment that Hugging Face's transformers gives to chat templates.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from golek_wire.errors import BadRequestError


class ChatTemplate:
    """A compiled chat template. Compile once, render often."""

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        """Raises BadRequestError when `source` is not Jinja."""
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._knows_developer = "developer" in source
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise BadRequestError(f"The model's chat template is not valid: {error}") from None

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None) -> str:
        """The text of `messages`, up to where the assistant's answer begins.

        The role `developer` is shown as `system` to a template that does not speak of it. Raises BadRequestError with
        the template's own words when it refuses the conversation, and Jinja's when it fails.
        """
        shown = [self._shown(message) for message in messages]
        try:
            return self._template.render(messages=shown, tools=tools, add_generation_prompt=True, **self._tokens)
        except _TemplateRefusalError as error:
            raise BadRequestError(f"The model's chat template refuses the conversation: {error}") from None
        except (
            TemplateError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            # Whatever goes wrong inside a template comes from its code and these messages.
            raise BadRequestError(f"The model's chat template fails on the conversation: {error}") from None

    def _shown(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        if message["role"] == "developer" and not self._knows_developer:
            return {**message, "role": "system"}
        return message


class _TemplateRefusalError(Exception):
    """What `raise_exception` in a template raises."""


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is; Jinja's own filter would escape it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise _TemplateRefusalError(message)


def _strftime_now(form: str) -> str:
    """Today in the worker's time zone; some templates tell the model the date."""
    return datetime.now().astimezone().strftime(form)
