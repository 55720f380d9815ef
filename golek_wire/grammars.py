"""How are named grammars stored, read and removed over the bus?

On `grammars.list`, `.get`, `.put` and `.delete`, as JSON. A name stands in `params.grammar` of a request.
"""

import re
from typing import Annotated, Final

from msgspec import Meta, Struct

from golek_wire.requests import Text

NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
NAME_LIMIT: Final = 64
CONTENT_LIMIT: Final = 256 * 1024


class Question(Struct, frozen=True, omit_defaults=True):
    """The body on `grammars.get` and `grammars.delete`."""

    name: str
    revision: Annotated[int, Meta(ge=0)] | None = None
    """With a delete: only if it is still this one; else CONFLICT."""


class Draft(Struct, frozen=True, omit_defaults=True):
    """The body on `grammars.put`."""

    name: str
    content: Annotated[str, Meta(max_length=CONTENT_LIMIT)]
    """GBNF."""
    description: Text = ""
    revision: Annotated[int, Meta(ge=0)] | None = None
    """Only if the stored one still is this; 0 only if there is none. Else CONFLICT. None overwrites what there is."""


class Grammar(Struct, frozen=True, omit_defaults=True):
    """A grammar by its name; `content` is left out of lists and answers to a put."""

    name: str
    description: str = ""
    created: str = ""
    """RFC 3339; empty for a built-in one."""
    updated: str = ""
    revision: int = 0
    """Rises with each put of any grammar; 0 for a built-in one."""
    built_in: bool = False
    content: str = ""


class Grammars(Struct, frozen=True):
    """The answer on `grammars.list`."""

    grammars: list[Grammar]
    """By name."""


class Deleted(Struct, frozen=True):
    """The answer on `grammars.delete`."""

    name: str
    deleted: bool = True


def is_name(text: str) -> bool:
    """True for a name that can be stored: 1 to 64 of A-Z a-z 0-9 . _ -, with no dot first, last or beside another."""
    return len(text) <= NAME_LIMIT and NAME.fullmatch(text) is not None
