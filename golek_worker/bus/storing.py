"""How does a job get into the stream?

It is published, and a row of a table until JetStream says PubAck. One sweeper looks after the table: what is not
acknowledged is published again under the same message id, which JetStream stores once. A queue that is full refuses;
whether the job then waits in the overflow is a setting. What a key with limits pays for waits for the ledger first.
"""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import headers as h
from golek_wire import semconv
from golek_wire.errors import (
    BadRequestError,
    BusUnavailableError,
    InferenceServiceError,
    InternalError,
    QueueFullError,
)
from golek_wire.jetstream import ApiError, PubAck
from golek_wire.replies import Allowances
from golek_worker.bus.accepted import AcceptedJobs, Answer
from golek_worker.bus.jetstream import MESSAGES_EXCEEDED, is_passing
from golek_worker.bus.overflow import PATIENCE_S, Overflow, Put, Unstored
from golek_worker.bus.queue import Queue
from golek_worker.bus.receipts import Receipts
from golek_worker.bus.replies import send_accepted
from golek_worker.job import Charge, Job, to_headers

if TYPE_CHECKING:
    from golek_program.spans import Span

log = structlog.get_logger("ingress")

UNACKED_LIMIT = 4096
"""Publishes that may wait for a PubAck; more are refused at once."""
PUBLISH_PATIENCE_S = 10.0
"""JetStream may be silent this long (an R3 election took 4.5 s) before the caller gets a 503."""
RESEND_AFTER_S = (0.25, 0.5, 1.0, 2.0)
USUAL_INBOX = 256


class Charges(Protocol):
    """The accounts of keys with limits (charging.py)."""

    async def reserve(self, job: Job, charge: Charge) -> tuple[str, Allowances, bool]:
        """Hold what a job may cost: in which window, what is left, and whether it is no copy of one that is held.

        Raises RateLimitedError, OverLimitError, BusUnavailableError.
        """

    def release(self, job: Job) -> None:
        """Give a hold back: its job was not stored."""

    def repeated(self, job: Job, seq: int) -> None:
        """A hold was made for a copy of the job that is stored as `seq`."""


class Elsewhere(Protocol):
    """Where jobs may go for which a queue has no room (handover.py)."""

    async def adopt(self, request: Unstored, full: Callable[[], QueueFullError]) -> bool:
        """Store it there, where that is possible; else nothing is done. `full` is what its caller hears when there is
        no room either.
        """

    def cancel(self, job_id: str) -> None:
        """As `Ingress.cancel`, of the jobs that were stored there."""

    async def leave(self) -> None:
        """As `Ingress.leave`."""

    async def run(self) -> None:
        """Look after them, for as long as the worker lives."""


