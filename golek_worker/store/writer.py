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

import aiosqlite
import msgspec

from golek_worker.store.database import open_for_writing
from golek_worker.store.requests import RequestRow
from golek_worker.store.sql import queries

log = logging.getLogger("golek.store")

QUEUE_ROWS = 20_000
QUEUE_BYTES = 256 * 2**20
BATCH_ROWS = 1000
BATCH_BYTES = 2**20
"""Joining a batch happens in the event loop; a megabyte keeps that below a millisecond."""
GATHER_S = 0.1
RETRY_S = 1.0
CLEAN_EVERY_S = 3600.0


class LogWriter:
    """The open log of one worker. Belongs to one event loop; `record` and `event` are called in it."""

    def __init__(self, connection: aiosqlite.Connection, worker_id: str, retention_days: int) -> None:
        self._connection = connection
        self._worker_id = worker_id
        self._retention_s = retention_days * 86400.0
        self._encode = msgspec.json.Encoder().encode
        self._requests: deque[bytes] = deque()
        self._events: deque[bytes] = deque()
        self._queued_bytes = 0
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
        self._put(self._requests, row)

    def event(self, level: str, code: str, msg: str) -> None:
        """Queue an event of now; like `record`."""
        self._put(self._events, (time.time(), level, code, msg))

    async def flush(self) -> None:
        """Write what is queued, or as much as the database takes; returns after the first refusal."""
        async with self._writing:
            while (self._requests or self._events) and await self._write_batch():
                pass

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

    def _put(self, queue: deque[bytes], row: RequestRow | tuple[float, str, str, str]) -> None:
        # Encoded here and not in the batch: the size is known, and a row that cannot be written hurts only itself.
        try:
            encoded = self._encode(row)
        except (UnicodeEncodeError, msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            self._drop(1, f"not writable: {error}")
            return
        queued = len(queue)
        if self._closed or queued >= QUEUE_ROWS or self._queued_bytes + len(encoded) > QUEUE_BYTES:
            self._drop(1, "the log is closed" if self._closed else f"{queued} rows wait for the log")
            return
        queue.append(encoded)
        self._queued_bytes += len(encoded)
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
        next_clean = 0.0
        while True:
            if time.monotonic() >= next_clean:
                next_clean = time.monotonic() + CLEAN_EVERY_S
                await self._clean()
            try:
                async with asyncio.timeout_at(next_clean - time.monotonic() + asyncio.get_running_loop().time()):
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

    async def _write_batch(self) -> bool:
        """Write one batch of one kind; False when the database refused it."""
        queue, query = (self._requests, "insert_requests") if self._requests else (self._events, "insert_events")
        batch, size = _take(queue)
        try:
            # A BLOB, cast in SQL: decoding a megabyte to str would hold Python's lock.
            await self._connection.execute_fetchall(queries()[query], (b"[%b]" % b",".join(batch), self._worker_id))
        except sqlite3.Error as error:
            self._refused(queue, batch, size, error)
            return False
        except BaseException:
            # Cancelled while the statement runs in its thread: it is as good as written.
            self._queued_bytes -= size
            raise
        self._queued_bytes -= size
        if self.problem:
            log.info("log.recovered after %d failed writes", self.failed)
            self.problem = None
        return True

    def _refused(self, queue: deque[bytes], batch: list[bytes], size: int, error: sqlite3.Error) -> None:
        """Locked or full: the rows go back to the front. Anything else would refuse them for ever."""
        self.failed += 1
        if not self.problem:
            log.error("log.failed rows=%d: %s: %s", len(batch), type(error).__name__, error)
        self.problem = f"{type(error).__name__}: {error}"
        if isinstance(error, sqlite3.OperationalError):
            queue.extendleft(reversed(batch))
        else:
            self._queued_bytes -= size
            self._drop(len(batch), self.problem)

    async def _clean(self) -> None:
        """Delete what is older than the retention, a piece at a time."""
        oldest = time.time() - self._retention_s
        try:
            for query in ("delete_old_requests", "delete_old_events"):
                deleted = True
                while deleted:
                    deleted = bool(await self._connection.execute_fetchall(queries()[query], (oldest,)))
        except sqlite3.Error as error:
            self.failed += 1
            log.warning("log.clean_failed: %s: %s", type(error).__name__, error)


def _take(queue: deque[bytes]) -> tuple[list[bytes], int]:
    """The next rows to write together, at least one, and their bytes."""
    batch = [queue.popleft()]
    size = len(batch[0])
    while queue and len(batch) < BATCH_ROWS and size + len(queue[0]) <= BATCH_BYTES:
        batch.append(queue.popleft())
        size += len(batch[-1])
    return batch, size
