r"""How is what an answer must follow said in Lark, as llguidance reads it?

A grammar is a line per rule, and its answer begins at `start`. These are the pieces from which others are built:

    lark.grammar(start='call ("\n" call)*', call='"<tool_call>\n" arguments "\n</tool_call>"',
                 arguments=lark.schema(schemas.compiled(parameters, "tools")))

Rules and terminals are written as llguidance's documentation says (docs/syntax.md there): `"text"`, `/expression/`,
`%json {…}`, `%regex`, `( )`, `|`, `*`, `+`, `?`, `{m,n}`, and `<|name|>` for a control token.
"""

import msgspec

from golek_wire.errors import BadRequestError


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
