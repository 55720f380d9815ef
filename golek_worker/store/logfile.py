"""How does a log stay open that may fail?

`LogFile` opens its file when it is needed, and again when it was moved away or an error leaves the connection in doubt.
A corrupt file is set aside under another name and a new one begun. Its replicas on this machine share the file: who
renames it holds a lock on the folder and makes sure that it is still the file it knows.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from golek_worker.store.database import CorruptLogError, StoreError, is_corrupt, open_for_writing, primary_code
from golek_worker.store.sql import queries

T = TypeVar("T")

LOOK_S = 1.0
"""How often it is made sure that the path still leads to the open file."""
ASIDE_S = 60.0
"""A file is set aside at most so often: a disk that spoils each new one must not be filled with them."""
LOCK_POLL_S = 0.01
LOCK_S = 5.0
"""The lock on the folder is held for the time of an opening or of three renames."""

ROW_FAULTS = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ValueError,
    TypeError,
    OverflowError,
)
"""A value that no column holds: the row is at fault, not the file."""
_CONNECTION_IS_FINE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)

_Identity = tuple[int, int]
"""Device and inode."""


class LogFile:
    """The request log on disk, for one writer."""

    def __init__(self, path: Path, tell: Callable[[str, str, str], None]) -> None:
        """`tell` is called with level, code and text of what happens to the file."""
        self._path = path
        self._tell = tell
        self._connection: aiosqlite.Connection | None = None
        self._identity: _Identity | None = None
        self._look_at = 0.0
        self._aside_at = -ASIDE_S

    async def open(self) -> None:
        """Open it now; a corrupt file is set aside first. Raises StoreError when it cannot be opened."""
        try:
            await self._connect()
        except CorruptLogError as error:
            await self._set_aside(error)
            await self._connect()

    async def insert(self, query: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write all rows or none.

        Raises StoreError when the log takes nothing now, ROW_FAULTS when a row cannot be stored.
        """
        await self._transaction(lambda connection: connection.executemany(queries()[query], rows))

    async def delete(self, query: str, oldest: float) -> bool:
        """Delete one piece of what is older; False when nothing is left. Raises StoreError."""
        return bool(list(await self._transaction(lambda c: c.execute_fetchall(queries()[query], (oldest,)))))

    async def close(self) -> None:
        """Nothing is lost that was committed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                await connection.close()

    async def _transaction(self, work: Callable[[aiosqlite.Connection], Awaitable[T]]) -> T:
        """One transaction. Python's sqlite3 begins it (IMMEDIATE) with the first row."""
        connection = await self._ready()
        try:
            result = await work(connection)
            await connection.commit()
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                await connection.rollback()
            if isinstance(error, ROW_FAULTS) or not isinstance(error, sqlite3.Error):
                raise
            await self._failed(error)
            raise StoreError(f"{type(error).__name__}: {error}") from error
        return result

    async def _ready(self) -> aiosqlite.Connection:
        """The connection to the file that the path leads to. Raises StoreError."""
        now = time.monotonic()
        if self._connection is not None and now >= self._look_at:
            self._look_at = now + LOOK_S
            if _identity(self._path) != self._identity:
                await self.close()
                self._tell(
                    "warning", "log.moved", f"{self._path} was moved or removed while it was open; it is opened anew"
                )
        if self._connection is None:
            await self.open()
        assert self._connection is not None
        return self._connection

    async def _connect(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            async with _locked(self._path.parent, fcntl.LOCK_SH):
                self._path.open("ab").close()
                self._identity = _identity(self._path)
                self._connection = await open_for_writing(self._path)
        except OSError as error:
            raise StoreError(f"{self._path}: {error}") from error

    async def _failed(self, error: sqlite3.Error) -> None:
        """Make the next transaction likelier to succeed."""
        if primary_code(error) in _CONNECTION_IS_FINE:
            return
        await self.close()
        if is_corrupt(error):
            await self._set_aside(error)

    async def _set_aside(self, cause: Exception) -> None:
        """Rename the file that was found corrupt, unless another replica did. Raises StoreError."""
        now = time.monotonic()
        if now < self._aside_at + ASIDE_S:
            raise StoreError(f"{cause}; a file was set aside less than {ASIDE_S:.0f} s ago")
        kept = self._path.with_name(f"{self._path.name}.corrupt-{datetime.now(UTC):%Y%m%d_%H%M%S}")
        try:
            async with _locked(self._path.parent, fcntl.LOCK_EX):
                if _identity(self._path) != self._identity:
                    return
                # The database comes last: a new one beside an old WAL would take in what is in it.
                for end in ("-wal", "-shm", ""):
                    with contextlib.suppress(FileNotFoundError):
                        self._path.with_name(self._path.name + end).rename(kept.with_name(kept.name + end))
        except OSError as error:
            raise StoreError(f"{cause}; it cannot be set aside: {error}") from error
        self._aside_at = now
        self._tell("error", "log.set_aside", f"{cause}; the file is kept as {kept.name}, and a new log begins")


def _identity(path: Path) -> _Identity | None:
    """Which file the path leads to; None when to none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.asynccontextmanager
async def _locked(folder: Path, how: int) -> AsyncIterator[None]:
    """Hold a lock on `folder`: LOCK_SH who opens files there, LOCK_EX who renames them. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    give_up_at = time.monotonic() + LOCK_S
    try:
        while True:
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= give_up_at:
                    raise
                await asyncio.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)
