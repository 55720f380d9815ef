"""What must the answer to this request follow?

`constraint` makes one of the four wishes (a grammar, an expression, a choice, a response format) into what engines
follow, and refuses what none can. It is asked at the gate, so that a wrong wish is answered before it queues, and again
where the job runs, which has the grammars that are stored then.
"""

import re
from collections.abc import Callable
from typing import Final

from golek_wire.errors import BadRequestError, UnknownGrammarError
from golek_wire.grammars import Grammar
from golek_wire.requests import InferenceRequest, ResponseFormat
from golek_worker.engine.base import Constraint
from golek_worker.grammars import builtin, gbnf, lark, schemas

LARGE: Final = 16 * 1024
"""Characters of a grammar that is checked where the job runs, in a thread: it takes milliseconds."""
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_JSON_OBJECT: Final = {"type": "object"}

Stored = Callable[[str], str | None]
"""The text of a stored or built-in grammar; None for a name that nobody has stored."""


def constraint(request: InferenceRequest, stored: Stored) -> Constraint | None:
    """What the answer must follow; None when it is free.

    Raises BadRequestError for two wishes at once, UnknownGrammarError, InvalidGrammarError.
    """
    params, form = request.params, request.response_format
    if form is not None and form.type == "text":
        form = None
    if params.grammar is None and params.regex is None and params.choice is None and form is None:
        return None
    _check_single(request, form)
    if params.grammar is not None:
        text = params.grammar if "::=" in params.grammar else _named(params.grammar, stored)
        gbnf.check(text)
        return Constraint("gbnf", text)
    if params.regex is not None:
        return Constraint("regex", params.regex, "params.regex")
    if params.choice is not None:
        return Constraint("lark", lark.grammar(start=lark.one_of(params.choice, "params.choice")), "params.choice")
    assert form is not None
    return _by_schema(form)


def built_in() -> dict[str, Grammar]:
    """The grammars that nobody has to store."""
    return {
        name: Grammar(name, builtin.description(text), built_in=True, content=text)
        for name, text in builtin.read().items()
    }


def check(request: InferenceRequest, stored: Stored) -> None:
    """Raise as `constraint` does; a large grammar is left to it."""
    grammar = request.params.grammar
    if grammar is None or len(grammar) <= LARGE:
        constraint(request, stored)


def _check_single(request: InferenceRequest, form: ResponseFormat | None) -> None:
    params = request.params
    wishes = {
        "params.grammar": params.grammar, "params.regex": params.regex, "params.choice": params.choice,
        "response_format": form,
    }  # fmt: skip
    asked = [name for name, wish in wishes.items() if wish is not None]
    if len(asked) > 1:
        raise BadRequestError(
            f"{' and '.join(asked)}: an answer follows one of them; leave the others out", param=asked[1]
        )


def _named(name: str, stored: Stored) -> str:
    text = stored(name) if _NAME.fullmatch(name) else None
    if text is None:
        raise UnknownGrammarError(
            f"params.grammar: no grammar is stored under the name {name[:64]!r} (`golek grammar list` shows all); "
            "a grammar itself has rules with `::=`",
            param="params.grammar",
        )
    return text


def _by_schema(form: ResponseFormat) -> Constraint:
    if form.type == "json_object":
        return Constraint("json_schema", schemas.compiled(_JSON_OBJECT, "response_format"), "response_format")
    if form.json_schema is None:
        raise BadRequestError(
            'response_format.json_schema: the type json_schema wants it, as {"name": …, "schema": {…}}',
            param="response_format.json_schema",
        )
    param = "response_format.json_schema.schema"
    return Constraint(
        "json_schema", schemas.compiled(form.json_schema.schema, param, strict=bool(form.json_schema.strict)), param
    )
