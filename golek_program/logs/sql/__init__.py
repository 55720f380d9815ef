"""Which statements read a request log?

`queries.sql` holds named blocks (`-- name: search`). They read `rows`, a temporary view of `requests` that
`rows_1.sql` or a later one makes: logs of every version look alike through it. Python never builds SQL.
"""

import re
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_VIEW = re.compile(r"rows_(\d+)\.sql")


@cache
def queries() -> dict[str, str]:
    """Statement by name."""
    parts = _NAME.split(_read("queries.sql"))
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


@cache
def _views() -> dict[int, str]:
    """What makes the view, by the first version of the log that has all its columns."""
    names = [file.name for file in resources.files(__package__).iterdir()]
    return {int(match[1]): _read(match[0]) for name in names if (match := _VIEW.fullmatch(name))}


def view(version: int) -> str:
    """What makes the view of a log of this version; a log that is newer than all is read as the newest known."""
    return _views()[max(known for known in _views() if known <= max(version, 1))]


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
