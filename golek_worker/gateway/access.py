"""Who asked what over HTTP, and what became of it?

`<GOLEK_DATA>/logs/api_access.log`, a JSON object per line and request: who (the key's id, never the key), what, how it
ended, what it cost. Prompts and answers are never in it. All processes of a machine that serve HTTP append to the one
file; when it is large, it becomes `api_access.log.1` and a new one is begun. Lines are written together, five times a
second, by a thread: no request waits for the disk, and one that is full costs lines, which the gateway's log tells of.
"""

import asyncio
import contextlib
import fcntl
import os
import time
from collections import deque
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from golek_wire import moments
from golek_worker.gateway.door import Visit

log = structlog.get_logger("gateway")

NAME: Final = "api_access.log"
WRITE_S: Final = 0.2
LARGEST: Final = 64 * 2**20
"""Bytes of one file."""
KEPT: Final = 5
"""Files besides the current one."""
WAITING_LIMIT: Final = 100_000
"""Lines that wait for the disk; what comes later is lost."""
TEXT_LIMIT: Final = 256
"""Characters of what callers choose: path and model."""


class Line(Struct, frozen=True):
    """One request."""

    time: str
    """RFC 3339; when it ended."""
    key_id: str
    """Who asked; empty on open routes and for who was not let in."""
    method: str
    path: str
    """Without its query."""
    status: int
    """499: the client left before the response began."""
    ms: float
    model: str
    job_id: str
    tokens_in: int
    tokens_out: int
    bytes: int
    """Of the response's body."""
    request_id: str
    code: str
    """Of the error it ended in."""
    worker: str = ""
    peer: str = ""
    """The address that the connection came from."""
    cost_usd: float | None = None
    """What clouds took; null where nothing had a price."""


class AccessLog:
    """Takes visits and writes them down."""

    def __init__(self, folder: Path, *, largest: int = LARGEST) -> None:
        self.path = folder / NAME
        self._largest = largest
        self._waiting: deque[tuple[Visit, float, float]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._problem = ""
        self.lost = 0
        """Lines that could not be written."""
        self._lost_told = 0

    def told(self, visit: Visit) -> None:
        """A request is done with; it is written down within a moment."""
        if len(self._waiting) >= WAITING_LIMIT:
            self.lost += 1
            return
        self._waiting.append((visit, time.time(), time.perf_counter()))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_soon())

    async def close(self) -> None:
        """Write what waits."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await asyncio.to_thread(self._write_all)

    async def _write_soon(self) -> None:
        while self._waiting:
            await asyncio.sleep(WRITE_S)
            await asyncio.shield(asyncio.to_thread(self._write_all))

    def _write_all(self) -> None:
        """Append all lines that wait. In a thread; lines that are lost are told of, a disk that refuses them once."""
        if self.lost > self._lost_told:
            log.warning("access.lost", lines=self.lost - self._lost_told, problem=f"{WAITING_LIMIT} waited already")
            self._lost_told = self.lost
        lines = []
        with contextlib.suppress(IndexError):
            while True:
                lines.append(_line(*self._waiting.popleft()))
        if not lines:
            return
        try:
            self._append(b"".join(lines))
            self._problem = ""
        except OSError as error:
            self.lost += len(lines)
            self._lost_told = self.lost
            if self._problem != str(error):
                self._problem = str(error)
                log.warning("access.unwritten", file=str(self.path), lines=len(lines), problem=str(error))

    def _append(self, data: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Opened each time: another process may have begun a new file.
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_size + len(data) > self._largest and _is(self.path, file):
                self._rotate()
                os.close(file)
                file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            os.write(file, data)
        finally:
            os.close(file)

    def _rotate(self) -> None:
        """Move each file one number up; the last one goes."""
        for number in reversed(range(KEPT)):
            older = self.path.with_name(f"{NAME}.{number + 1}")
            newer = self.path.with_name(f"{NAME}.{number}") if number else self.path
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)


def _is(path: Path, file: int) -> bool:
    """Whether `path` still names the open `file`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _line(visit: Visit, at: float, ended: float) -> bytes:
    told = Line(
        moments.stamp(at),
        visit.caller.principal if visit.caller is not None else "",
        visit.method,
        visit.path[:TEXT_LIMIT],
        visit.status,
        round((ended - visit.started) * 1000, 2),
        visit.model[:TEXT_LIMIT],
        visit.job_id,
        visit.tokens_in,
        visit.tokens_out,
        visit.bytes_out,
        visit.request_id,
        visit.code,
        visit.worker,
        visit.peer,
        visit.cost_usd,
    )
    return msgspec.json.encode(told) + b"\n"
