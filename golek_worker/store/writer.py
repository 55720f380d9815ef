"""How do rows reach the request log without anybody waiting for the disk?

`record` and `event` append to a bounded queue and return. One task writes what has gathered, at most every 100 ms; with
nothing queued it sleeps. A log that cannot be opened or written costs rows at most, never an answer and never a start:
what waits is tried again every second, what finds no room is counted, and `problem` says why.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from golek_worker.store.database import NewerLogError, StoreError
from golek_worker.store.logfile import ROW_FAULTS, LogFile
from golek_worker.store.requests import RequestRow

log = logging.getLogger("golek.store")

QUEUE_ROWS = 20_000
QUEUE_CHARS = 256 * 2**20
BATCH_ROWS = 1000
BATCH_CHARS = 4 * 2**20
ROW_CHARS = 500
"""What a row counts beside its texts."""
GATHER_S = 0.1
RETRY_S = 1.0
OPEN_S = 1.0
"""For so long a start waits for the log; then it is opened beside the serving."""
CLEAN_EVERY_S = 3600.0

Queued = tuple[tuple[Any, ...], int]
"""The values of a row, first of all when it came, and its size in characters."""


class LogWriter:
    """The open log of one worker. Belongs to one event loop; `record` and `event` are called in it."""

    def __init__(self, path: Path, worker_id: str, retention_days: int) -> None:
        self._file = LogFile(path, self._tell)
        self._worker_id = worker_id
        self._retention_s = retention_days * 86400.0
        self._requests: deque[Queued] = deque()
        self._events: deque[Queued] = deque()
        self._queued_chars = 0
        self._in_hand: float | None = None
        """When the oldest row of the batch came that is being written."""
        self._queued = asyncio.Event()
        self._batch_full = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.dropped = 0
        """Rows lost: the queue was full, or the log was closed or cannot hold them."""
        self.failed = 0
        """How often the log could not be opened or written. Its rows stay queued and are tried again."""
        self.problem: str | None = None
        """Why the last try failed; None once one succeeds."""

    @classmethod
    async def open(cls, path: Path, *, worker_id: str, retention_days: int) -> "LogWriter":
        """Open the log at `path`, made when there is none, and delete what is older than `retention_days`.

        Whatever keeps it from being opened is a `problem` and tried again, for a start does not wait for a log.
        Raises NewerLogError for a log that a newer Golek wrote.
        """
        writer = cls(path, worker_id, retention_days)
        first = asyncio.create_task(writer._open())
        await asyncio.wait({first}, timeout=OPEN_S)
        if first.done():
            first.result()
        else:
            writer._refused(StoreError(f"{path}: not open after {OPEN_S:g} s; another process may have locked it"))
        writer._task = asyncio.create_task(writer._run(first), name="log-writer")
        return writer

    def record(self, row: RequestRow) -> None:
        """Queue `row`. Never waits and never raises; a full queue counts it in `dropped`."""
        texts = len(row.raw_input or "") + len(row.formatted_input or "") + len(row.output or "")
        self._put(self._requests, msgspec.structs.astuple(row), ROW_CHARS + texts)

    def event(self, level: str, code: str, msg: str) -> None:
        """Queue an event of now; like `record`."""
        self._put(self._events, (time.time(), level, code, msg), ROW_CHARS + len(msg))

    @property
    def lag_s(self) -> float | None:
        """How old the oldest row is that is not in the file yet; None while none waits."""
        waiting = [queue[0][0][0] for queue in (self._requests, self._events) if queue]
        if self._in_hand is not None:
            waiting.append(self._in_hand)
        return round(max(0.0, time.time() - min(waiting)), 3) if waiting else None

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
            await self._file.close()

    def _tell(self, level: str, code: str, msg: str) -> None:
        """One line in the worker's own log, one row among the events."""
        log.log(logging.getLevelNamesMapping()[level.upper()], "%s: %s", code, msg)
        if not self._closed:
            self.event(level, code, msg)

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

    async def _open(self) -> None:
        """The first try. Raises NewerLogError."""
        async with self._writing:
            try:
                await self._file.open()
            except NewerLogError:
                raise
            except StoreError as error:
                self._refused(error)
            else:
                self._succeeded()

    async def _run(self, first: asyncio.Task[None]) -> None:
        """Clean, then write whenever something gathers; clean again every hour."""
        with contextlib.suppress(NewerLogError):  # too late to refuse the start: each write says so again
            await first
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
        """Write `batch`; False when the log takes nothing now, and its rows are back in `queue`."""
        try:
            await self._insert(query, batch)
        except StoreError as error:  # locked, full, read-only, corrupt, not there: later it may work
            self._refused(error)
            queue.extendleft(reversed(batch))
            return False
        except ROW_FAULTS as error:
            return await self._write_singly(queue, query, batch, error)
        self._queued_chars -= sum(chars for _, chars in batch)
        self._succeeded()
        return True

    async def _insert(self, query: str, batch: list[Queued]) -> None:
        self._in_hand = batch[0][0][0]
        try:
            await self._file.insert(query, [(self._worker_id, *values) for values, _ in batch])
        finally:
            self._in_hand = None

    async def _write_singly(self, queue: deque[Queued], query: str, batch: list[Queued], cause: Exception) -> bool:
        """A row that cannot be stored hurts only itself; False when the log takes nothing any more."""
        if len(batch) == 1:
            self._drop(1, f"{type(cause).__name__}: {cause}")
            self._queued_chars -= batch[0][1]
            return True
        queue.extendleft(reversed(batch))
        for _ in batch:
            if not await self._write(queue, query, [queue.popleft()]):
                return False
        return True

    def _refused(self, error: StoreError) -> None:
        self.failed += 1
        first, self.problem = self.problem is None, str(error)
        if first:
            self._tell("warning", "log.failed", self.problem)

    def _succeeded(self) -> None:
        if self.problem is not None:
            self.problem = None
            self._tell("info", "log.recovered", f"after {self.failed} failed tries; {self.dropped} rows were lost")

    async def _clean(self) -> None:
        """Delete what is older than the retention, a piece at a time."""
        oldest = time.time() - self._retention_s
        for query in ("delete_old_requests", "delete_old_events"):
            left = True
            while left:
                async with self._writing:
                    try:
                        left = await self._file.delete(query, oldest)
                    except StoreError as error:
                        self._refused(error)
                        return


def _take(queue: deque[Queued]) -> list[Queued]:
    """The next rows to write together, at least one."""
    batch = [queue.popleft()]
    size = batch[0][1]
    while queue and len(batch) < BATCH_ROWS and size + queue[0][1] <= BATCH_CHARS:
        batch.append(queue.popleft())
        size += batch[-1][1]
    return batch
