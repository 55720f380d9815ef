"""Can another replica go on behind the text of an answer, or must it write all of it again?

Behind a text there is only the rest of it to write, and its beginning cannot come out differently. What has a form of
its own (calls, JSON, a grammar) or several texts is written again: it must begin as it did before.
"""

from typing import Any

import msgspec
from msgspec import Struct

from golek_wire import codec


class _Shape(Struct):
    n: int = 1
    logprobs: bool = False
    grammar: str | None = None
    regex: str | None = None
    choice: list[Any] | None = None


class _Asked(Struct):
    params: _Shape = msgspec.field(default_factory=_Shape)
    tools: list[Any] | None = None
    response_format: dict[str, Any] | None = None


def can_go_on(payload: bytes) -> bool:
    """Whether this request's answer is one plain text. False where that is not known: its body lies elsewhere."""
    if not payload:
        return False
    try:
        asked = codec.decode(payload, _Asked)
    except msgspec.ValidationError:
        return False
    shape, form = asked.params, asked.response_format or {}
    has_form = shape.grammar or shape.regex or shape.choice or asked.tools or form.get("type") not in (None, "text")
    return shape.n == 1 and not shape.logprobs and not has_form
