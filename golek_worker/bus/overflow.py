"""What becomes of requests that find the queue full, where they are not refused?

With INFERENCE_REJECT_WHEN_FULL=false an ingress keeps them in its memory, in the order they came. Ten times a second it
tries to store the oldest; each that is stored lets two more try, so that a queue that was emptied fills again at once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from golek_wire.errors import InferenceServiceError, JobCancelledError
from golek_wire.replies import Allowances
from golek_worker.job import Job, deadline_error, to_headers

if TYPE_CHECKING:
    from golek_program.spans import Span

NEXT = 2
"""So many more are tried when one was stored."""
PATIENCE_S = 1.0
"""Who leaves waits so long for JetStream's word on those that are on their way."""
LOOK_S = 0.01


class Put(Struct, frozen=True):
    """A job is stored."""

    seq: int
    duplicate: bool
    allowances: Allowances | None


class Unstored(Struct):
    """A job on its way into the stream."""

    job: Job
    payload: bytes
    headers: dict[str, str]
    since: float
    """When it came or left the overflow, on the monotonic clock: its time runs from then."""
    accept: bool = False
    """Whether its caller wants to be told that it is stored."""
    receipt_to: str = ""
    """Where a submitted job's receipt, or refusal, goes."""
    put: "asyncio.Future[Put] | None" = None
    """Who stores a job and wants to know how that went."""
    span: "Span | None" = None
    """Ends when it is stored, where somebody traces."""
    allowances: Allowances | None = None
    """What its caller's key may still spend, where it has limits."""
    reserved: bool = False
    """Whether its hold was made for this copy of the request."""
    full: InferenceServiceError | None = None
    """Of a job for which another queue had no room: what its caller hears when there is none here either."""
    kept: bool = False
    """Whether it waited in the overflow, where it keeps its place until it is stored."""
    sends: int = 0
    next_send: float = 0.0

    def deadline(self) -> float:
        """When an answer is of no more use."""
        return self.since + self.job.budget_ms / 1000

    def aged(self, now: float) -> "Unstored":
        """A copy with the time left at `now` as its budget: a job's deadline runs from when it is stored."""
        left_ms = max(1, round((self.deadline() - now) * 1000))
        job = msgspec.structs.replace(self.job, budget_ms=left_ms)
        return msgspec.structs.replace(self, job=job, headers=to_headers(job), since=now)


class Overflow:
    """The requests that one ingress keeps."""

    def __init__(
        self,
        send: Callable[[Unstored], Awaitable[None]],
        fail: Callable[[Unstored, InferenceServiceError], Awaitable[None]],
    ) -> None:
        self._send = send
        self._fail = fail
        self._kept: dict[str, Unstored] = {}
        self._tried: set[str] = set()
        """Message ids of those that are on their way into the stream."""
        self._cancelled: set[str] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, msg_id: str) -> bool:
        return msg_id in self._kept

    def keep(self, request: Unstored) -> None:
        """Wait for a place, behind those who wait already."""
        request.kept = True
        self._kept[request.job.msg_id] = request

    def cancel(self, job_id: str) -> None:
        """End the wait of this job with the next `sweep`, if it waits here."""
        if self._kept:
            self._cancelled.add(job_id)

    def refused(self, msg_id: str) -> None:
        """It was not stored after all: it keeps its place here."""
        self._tried.discard(msg_id)

    async def settled(self, msg_id: str, now: float, *, stored: bool) -> None:
        """A request was stored, or answered otherwise."""
        self._tried.discard(msg_id)
        if self._kept.pop(msg_id, None) is not None and stored:
            await self._try(NEXT, now)

    async def close(self, error: InferenceServiceError) -> None:
        """End with `error` those that nobody will look after here. Who waits for `accepted` sends copies: they may wait
        at another ingress already, so an error would be one answer too many. One that is on its way into the stream is
        stored, or refused within PATIENCE_S and ends like the others.
        """
        self._closed = True
        until = time.monotonic() + PATIENCE_S
        while self._tried and time.monotonic() < until:  # noqa: ASYNC110 - no event
            await asyncio.sleep(LOOK_S)
        for msg_id, request in list(self._kept.items()):
            if msg_id not in self._tried and not request.accept:
                await self._end(msg_id, error)

    async def sweep(self, now: float) -> None:
        """Answer those whose time is over or who were cancelled, and try to store the oldest."""
        cancelled, self._cancelled = self._cancelled, set()
        for msg_id, request in list(self._kept.items()):
            if msg_id in self._tried:  # it is stored, or refused and looked at again
                self._cancelled |= cancelled & {request.job.job_id}
            elif request.job.job_id in cancelled:
                await self._end(msg_id, JobCancelledError("Cancelled before it ran"))
            elif now >= request.deadline():
                await self._end(msg_id, deadline_error(request.job))
        await self._try(1, now)

    async def _try(self, count: int, now: float) -> None:
        for msg_id, request in list(self._kept.items()):
            if count == 0 or self._closed:
                return
            if msg_id not in self._tried:
                count -= 1
                self._tried.add(msg_id)
                try:
                    await self._send(request.aged(now))
                except InferenceServiceError:
                    self._tried.discard(msg_id)
                    raise

    async def _end(self, msg_id: str, error: InferenceServiceError) -> None:
        await self._fail(self._kept.pop(msg_id), error)
