"""How is one request log read?

Read-only and beside the worker that writes it: WAL lets both go on. Whatever keeps a file from being read is said of
that file, and no statement runs longer than it may.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from golek_program.logs.sql import queries, view

BUSY_S: Final = 1.0
"""How long a statement waits for another process's lock."""
LONGEST_S: Final = 5.0
"""A question that takes longer, of all logs together, is given up."""
_STEPS: Final = 20_000
"""Of SQLite's machine, between two looks at the clock: about a millisecond."""
_NOT_OURS: Final = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_TOO_LONG: Final = f"it took longer than {LONGEST_S:g} s: ask for less, by `since` or `model`"


class LogProblemError(Exception):
    """A log that could not be read; the message says why, without its path."""


@contextmanager
def opened(path: Path, until: float) -> Iterator[sqlite3.Connection]:
    """A read-only connection whose statements end by `until`, on the monotonic clock.

    What goes wrong inside is raised as LogProblemError.
    """
    try:
        with closing(_connect(path, until)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise LogProblemError(_why(error)) from error


def ask(connection: sqlite3.Connection, name: str, values: Mapping[str, Any]) -> list[sqlite3.Row]:
    """The rows of a named statement. Raises sqlite3.Error, of which `opened` makes what it raises."""
    return connection.execute(queries()[name], values).fetchall()


def _connect(path: Path, until: float) -> sqlite3.Connection:
    if not path.is_file():
        raise LogProblemError("the file is gone")
    if time.monotonic() >= until:
        raise LogProblemError(_TOO_LONG)
    try:
        return _opened(path, until, "mode=ro")
    except sqlite3.Error as error:
        # Where no writer has its -wal and -shm beside a log, a reader makes them, if it may. Nobody writes it then.
        if _code(error) not in _NOT_OURS or path.with_name(f"{path.name}-wal").exists():
            raise
        return _opened(path, until, "mode=ro&immutable=1")


def _opened(path: Path, until: float, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=BUSY_S)
    try:
        connection.row_factory = sqlite3.Row
        connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        connection.execute(view(connection.execute("PRAGMA user_version").fetchone()[0]))
        connection.execute(queries()["told"])
    except BaseException:
        connection.close()
        raise
    return connection


def _why(error: sqlite3.Error) -> str:
    """In words, by SQLite's result code (https://sqlite.org/rescode.html)."""
    match _code(error):
        case sqlite3.SQLITE_INTERRUPT:
            return _TOO_LONG
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"another process has it locked for longer than {BUSY_S:g} s"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"the file is broken: {error}"
        case _:
            return str(error) or type(error).__name__


def _code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; 0 for an error of Python's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
