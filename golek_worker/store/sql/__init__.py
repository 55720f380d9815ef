"""Which statements does the store run?

`queries.sql` holds named blocks (`-- name: insert_requests`), the numbered files are migrations. Python never builds
SQL.
"""

import re
import sqlite3
from functools import cache
from importlib import resources

from golek_program import statements

_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")


@cache
def queries() -> dict[str, str]:
    """Statement by name."""
    return statements.named(__package__)


@cache
def migrations() -> dict[int, list[str]]:
    """The statements that lead to each version, in the order of versions."""
    found = {}
    for file in resources.files(__package__).iterdir():
        if match := _MIGRATION.fullmatch(file.name):
            found[int(match[1])] = _statements(statements.read(__package__, file.name))
    return dict(sorted(found.items()))


def _statements(script: str) -> list[str]:
    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending.strip())
            pending = ""
    return statements
