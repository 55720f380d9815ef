"""How is a request log opened?

For writing through aiosqlite: WAL, so that readers and the replicas of one model share the file, and brought to the
newest version first. For reading without ever changing the file.
"""

import asyncio
import sqlite3
from pathlib import Path

import aiosqlite

from golek_worker.store.sql import migrations

PAGE_BYTES = 16384
BUSY_S = 5.0
"""How long a statement waits for another process's lock."""
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class StoreError(Exception):
    """The request log cannot be opened, or takes nothing at the moment."""


class NewerLogError(StoreError):
    """The log was written by a newer Golek: this one must not touch it."""


class CorruptLogError(StoreError):
    """The file is no database, or a broken one."""


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension (https://sqlite.org/rescode.html); 0 for an error of Python's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_corrupt(error: sqlite3.Error) -> bool:
    """True when the file is at fault, and time will not mend it."""
    return primary_code(error) in _CORRUPT


async def open_for_writing(path: Path) -> aiosqlite.Connection:
    """A connection to the log at `path`, made and migrated when necessary.

    Several processes may do this at once. A transaction begins with the first row written and takes the write lock at
    once. Raises StoreError naming path and cause; a NewerLogError or CorruptLogError does not pass by itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = await aiosqlite.connect(path, timeout=BUSY_S, isolation_level="IMMEDIATE")
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: {error}") from error
    try:
        # Before the first table is made; fewer and larger pages cost a quarter of the writes of 4 KiB ones.
        await connection.execute_fetchall(f"PRAGMA page_size = {PAGE_BYTES:d}")
        await _enter_wal(connection)
        await connection.execute_fetchall("PRAGMA synchronous = NORMAL")
        await _migrate(connection)
    except (StoreError, sqlite3.Error, TimeoutError) as error:
        await connection.close()
        raise _refusal(path, error) from error
    except asyncio.CancelledError:
        await connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A read-only connection; rows are sqlite3.Row. Raises StoreError when there is no log."""
    if not path.is_file():
        raise StoreError(f"{path}: no such file; a worker makes it when it starts")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
    connection.row_factory = sqlite3.Row
    return connection


def _refusal(path: Path, error: Exception) -> StoreError:
    """Why the log at `path` cannot be opened."""
    kind = type(error) if isinstance(error, StoreError) else StoreError
    if isinstance(error, sqlite3.Error) and is_corrupt(error):
        kind = CorruptLogError
    return kind(f"{path}: {str(error) or 'locked by another process'}")


async def _enter_wal(connection: aiosqlite.Connection) -> None:
    """Changing the journal mode needs the file alone and does not honour the busy timeout, hence the loop."""
    async with asyncio.timeout(2 * BUSY_S):
        while True:
            try:
                await connection.execute_fetchall("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                await asyncio.sleep(0.01)
            else:
                return


async def _migrate(connection: aiosqlite.Connection) -> None:
    """Bring the file to the newest version. BEGIN IMMEDIATE lets one process do it while others wait."""
    newest = max(migrations())
    version = await _version(connection)
    if version > newest:
        raise NewerLogError(f"written by a newer Golek (version {version}, this one knows {newest})")
    if version == newest:
        return
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    try:
        version = await _version(connection)
        for number, statements in migrations().items():
            if number > version:
                for statement in statements:
                    await connection.execute_fetchall(statement)
        # A PRAGMA takes no parameters; `newest` is a number from a file name of ours.
        await connection.execute_fetchall(f"PRAGMA user_version = {newest:d}")
        await connection.execute_fetchall("COMMIT")
    except BaseException:
        await connection.rollback()
        raise


async def _version(connection: aiosqlite.Connection) -> int:
    rows = list(await connection.execute_fetchall("PRAGMA user_version"))
    return int(rows[0][0])