class Storing:
    """The jobs of one ingress that are not in the stream yet."""

    def __init__(
        self,
        client: BusClient,
        queue: Queue,
        accepted: AcceptedJobs,
        receipts: Receipts,
        answer: Answer,
        charges: Charges,
        *,
        reject_when_full: bool,
        elsewhere: "Elsewhere | None" = None,
    ) -> None:
        """`accepted` looks after what is stored; `answer` tells an inbox what a job ended in; `elsewhere` may store
        what the queue has no room for.
        """
        self._elsewhere = elsewhere
        self._charges = charges
        self._charging: dict[asyncio.Task[None], Unstored] = {}
        self._client = client
        self._queue = queue
        self._accepted = accepted
        self._receipts = receipts
        self._answer = answer
        self._overflow = None if reject_when_full else Overflow(self._send, self._fail)
        self._unacked: dict[str, Unstored] = {}
        self._look = False
        """Whether a request was refused since the queue was looked at."""
        self._inbox = client.new_inbox()
        self._numbers = itertools.count()
        self._decode_ack = msgspec.json.Decoder(PubAck).decode

    async def start(self) -> None:
        """Listen for JetStream's word."""
        await self._client.subscribe_direct(f"{self._inbox}.*", self._on_ack)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way into the stream."""
        return not (self._unacked or self._charging or self._overflow)

    async def put(self, job: Job, payload: bytes) -> Put:
        """Store `job`. Raises as a request is refused."""
        put: asyncio.Future[Put] = asyncio.get_running_loop().create_future()
        await self.store(job, payload, put=put)
        return await put

    async def store(
        self,
        job: Job,
        payload: bytes,
        *,
        accept: bool = False,
        receipt_to: str = "",
        put: asyncio.Future[Put] | None = None,
        span: "Span | None" = None,
    ) -> None:
        """Publish `job`; who waits is told later, and `span` ends then. Raises the error of a request that cannot be
        published.
        """
        headers = to_headers(job)
        if job.trace or len(job.reply) > USUAL_INBOX:
            _check_size(headers)
        if len(self._unacked) + len(self._charging) >= UNACKED_LIMIT:
            raise BusUnavailableError(f"{UNACKED_LIMIT} requests wait for JetStream already", may_run=False)
        request = Unstored(job, payload, headers, time.monotonic(), accept, receipt_to, put, span)
        if job.charge is not None:  # this is awaited by the reader, which brings the ledger's answer, too
            self._charge_first(request, job.charge)
        else:
            await self._go(request)

    async def adopt(self, request: Unstored) -> None:
        """Store a job for which another queue had no room. Raises as `store` does."""
        if len(self._unacked) >= UNACKED_LIMIT:
            raise request.full or self._full()
        await self._send(request)

    async def _go(self, request: Unstored) -> None:
        if self._overflow:  # others wait for a place: this one stands behind them
            self._keep(self._overflow, request)
        else:
            await self._send(request)

    def _charge_first(self, request: Unstored, charge: Charge) -> None:
        task = asyncio.get_running_loop().create_task(self._charged(request, charge))
        self._charging[task] = request
        task.add_done_callback(lambda done: self._charging.pop(done, None))

    async def _charged(self, request: Unstored, charge: Charge) -> None:
        """Reserve what the request may cost, then send it on; answer it where that fails."""
        try:
            job = request.job
            window, request.allowances, request.reserved = await self._charges.reserve(job, charge)
            request.job = msgspec.structs.replace(job, hold=window, charge=None)
            await self._go(request.aged(time.monotonic()))
        except InferenceServiceError as error:
            await self._fail(request, error)
        except Exception:
            log.exception("request.failed", job_id=request.job.job_id)
            await self._fail(request, InternalError("The request could not be charged"))

    def cancel(self, job_id: str) -> None:
        """End the wait of a job in the overflow."""
        if self._overflow:
            self._overflow.cancel(job_id)

    async def leave(self) -> None:
        """Tell those that wait here to ask again: this worker ends."""
        leaving = BusUnavailableError(
            "this worker leaves, and the request found no place in the queue; ask again",
            retry_after_ms=100,
            may_run=False,
        )
        charging = dict(self._charging)
        if charging:
            _, late = await asyncio.wait(charging, timeout=PATIENCE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            for task in late:
                if not charging[task].accept:  # who waits for `accepted` has sent a copy to somebody else
                    await self._fail(charging[task], leaving)
        if self._overflow is not None:
            await self._overflow.close(leaving)

    async def sweep(self, now: float) -> None:
        """Publish again what JetStream was silent about, and try what waits for a place. Raises as `api` does."""
        await self._resend(now)
        if self._overflow:
            await self._overflow.sweep(now)
        if self._look:
            self._look = False
            await self._queue.look()

    async def _send(self, request: Unstored) -> None:
        request.sends = 1
        request.next_send = time.monotonic() + RESEND_AFTER_S[0]
        inbox = f"{self._inbox}.{next(self._numbers)}"
        self._unacked[inbox] = request
        try:
            await self._publish(request, inbox)
        except InferenceServiceError:
            del self._unacked[inbox]  # nothing was sent, and its sender hears that
            raise

    async def _publish(self, request: Unstored, inbox: str) -> None:
        subject = self._queue.job_subjects[request.job.priority]
        await publish(self._client, subject, request.payload, request.headers, inbox)

    async def _resend(self, now: float) -> None:
        """Publish again, with the same message id, what JetStream has not acknowledged; give up in time."""
        for inbox, request in list(self._unacked.items()):
            patience = min(PUBLISH_PATIENCE_S, request.job.budget_ms / 1000)
            if now >= request.since + patience:
                self._unacked.pop(inbox, None)
                silent = BusUnavailableError(f"JetStream was silent for {patience:.0f} s", may_run=True)
                await self._give_up(request, silent)
            elif now >= request.next_send:
                request.next_send = now + RESEND_AFTER_S[min(request.sends, len(RESEND_AFTER_S) - 1)]
                request.sends += 1
                await self._publish(request, inbox)

    async def _on_ack(self, message: Delivery) -> None:
        """JetStream stored the job, refused it, or was not there or without a leader (then the sweeper sends again)."""
        if not message.data:
            return
        ack = self._decode_ack(message.data)
        if ack.error is not None and is_passing(ack.error):
            return
        request = self._unacked.pop(message.subject, None)
        if request is None:
            return
        if ack.error is not None:
            await self._on_refusal(request, ack.error)
            return
        now = time.monotonic()
        if request.span is not None:
            request.span.say({semconv.SEQUENCE: ack.seq})
            request.span.end()
        if not ack.duplicate or request.sends > 1:
            self._accepted.add(ack.seq, request.job, now)
        elif request.reserved:
            self._charges.repeated(request.job, ack.seq)
        try:
            await self._tell_stored(request, ack)
        finally:
            if request.kept and self._overflow is not None:
                await self._overflow.settled(request.job.msg_id, now, stored=True)

    async def _tell_stored(self, request: Unstored, ack: PubAck) -> None:
        if request.put is not None:
            if not request.put.done():
                request.put.set_result(Put(ack.seq, ack.duplicate, request.allowances))
        elif request.receipt_to:
            self._receipts.owe(request.job, ack.seq, request.receipt_to)
        elif request.accept and request.job.reply:
            await send_accepted(self._client, request.job, ack.seq, request.allowances)

    async def _on_refusal(self, request: Unstored, error: ApiError) -> None:
        """JetStream did not store the job: answer the caller, or wait until there is a place."""
        if error.err_code != MESSAGES_EXCEEDED:
            refused = f"JetStream refused the request: {error.description}"
            await self._give_up(request, BusUnavailableError(refused, may_run=False))
        elif request.full is not None:
            await self._give_up(request, request.full)
        elif self._elsewhere is not None and not request.kept and await self._elsewhere.adopt(request, self._full):
            return
        elif self._overflow is None:
            await self._give_up(request, self._full())
        elif request.kept:
            self._overflow.refused(request.job.msg_id)
        else:
            try:
                self._keep(self._overflow, request)
            except QueueFullError as full:
                await self._give_up(request, full)

    def _keep(self, overflow: Overflow, request: Unstored) -> None:
        """Raises QueueFullError when as many wait as may."""
        if request.job.msg_id in overflow:
            return  # a copy, which has the other's hold
        if len(overflow) + len(self._unacked) >= UNACKED_LIMIT:
            raise self._full()
        overflow.keep(request)

    def _full(self) -> QueueFullError:
        self._look = True
        return self._queue.full(len(self._accepted))

    async def _give_up(self, request: Unstored, error: InferenceServiceError) -> None:
        """Answer a request that was not stored."""
        if request.kept and self._overflow is not None:
            await self._overflow.settled(request.job.msg_id, time.monotonic(), stored=False)
        await self._fail(request, error)

    async def _fail(self, request: Unstored, error: InferenceServiceError) -> None:
        """A job that was not stored: whoever waits for that learns why."""
        if request.span is not None:
            request.span.end(error.code)
        if request.reserved and not error.details.get("may_run"):
            self._charges.release(request.job)
        if request.put is None:
            await self._answer(request.job, request.receipt_to or request.job.reply, error)
        elif not request.put.done():
            request.put.set_exception(error)


def _check_size(headers: dict[str, str]) -> None:
    """Only an unusual inbox or a trace can make the headers large: the rest is bounded by the gate."""
    size = h.headers_size(headers)
    if size > h.JOB_HEADERS_LIMIT:
        raise BadRequestError(f"req_id, trace and inbox take {size} bytes; at most {h.JOB_HEADERS_LIMIT}")
