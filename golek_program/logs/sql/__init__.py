"""Which statements read a request log?

`queries.sql` holds named blocks (`-- name: search`). They read `rows`, a temporary view of `requests` that
`rows_1.sql` or a later one makes: logs of every version look alike through it. Python never builds SQL.
"""

import re
from functools import cache
from importlib import resources

from golek_program import statements

_VIEW = re.compile(r"rows_(\d+)\.sql")


@cache
def queries() -> dict[str, str]:
    """Statement by name."""
    return statements.named(__package__)


@cache
def _views() -> dict[int, str]:
    """What makes the view, by the first version of the log that has all its columns."""
    names = [file.name for file in resources.files(__package__).iterdir()]
    return {int(match[1]): statements.read(__package__, match[0]) for name in names if (match := _VIEW.fullmatch(name))}


def view(version: int) -> str:
    """What makes the view of a log of this version; a log that is newer than all is read as the newest known."""
    return _views()[max(known for known in _views() if known <= max(version, 1))]
