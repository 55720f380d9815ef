"""What becomes of requests that find the queue full, where they are not refused?

With INFERENCE_REJECT_WHEN_FULL=false an ingress keeps them in its memory, in the order they came. Ten times a second it
tries to store the oldest; each that is stored lets two more try, so that a queue that was emptied fills again at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Struct

from golek_wire.errors import InferenceServiceError, JobCancelledError
from golek_worker.job import Job, deadline_error, to_headers

NEXT = 2
"""So many more are tried when one was stored."""


class Kept(Struct):
    """A request without a place in the queue."""

    job: Job
    accept: bool
    payload: bytes
    headers: dict[str, str]
    since: float
    """When it came, on the monotonic clock: its time runs from then."""
    on_its_way: bool = False
    receipt_to: str = ""
    """Where a submitted job's receipt, or refusal, goes."""
    put: asyncio.Future[Any] | None = None
    """Who stores a job and wants JetStream's word."""

    def deadline(self) -> float:
        """When an answer is of no more use."""
        return self.since + self.job.budget_ms / 1000

    def aged(self, now: float) -> "Kept":
        """The same with the time that is left at `now` as its budget: a job's deadline runs from when it is stored."""
        left_ms = max(1, round((self.deadline() - now) * 1000))
        job = msgspec.structs.replace(self.job, budget_ms=left_ms)
        return msgspec.structs.replace(self, job=job, headers=to_headers(job), since=now)


class Overflow:
    """The requests that one ingress keeps."""

    def __init__(
        self,
        send: Callable[[Kept], Awaitable[None]],
        answer: Callable[[Kept, InferenceServiceError], Awaitable[None]],
    ) -> None:
        self._send = send
        self._answer = answer
        self._kept: dict[str, Kept] = {}
        self._cancelled: set[str] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, msg_id: str) -> bool:
        return msg_id in self._kept

    def keep(self, request: Kept) -> None:
        """Wait for a place, behind those who wait already."""
        self._kept[request.job.msg_id] = request

    def cancel(self, job_id: str) -> None:
        """End the wait of this job with the next `sweep`, if it waits here."""
        if self._kept:
            self._cancelled.add(job_id)

    def refused(self, msg_id: str) -> None:
        """It was not stored after all: it keeps its place here."""
        if msg_id in self._kept:
            self._kept[msg_id].on_its_way = False

    async def settled(self, msg_id: str, now: float, *, stored: bool) -> None:
        """A request was stored, or answered otherwise."""
        if self._kept.pop(msg_id, None) is not None and stored:
            await self._try(NEXT, now)

    async def close(self, error: InferenceServiceError) -> None:
        """Answer with `error` those that nobody will look after here. Who waits for `accepted` sends copies: they may
        wait at another ingress already, so an error would be one answer too many.
        """
        for msg_id, request in list(self._kept.items()):
            if not request.on_its_way and not request.accept:
                await self._end(msg_id, error)

    async def sweep(self, now: float) -> None:
        """Answer those whose time is over or who were cancelled, and try to store the oldest."""
        cancelled, self._cancelled = self._cancelled, set()
        for msg_id, request in list(self._kept.items()):
            if request.on_its_way:  # it is stored, or refused and looked at again
                self._cancelled |= cancelled & {request.job.job_id}
            elif request.job.job_id in cancelled:
                await self._end(msg_id, JobCancelledError("Cancelled before it ran"))
            elif now >= request.deadline():
                await self._end(msg_id, deadline_error(request.job))
        await self._try(1, now)

    async def _try(self, count: int, now: float) -> None:
        for request in list(self._kept.values()):
            if count == 0:
                return
            if not request.on_its_way:
                count -= 1
                request.on_its_way = True
                try:
                    await self._send(request.aged(now))
                except InferenceServiceError:
                    request.on_its_way = False
                    raise

    async def _end(self, msg_id: str, error: InferenceServiceError) -> None:
        await self._answer(self._kept.pop(msg_id), error)
