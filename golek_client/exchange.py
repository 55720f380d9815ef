"""What happens between a request and its final message?

One `Exchange` sends a request, repeats it until a worker says that it has it, keeps the caller's deadline, and turns
what arrives into pieces of text, the reply, or the error it tells of.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Self

from golek_client import discovery, large, reading, retry, tracing
from golek_client.line import Line
from golek_client.reading import Answer, Piece, Reply
from golek_client.recovery import JobLostError, Recovery
from golek_client.target import Target
from golek_client.transport import Received
from golek_wire import headers, subjects
from golek_wire.errors import (
    BusUnavailableError,
    DeadlineExceededError,
    ForbiddenError,
    InferenceServiceError,
    NoWorkersError,
    StreamInterruptedError,
)
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Accepted, Allowances, Queued, Receipt

log = logging.getLogger("golek.client")


class Exchange(Generic[Reply]):
    """One request and its replies. A context manager: leaving it before the final message cancels the job."""

    def __init__(
        self,
        line: Line,
        target: Target,
        reply: type[Reply],
        payload: bytes,
        deadline: float,
        deadline_s: float,
        key: str | None = None,
    ) -> None:
        """`reply` is the form of the final message: of a Receipt the request is submitted. `deadline` is on the loop's
        clock, `deadline_s` after the call began. A request with an idempotency `key` is not cancelled by leaving:
        others may wait for its job.
        """
        self._line = line
        self._target = target
        self._model = target.model
        self._reply_type = reply
        self._payload = payload
        self._deadline_s = deadline_s
        self._deadline = deadline
        self._inbox = line.mux.open()
        self._key = key
        self.worker = ""
        """The replica that answers, once it has said so."""
        self.cache = ""
        """What part a cache had in a stream, once that is said."""
        self._span = line.tracer.begin(target.kind, target.model, payload) if line.tracer is not None else None
        self._final: object = None
        self._headers = self._request_headers()
        self._sends = 0
        self._next_send: float | None = None
        self._unheard = 0
        """How many copies the server returned because nobody listened."""
        self._taken_at: float | None = None
        """When the first copy was sent that somebody may have taken."""
        self._deserted: str | None = None
        """Why the call waits although the last copy found nobody; None while somebody may have taken it."""
        self._ended = False
        self._submits = reply is Receipt
        self._asks_anew = False
        """Whether a lost job may be replaced by another one; a stream goes on where its text ended."""
        self._accepted: Received | None = None
        self._returns = line.mux.returns
        self._recovery: Recovery | None = None
        self._answer = Answer(reply)
        self.job_id = subjects.job_id(self._inbox.subject)

    async def __aenter__(self) -> Self:
        """Send the request; a body that no message can carry is stored first. Raises as `large.store` does."""
        try:
            await self._begin()
        except BaseException as error:
            self._line.mux.forget(self._inbox.subject)
            if self._span is not None:
                self._span.end(self.job_id, "", None, error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.mux.forget(self._inbox.subject)
        if self._span is not None:
            self._span.end(self.job_id, self.worker, self._final, error)
        if self._cancels(error):
            await self._cancel()

    def _cancels(self, _error: BaseException | None) -> bool:
        """Whether leaving, because of an error or without one, ends the job."""
        return not self._ended and self._key is None

    async def leave(self, _patience_s: float, stop: Callable[[], Awaitable[None]]) -> bool:
        """Have `stop` end the reading, and the job with it where nobody else may want it; whether it was cancelled."""
        cancels = self._cancels(None)
        await stop()
        return cancels

    async def _begin(self) -> None:
        """Send the first copy; the body goes to the object store where no message can carry it."""
        if len(self._payload) > large.largest_request(self._line):
            name = await large.store(self._line, self._payload, self._deadline, self._deadline_s)
            self._headers = self._headers | {headers.OBJECT: name}
        await self._send()

    async def _cancel(self) -> None:
        try:
            await self._line.send(subjects.cancel(self.job_id), b"")
        except BusUnavailableError as unsent:
            # The caller is leaving, with its own error or without one; the job ends at its deadline.
            log.debug("cancel of %s not sent: %s", self.job_id, unsent)

    async def next(self) -> Piece | Queued | StepEvent | Reply:
        """The next piece of text, word of the place in the queue or of a step, or the reply that ends the exchange.

        Raises what the worker answered, ModelNotFoundError or NoWorkersError when nobody listens, BadRequestError when
        the model listens on another subject, DeadlineExceededError
        on this side's clock (NoWorkersError when the last copy found nobody), BusUnavailableError when the client is
        closed.
        """
        while True:
            until = self._deadline if self._next_send is None else self._next_send
            if self._recovery is not None:
                until = min(until, self._recovery.due)
            message = await self._receive(until)
            if message is None:
                message = await self._recovered()
            if message is None:
                await self._overdue()
                continue
            event = await self._read(message)
            if event is not None:
                return event

    async def _receive(self, until: float) -> Received | None:
        """The next message; None when the loop's clock passes `until` first, or there is another reason to look."""
        return await self._inbox.get(until)

    async def reply(self) -> Reply:
        """The reply; pieces of text that come before it are dropped."""
        self._asks_anew = True
        while True:
            event = await self.next()
            if not isinstance(event, Piece | Queued | StepEvent):
                return event

    async def _send(self) -> None:
        """The request, always the same bytes with the same inbox: its copies are one job."""
        self._sends += 1
        now = asyncio.get_running_loop().time()
        if self._taken_at is None:
            self._taken_at = now
        self._next_send = retry.next_send(self._sends, now, self._taken_at, self._deadline)
        # While the connection is being restored a copy would only fill its buffer; the first one is kept there.
        if self._sends > 1 and not self._line.transport.is_connected:
            self._unheard += 1
            return
        self._deserted = None
        subject = self._target.subject
        where = subjects.submit_at(subject) if self._submits else subject
        body = b"" if headers.OBJECT in self._headers else self._payload
        try:
            await self._line.send(where, body, self._inbox.subject, self._headers)
        except BusUnavailableError:
            if self._line.is_closed or self._line.transport.is_connected:
                raise
            self._unheard += 1  # the buffer is full: a copy goes out when the connection is back

    async def _overdue(self) -> None:
        """Nothing came in time: send again, or give up at the deadline."""
        now = asyncio.get_running_loop().time()
        if now < self._deadline:
            if self._next_send is not None and now >= self._next_send:
                await self._send()
            return
        if self._deserted is not None:
            raise NoWorkersError(
                f"no worker of {self._model} listened within {self._deadline_s:g} s; {self._deserted}",
                model=self._model,
                deadline_ms=round(self._deadline_s * 1000),
                job_id=self.job_id,
            )
        raise DeadlineExceededError(
            f"no answer from {self._model} within {self._deadline_s:g} s",
            model=self._model,
            deadline_ms=round(self._deadline_s * 1000),
            job_id=self.job_id,
        )

    async def _read(self, message: Received) -> Piece | Queued | StepEvent | Reply | None:
        """What `message` means; None when it needs no word to the caller. 1. Nobody listens. 2. An error."""
        about = message.headers or {}
        if reading.nobody_heard(message, about):  # 1
            await self._nobody()
            return None
        self._next_send = self._deserted = None
        if headers.WORKER in about:
            self.worker = about[headers.WORKER]
        if headers.CACHE in about:
            self.cache = about[headers.CACHE]
        if headers.ERROR_CODE in about:  # 2
            await self._end_in(reading.error_in(message, about))
            return None
        return self._said(message, about)

    def _said(self, message: Received, about: dict[str, str]) -> Piece | Queued | StepEvent | Reply | None:
        """What a message from a worker means that is no error: a status, a piece of text, the reply or a part of it."""
        if headers.STATUS in about:
            self._note(message, about)
            return _status(message, about[headers.STATUS])
        event = self._answer.said(message, about)
        if not (event is None or isinstance(event, Piece)):
            self._ended, self._final = True, event
        return event

    async def _end_in(self, error: InferenceServiceError) -> None:
        """Raises `error`; but with a key the same question is asked again where only the way to the job was lost."""
        if self._key is None or not isinstance(error, BusUnavailableError) or not error.details.get("may_run"):
            self._ended = True
            raise error
        left_s = self._deadline - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, min(error.retry_after_ms / 1000, left_s)))
        await self._ask_anew()

    def _request_headers(self) -> dict[str, str]:
        key = {headers.IDEMPOTENCY_KEY: self._key} if self._key is not None else {}
        trace = self._span.carried if self._span is not None else tracing.carried.get()
        hops = {headers.HOPS: self._target.hops} if self._target.hops else {}
        about = self._line.request_headers(self._inbox.subject) | key | hops
        return {**about, **trace} if trace is not None else about

    @property
    def principal(self) -> str | None:
        """Who the fleet says that asks; None before the request is accepted. Word of that may come later than an answer
        that takes but a few milliseconds.
        """
        return reading.before(self._accepted, Accepted).principal if self._accepted is not None else None

    @property
    def allowances(self) -> Allowances | None:
        """What the caller's key may still spend; None where it has no limits, and as `principal`."""
        if self._accepted is None:
            return None
        return reading.before(self._accepted, Accepted).allowances

    def _note(self, accepted: Received, about: dict[str, str]) -> None:
        """Keep what was said of the job, for when its answer must be looked up."""
        if about[headers.STATUS] != "accepted":
            return
        self._accepted = accepted
        if self._key is not None:
            self.job_id = about.get(headers.JOB, self.job_id)
            now = asyncio.get_running_loop().time()
            self._recovery = self._recovery or Recovery(self._line, self._model, now, steady=True)

    async def _recovered(self) -> Received | None:
        """The final message that came while the connection was away, when there is one. A lost job is asked again.

        Raises StreamInterruptedError for a stream whose job is lost.
        """
        now = asyncio.get_running_loop().time()
        if self._returns != self._line.mux.returns and not self._submits:
            self._returns = self._line.mux.returns
            self._recovery = Recovery(self._line, self._model, now)
        if not self._line.transport.is_connected:
            self._recovery = None  # its return begins another one
        if self._recovery is None or now < self._recovery.due:
            return None
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._recovery.look(self.job_id, self._accepted)
        except TimeoutError:
            return None
        except JobLostError:
            if self._inbox.is_empty:
                await self._ask_anew()
            return None

    async def _ask_anew(self) -> None:
        """The job is lost: with a key the same question finds it or runs it again, else it becomes another job."""
        self._recovery = None
        if self._key is None:
            await self._cancel()  # if it is not lost after all, nobody waits for it
            if not self._asks_anew:
                self._ended = True
                raise StreamInterruptedError("The stream lost its job while the connection was away")
            self._line.mux.forget(self._inbox.subject)
            self._inbox = self._line.mux.open()
            self._answer = Answer(self._reply_type)
            self.job_id = subjects.job_id(self._inbox.subject)
        self._headers = self._request_headers()
        self._sends = self._unheard = 0
        self._taken_at = self._accepted = None
        await self._begin()

    async def _nobody(self) -> None:
        """Nobody was subscribed: say why at once, or wait for the next copy when the model is expected back."""
        self._unheard += 1
        if self._unheard == self._sends:
            self._taken_at = None
        self._deserted = "whether one is expected back could not be looked up"
        try:
            async with asyncio.timeout_at(self._deadline):
                error = await discovery.why_nobody(self._line, self._model, self._target.kind, self._target.subject)
        except (BusUnavailableError, ForbiddenError, TimeoutError):
            return
        if error is not None:
            self._ended = True
            raise error
        self._deserted = "one is expected back: it loads, or was there a short while ago"


def _status(message: Received, status: str) -> Queued | StepEvent | None:
    """What a status tells the caller; those that are not known here, nothing."""
    if status == "queued":
        return reading.before(message, Queued)
    return reading.step(message) if status == "step" else None
