"""How do rows reach the request log without anybody waiting for the disk?

`record` and `event` append to a bounded queue and return. One task writes what has gathered, at most every 100 ms; with
nothing queued it sleeps. A log that cannot be written costs rows, never answers.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import deque
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec

from golek_worker.store.database import open_for_writing
from golek_worker.store.requests import RequestRow
from golek_worker.store.sql import queries

log = logging.getLogger("golek.store")

QUEUE_ROWS = 20_000
QUEUE_CHARS = 256 * 2**20
BATCH_ROWS = 1000
BATCH_CHARS = 4 * 2**20
ROW_CHARS = 500
"""What a row counts beside its texts."""
GATHER_S = 0.1
RETRY_S = 1.0
CLEAN_EVERY_S = 3600.0

Queued = tuple[tuple[Any, ...], int]
"""The values of a row, and its size in characters."""


class LogWriter:
    """The open log of one worker. Belongs to one event loop; `record` and `event` are called in it."""

    def __init__(self, connection: aiosqlite.Connection, worker_id: str, retention_days: int) -> None:
        self._connection = connection
        self._worker_id = worker_id
        self._retention_s = retention_days * 86400.0
        self._requests: deque[Queued] = deque()
        self._events: deque[Queued] = deque()
        self._queued_chars = 0
        self._queued = asyncio.Event()
        self._batch_full = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.dropped = 0
        """Rows lost: the queue was full, or the log was closed or cannot hold them."""
        self.failed = 0
        """Writes the database refused. Their rows stay queued and are tried again."""
        self.problem: str | None = None
        """Why the last write failed; None once one succeeds."""

    @classmethod
    async def open(cls, path: Path, *, worker_id: str, retention_days: int) -> "LogWriter":
        """Open the log at `path`, made when there is none, and delete what is older than `retention_days`.

        Raises StoreError when it cannot be opened.
        """
        writer = cls(await open_for_writing(path), worker_id, retention_days)
        writer._task = asyncio.create_task(writer._run(), name="log-writer")
        return writer

    def record(self, row: RequestRow) -> None:
        """Queue `row`. Never waits and never raises; a full queue counts it in `dropped`."""
        texts = len(row.raw_input or "") + len(row.formatted_input or "") + len(row.output or "")
        self._put(self._requests, msgspec.structs.astuple(row), ROW_CHARS + texts)

    def event(self, level: str, code: str, msg: str) -> None:
        """Queue an event of now; like `record`."""
        self._put(self._events, (time.time(), level, code, msg), ROW_CHARS + len(msg))

    async def flush(self) -> None:
        """Write what is queued now, or as much as the database takes; returns after the first refusal."""
        async with self._writing:
            for queue, query in ((self._requests, "insert_request"), (self._events, "insert_event")):
                # Counted once: rows that come meanwhile gather for the next batch instead of going one by one.
                left = len(queue)
                while left > 0:
                    batch = _take(queue)
                    left -= len(batch)
                    if not await self._write(queue, query, batch):
                        return

    async def close(self) -> None:
        """Flush and close. Rows the database still refuses are counted in `dropped`."""
        if self._closed:
            return
        self._closed = True
        try:
            await self.flush()
        finally:
            if self._task is not None:
                self._task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._task
            if left := len(self._requests) + len(self._events):
                self._drop(left, f"closed while the log could not be written: {self.problem}")
            await self._connection.close()

    def _put(self, queue: deque[Queued], values: tuple[Any, ...], chars: int) -> None:
        queued = len(queue)
        if self._closed or queued >= QUEUE_ROWS or self._queued_chars + chars > QUEUE_CHARS:
            self._drop(1, "the log is closed" if self._closed else f"{queued} rows wait for the log")
            return
        queue.append((values, chars))
        self._queued_chars += chars
        if not queued:
            self._queued.set()
        elif queued == BATCH_ROWS:
            self._batch_full.set()

    def _drop(self, rows: int, why: str) -> None:
        """Count lost rows; a line for the first and for every thousandth."""
        before, self.dropped = self.dropped, self.dropped + rows
        if before == 0 or before // 1000 != self.dropped // 1000:
            log.warning("log.dropped rows=%d: %s", self.dropped, why)

    async def _run(self) -> None:
        """Clean, then write whenever something gathers; clean again every hour."""
        clock = asyncio.get_running_loop().time
        next_clean = clock()
        while True:
            if clock() >= next_clean:
                next_clean = clock() + CLEAN_EVERY_S
                await self._clean()
            try:
                async with asyncio.timeout_at(next_clean):
                    await self._queued.wait()
            except TimeoutError:
                continue
            await self._gather()
            await self.flush()
            if self.problem:
                await asyncio.sleep(RETRY_S)
            if not (self._requests or self._events):
                self._queued.clear()

    async def _gather(self) -> None:
        """Wait until a batch is full, at most `GATHER_S`."""
        self._batch_full.clear()
        if len(self._requests) < BATCH_ROWS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._batch_full.wait()

    async def _write(self, queue: deque[Queued], query: str, batch: list[Queued]) -> bool:
        """Write `batch`; False when the database refused it, and its rows are back in `queue`."""
        try:
            await self._insert(query, batch)
        except sqlite3.OperationalError as error:  # locked, full, read-only: later it may work
            self._refused(error)
            queue.extendleft(reversed(batch))
            return False
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:  # a value that no column holds
            await self._write_singly(query, batch, error)
        self._queued_chars -= sum(chars for _, chars in batch)
        if self.problem:
            log.info("log.recovered after %d failed writes", self.failed)
            self.problem = None
        return True

    async def _insert(self, query: str, batch: list[Queued]) -> None:
        """One transaction. Python's sqlite3 begins it (IMMEDIATE) with the first row."""
        worker_id = self._worker_id
        try:
            await self._connection.executemany(queries()[query], [(worker_id, *values) for values, _ in batch])
            await self._connection.commit()
        except BaseException:
            await self._connection.rollback()
            raise

    async def _write_singly(self, query: str, batch: list[Queued], cause: Exception) -> None:
        """A row that cannot be stored hurts only itself."""
        if len(batch) == 1:
            self._drop(1, f"{type(cause).__name__}: {cause}")
            return
        for row in batch:
            try:
                await self._insert(query, [row])
            except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
                self._drop(1, f"{type(error).__name__}: {error}")

    def _refused(self, error: sqlite3.Error) -> None:
        self.failed += 1
        if not self.problem:
            log.warning("log.failed: %s: %s", type(error).__name__, error)
        self.problem = f"{type(error).__name__}: {error}"

    async def _clean(self) -> None:
        """Delete what is older than the retention, a piece at a time."""
        oldest = time.time() - self._retention_s
        for query in ("delete_old_requests", "delete_old_events"):
            deleted = True
            while deleted:
                deleted = await self._delete(query, oldest)

    async def _delete(self, query: str, oldest: float) -> bool:
        """Delete one piece; False when nothing is left, or the database refuses."""
        async with self._writing:
            try:
                rows = await self._connection.execute_fetchall(queries()[query], (oldest,))
                await self._connection.commit()
            except sqlite3.Error as error:
                await self._connection.rollback()
                log.warning("log.clean_failed: %s: %s", type(error).__name__, error)
                return False
        return bool(rows)


def _take(queue: deque[Queued]) -> list[Queued]:
    """The next rows to write together, at least one."""
    batch = [queue.popleft()]
    size = batch[0][1]
    while queue and len(batch) < BATCH_ROWS and size + queue[0][1] <= BATCH_CHARS:
        batch.append(queue.popleft())
        size += batch[-1][1]
    return batch
