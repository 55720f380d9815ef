"""What happens between a request and its reply, where the engine is a child of this process?

What `golek_client.exchange.Exchange` is on the bus: the same events, the same errors, the same promise that leaving
early ends the job. An engine that dies is started again, and the request with it, three times at most.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Generic, Self, assert_never

from golek_client import reading
from golek_client.reading import Piece, Reply
from golek_wire.errors import (
    DeadlineExceededError,
    InternalError,
    JobCancelledError,
    PoisonJobError,
    from_body,
)
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Chunk, Delta
from golek_wire.subjects import Kind
from golek_worker.engine.base import Classified, Embedded, Finished, Made, Ranked, Refused, Replied, Stopped
from golek_worker.engine.host import EngineDied, Run
from golek_worker.executor import Sighted, Work
from golek_worker.local_model import PLACE, LocalModel

CRASHES: Final = 3
"""So many engines die under one request before it is given up."""
LARGE: Final = 256 * 1024
"""The prompt of a request of more bytes is made in a thread, as in a worker."""


class LocalExchange(Generic[Reply]):
    """One request and its reply. A context manager: leaving it before the reply ends the job."""

    worker = PLACE
    cache = ""
    principal = None
    allowances = None

    def __init__(
        self, model: LocalModel, kind: Kind, reply: type[Reply], payload: bytes, until: float, seconds: float
    ) -> None:
        """`until` is on the loop's clock, `seconds` after the call began. Raises as `LocalModel.admit` does."""
        self._model = model
        self._reply = reply
        self._payload = payload
        self._until = time.monotonic() + until - asyncio.get_running_loop().time()
        self._seconds = seconds
        self._job = model.admit(payload, kind)
        self.job_id = self._job.job_id
        self._work: Work | None = None
        self._run: Run | None = None
        self._has_place = False
        self._is_over = False
        self._attempt = 0
        self._seq = 0
        self._began_at = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    async def leave(self, _patience_s: float, stop: Callable[[], Awaitable[None]], /) -> bool:
        """Have `stop` end the reading and the job; whether that was cancelled."""
        cancels = not self._is_over
        await stop()
        return cancels

    async def next(self) -> Piece | Reply:
        """The next piece of text, or the reply that ends the exchange.

        Raises what a worker would answer, DeadlineExceededError on time, PoisonJobError when the engine died three
        times.
        """
        while True:
            run = self._run or await self._begun()
            event = await run.next(self._until)
            match event:
                case None:
                    raise self._overdue()
                case str():
                    return self._piece(Chunk(self._job.req_id, event, self._seq))
                case Delta():
                    return self._piece(
                        Chunk(self._job.req_id, event.text, self._seq, event.reasoning_content, event.tool_calls,
                              event.logprobs, event.index)
                    )  # fmt: skip
                case Finished() | Embedded() | Ranked() | Classified() | Replied():
                    return self._answered(event)
                case Refused():
                    self._is_over = True
                    raise from_body(event.code, event.message, event.details)
                case Stopped():
                    self._is_over = True
                    raise JobCancelledError
                case EngineDied():
                    self._crashed(event)
                case StepEvent():
                    pass  # one model has no steps
                case _:
                    assert_never(event)

    async def reply(self) -> Reply:
        """The reply; pieces of text that come before it are dropped."""
        while True:
            event = await self.next()
            if not isinstance(event, Piece):
                return event

    async def _begun(self) -> Run:
        """The run, once there is an engine and a place in it."""
        try:
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                if not self._has_place:
                    await self._model.enter()
                    self._has_place = True
                await self._model.ready(self._until)
                self._began_at = self._began_at or time.monotonic()
                self._work = work = self._model.executor.read(self._job, self._payload)
                if isinstance(work, Sighted) and (wanted := work.wanted):
                    self._model.executor.check(work.request)
                    await self._model.fetcher.fetch(wanted, work.seen)
                if len(self._payload) > LARGE:
                    await asyncio.to_thread(work.prepare)
        except TimeoutError:
            raise self._overdue() from None
        self._attempt += 1
        self._seq = 0
        self._run = work.start()
        return self._run

    def _piece(self, chunk: Chunk) -> Piece:
        self._seq += 1
        return Piece(self._attempt, chunk)

    def _answered(self, end: Made) -> Reply:
        self._is_over = True
        if self._work is None:
            raise InternalError("an answer came before the request was read")
        answer = self._work.answer(end, round((time.monotonic() - self._began_at) * 1000))
        return reading.final(answer.body, self._reply)

    def _crashed(self, event: EngineDied) -> None:
        self._run = None
        if not event.ran:
            self._attempt -= 1
        elif self._attempt >= CRASHES:
            self._is_over = True
            raise PoisonJobError(
                f"The engine died {self._attempt} times under this request", crashes=self._attempt, job_id=self.job_id
            )

    def _overdue(self) -> DeadlineExceededError:
        return DeadlineExceededError(
            f"no answer from {self._model.name} within {self._seconds:g} s",
            model=self._model.name,
            deadline_ms=round(self._seconds * 1000),
            job_id=self.job_id,
        )

    def _end(self) -> None:
        if self._run is not None and not self._is_over:
            self._model.executor.cancel(self.job_id)
        if self._has_place:
            self._has_place = False
            self._model.leave()
