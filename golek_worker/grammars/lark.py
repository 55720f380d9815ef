r"""How is what an answer must follow said in Lark, as llguidance reads it?

A grammar is a line per rule, and its answer begins at `start`. These are the pieces from which others are built:

    lark.grammar(start='call ("\n" call)*', call='"<tool_call>\n" arguments "\n</tool_call>"',
                 arguments=lark.schema(schemas.compiled(parameters, "tools")))

Rules and terminals are written as llguidance's documentation says (docs/syntax.md there): `"text"`, `/expression/`,
`%json {…}`, `%regex`, `( )`, `|`, `*`, `+`, `?`, `{m,n}`, and `<|name|>` for a control token.
"""

import re
from typing import Final

import msgspec

from golek_wire.errors import BadRequestError

_NAME: Final = re.compile(r"<[^<>\s]+>")


def grammar(**rules: str) -> str:
    """A grammar of these rules; one of them is `start`. A name in capitals is a terminal."""
    return "\n".join(f"{name}: {rule}" for name, rule in rules.items())


def literal(text: str) -> str:
    """`text`, exactly."""
    return msgspec.json.encode(text).decode()


def schema(compiled: str) -> str:
    """JSON by a schema that `schemas.compiled` made. It stands as a rule of its own."""
    return f"%json {compiled}"


def one_of(texts: list[str], param: str) -> str:
    """Exactly one of `texts`. Raises BadRequestError for an empty one, which nobody would see."""
    if "" in texts:
        raise BadRequestError(f"{param}: number {texts.index('') + 1} is empty", param=param)
    return " | ".join(map(literal, dict.fromkeys(texts)))


def behind(mark: str, rules: dict[str, str], *, is_token: bool = False) -> str:
    """A grammar whose rules begin to count behind `mark`, as the end of a model's thoughts; before it stands any text.

    `is_token` says that the mark is one control token, `<…>`, and not text.
    """
    rules = dict(rules)
    answer = rules.pop("start")
    if is_token:
        # Other control tokens may not come: the model would end its turn in mid-thought.
        start = f"TEXT? {mark} answer"
        return grammar(start=start, answer=answer, TEXT=r"/(?s:.+)/", **rules)
    return grammar(
        **{"start": "thoughts answer", f"thoughts[suffix={literal(mark)}]": r"/(?s:.*)/"}, answer=answer, **rules
    )
