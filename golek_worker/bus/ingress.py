"""How does a request become a stored job?

A core request is checked and re-published into the model's job stream, because a subject captured by a stream would
answer the caller with a PubAck. One callback, no task per request: what waits for its PubAck is a row in a table that
one sweeper looks after.
"""

import asyncio
import itertools
import math
import time
from collections.abc import Callable

import msgspec
import structlog
from msgspec import Struct
from nats.aio.subscription import Subscription

from golek_client.bus_client import HEADERS_READ, BusClient, Delivery
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire import headers as h
from golek_wire.errors import (
    BadRequestError,
    BusUnavailableError,
    InferenceServiceError,
    InternalError,
    JobCancelledError,
    QueueFullError,
)
from golek_wire.replies import Accepted
from golek_worker.bus.idempotency import Asked, Repeats
from golek_worker.bus.identity import Callers
from golek_worker.bus.intake import Intake
from golek_worker.bus.jetstream import (
    MESSAGE_GONE,
    MESSAGES_EXCEEDED,
    STREAM_NOT_FOUND,
    JetStreamError,
    api,
    is_passing,
)
from golek_worker.bus.objects import Objects
from golek_worker.bus.overflow import Kept, Overflow
from golek_worker.bus.queue import Queue
from golek_worker.bus.receipts import Receipts
from golek_worker.bus.replies import send_error
from golek_worker.bus.results import Results
from golek_worker.bus.waiting import WaitingStreams
from golek_worker.job import Job, deadline_error, to_headers

log = structlog.get_logger("ingress")

UNACKED_LIMIT = 4096
"""Publishes that may wait for a PubAck; more are refused at once."""
PUBLISH_PATIENCE_S = 10.0
"""JetStream may be silent this long (an R3 election took 4.5 s) before the caller gets a 503."""
RESEND_AFTER_S = (0.25, 0.5, 1.0, 2.0)
SWEEP_S = 0.1
USUAL_INBOX = 256
WATCH_S = 1.0
ENDED_AT_ONCE = 64
GRACE_S = 1.0
"""At deadline + this the ingress answers for jobs that nobody answered."""

Check = Callable[[bytes, dict[str, str] | None, str, bool], Job]
"""The gate: a job, or an InferenceServiceError. The last argument: it was submitted."""


class PubAck(Struct, frozen=True):
    """JetStream's answer to a publish."""

    seq: int = 0
    duplicate: bool = False
    error: dict[str, object] | None = None


class Taken(Struct, frozen=True):
    """Which requests an ingress takes."""

    kind: subjects.Kind
    subjects: tuple[str, ...]
    submits: tuple[str, ...] = ()
    """Where jobs are left without waiting for their answers."""
    elsewhere: tuple[str, ...] = ()
    """Where requests of the other kind would come: they are refused with `redirect` instead of finding nobody."""
    redirect: str = ""
    """What the model does, and where to ask it."""


class _Unacked(Struct):
    """A job on its way into the stream."""

    job: Job
    accept: bool
    payload: bytes
    headers: dict[str, str]
    since: float
    sends: int = 1
    next_send: float = 0.0
    kept: bool = False
    """Whether it waited in the overflow."""
    receipt_to: str = ""
    """Where a submitted job's receipt, or refusal, goes."""
    put: asyncio.Future[PubAck] | None = None
    """Who stores a job and wants JetStream's word."""


class _Stored(Struct, frozen=True):
    """A job in the stream that this ingress accepted."""

    job: Job
    deadline: float


class Ingress:
    """Takes requests of one model on core NATS, in the fleet's queue group."""

    def __init__(
        self,
        client: BusClient,
        token: str,
        taken: Taken,
        check: Check,
        callers: Callers,
        queue: Queue,
        objects: Objects,
        results: Results,
        *,
        reject_when_full: bool = True,
    ) -> None:
        self._client = client
        self._objects = objects
        self._large = Intake(objects, callers.principal, self._admit, self._refuse)
        self._stream = subjects.job_stream(token)
        self._queue = queue
        self._waiting = WaitingStreams(client, queue)
        self._overflow = None if reject_when_full else Overflow(self._send_kept, self._fail)
        self._results = results
        self.receipts = Receipts(client, queue)
        self.repeats = Repeats(
            client, self._stream, results, self.receipts, self._put, self._send_accepted, self._answer, objects.forget
        )
        self._taken = taken
        self._check = check
        self._may_answer = callers.may_answer
        self._subscriptions: list[Subscription] = []
        self._unacked: dict[str, _Unacked] = {}
        self._stored: dict[int, _Stored] = {}
        self._maybe_deleted: set[int] = set()
        """Jobs that were to be deleted when JetStream fell silent."""
        self._next_deadline = math.inf
        """No job in `_stored` has an earlier one."""
        self._look = False
        """Whether a request was refused since the queue was looked at."""
        self._seq_of: dict[str, int] = {}
        self._ack_inbox = client.new_inbox()
        self._numbers = itertools.count()
        self._decode_ack = msgspec.json.Decoder(PubAck).decode
        self._to_cancel: set[str] = set()
        self.refused = 0
        """Requests answered with an error before any worker ran them."""

    async def start(self) -> None:
        """Subscribe the request subjects; from here on requests are taken."""
        await self._client.subscribe_direct(f"{self._ack_inbox}.*", self._on_ack)
        taken = (*self._taken.subjects, *self._taken.submits)
        for callback, listed in ((self._on_request, taken), (self._on_stray, self._taken.elsewhere)):
            for subject in listed:
                taking = await self._client.subscribe_direct(subject, callback, subjects.QUEUE_GROUP)
                self._subscriptions.append(taking)

    async def stop(self) -> None:
        """Take no more requests; those already received are still stored."""
        subscriptions, self._subscriptions = self._subscriptions, []
        await asyncio.gather(*(self._client.withdraw(subscription) for subscription in subscriptions))
        await self._large.close()

    async def leave(self) -> None:
        """Tell those who still wait here to ask again: this worker ends."""
        await self.repeats.close()
        if self._overflow is not None:
            leaving = BusUnavailableError(
                "this worker leaves, and the request found no place in the queue; ask again",
                retry_after_ms=100,
                may_run=False,
            )
            await self._overflow.close(leaving)

    async def _on_request(self, message: Delivery) -> None:
        """Check one request and publish it as a job."""
        reply = message.reply
        if reply and not self._may_answer(reply):
            # Answering there would make this worker write where the caller may not.
            self.refused += 1
            log.warning("request.refused", reason="reply subject is not an inbox", reply=reply[:64])
            return
        if message.unread:
            limit = f"at most {HEADERS_READ} are read"
            await self._refuse(message, BadRequestError(f"the headers have {message.unread} bytes; {limit}"))
            return
        if message.headers is not None and h.OBJECT in message.headers:
            await self._large.take(message)
            return
        await self._admit(message, "")

    async def _admit(self, message: Delivery, reference: str) -> None:
        """Publish a request as a job; with `reference` its body stays in the object store."""
        submitted = message.subject in self._taken.submits
        try:
            job = self._check(message.data, message.headers, message.reply, submitted)
            if reference:
                job = msgspec.structs.replace(job, body=reference)
            accept = message.headers is not None and message.headers.get(h.ACCEPT) == "1"
            payload = b"" if reference else message.data
            if job.input_sha256:
                self.repeats.take(Asked(job, payload, message.reply, accept, submitted))
            else:
                await self._store(job, payload, accept, receipt_to=message.reply if submitted else "")
        except InferenceServiceError as error:
            self._objects.forget(reference)
            await self._refuse(message, error)
        except Exception:
            log.exception("request.failed")
            await self._refuse(message, InternalError("The request could not be checked"))

    async def _on_stray(self, message: Delivery) -> None:
        """Say at once that this model does not do what was asked."""
        if not message.reply or self._may_answer(message.reply):
            await self._refuse(message, BadRequestError(self._taken.redirect, param="model"))

    async def _refuse(self, message: Delivery, error: InferenceServiceError) -> None:
        self.refused += 1
        req_id, stream = codec.label_of(message.data)
        # Vectors are never streamed: there `stream` is a field like any unknown one.
        stream = stream and message.subject.startswith(subjects.request(""))
        await send_error(self._client, message.reply, req_id, error, stream=stream)

    async def _answer(self, job: Job, inbox: str, error: InferenceServiceError) -> None:
        self.refused += 1
        if not error.details.get("may_run"):
            self._objects.forget(job.body)
        await send_error(self._client, inbox, job.req_id, error, stream=job.stream)

    async def _fail(self, waiting: _Unacked | Kept, error: InferenceServiceError) -> None:
        """A job that was not stored: whoever waits for that learns why."""
        if waiting.put is None:
            await self._answer(waiting.job, waiting.receipt_to or waiting.job.reply, error)
        elif not waiting.put.done():
            waiting.put.set_exception(error)

    async def _put(self, job: Job, payload: bytes) -> PubAck:
        """Store `job` and return JetStream's word. Raises as a request is refused."""
        stored: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        await self._store(job, payload, accept=False, put=stored)
        return await stored

    async def _store(
        self,
        job: Job,
        payload: bytes,
        accept: bool,
        *,
        receipt_to: str = "",
        put: asyncio.Future[PubAck] | None = None,
    ) -> None:
        headers = to_headers(job)
        if job.trace or len(job.reply) > USUAL_INBOX:
            _check_size(headers)
        if len(self._unacked) >= UNACKED_LIMIT:
            raise BusUnavailableError(f"{UNACKED_LIMIT} requests wait for JetStream already", may_run=False)
        now = time.monotonic()
        if self._overflow:  # others wait for a place: this one stands behind them
            self._keep(Kept(job, accept, payload, headers, now, receipt_to=receipt_to, put=put))
        else:
            due = now + RESEND_AFTER_S[0]
            await self._send(_Unacked(job, accept, payload, headers, now, 1, due, receipt_to=receipt_to, put=put))

    async def _send(self, request: _Unacked) -> None:
        inbox = f"{self._ack_inbox}.{next(self._numbers)}"
        self._unacked[inbox] = request
        try:
            subject = self._queue.job_subjects[request.job.priority]
            await publish(self._client, subject, request.payload, request.headers, inbox)
        except InferenceServiceError:
            del self._unacked[inbox]  # nothing was sent, and its sender hears that
            raise

    async def _send_kept(self, kept: Kept) -> None:
        now = time.monotonic()
        due = now + RESEND_AFTER_S[0]
        await self._send(
            _Unacked(kept.job, kept.accept, kept.payload, kept.headers, now, 1, due, True, kept.receipt_to, kept.put)
        )

    def _keep(self, request: Kept) -> None:
        """Raises QueueFullError when as many wait as may."""
        assert self._overflow is not None
        if request.job.msg_id in self._overflow:
            return  # a copy
        if len(self._overflow) + len(self._unacked) >= UNACKED_LIMIT:
            raise self._full()
        self._overflow.keep(request)

    def _full(self) -> QueueFullError:
        self._look = True
        return self._queue.full(len(self._stored))

    async def _on_ack(self, message: Delivery) -> None:
        """JetStream stored the job, refused it, or was not there or without a leader (then the sweeper sends again)."""
        if not message.data:
            return
        ack = self._decode_ack(message.data)
        if ack.error is not None and is_passing(ack.error):
            return
        waiting = self._unacked.pop(message.subject, None)
        if waiting is None:
            return
        job = waiting.job
        if ack.error is not None:
            await self._on_refusal(waiting, ack.error)
            return
        # The budget runs from when the job was stored, which was at the latest now.
        now = time.monotonic()
        deadline = now + job.budget_ms / 1000
        if not ack.duplicate or waiting.sends > 1:
            self._stored[ack.seq] = _Stored(job, deadline)
            self._seq_of[job.job_id] = ack.seq
            self._queue.view.last_seq = ack.seq
            self._next_deadline = min(self._next_deadline, deadline)
            if job.stream and job.reply:
                self._waiting.add(ack.seq, job, now)
        try:
            await self._tell_stored(waiting, ack)
        finally:
            if waiting.kept and self._overflow is not None:
                await self._overflow.settled(job.msg_id, now, stored=True)

    async def _tell_stored(self, waiting: _Unacked, ack: PubAck) -> None:
        if waiting.put is not None:
            if not waiting.put.done():
                waiting.put.set_result(ack)
        elif waiting.receipt_to:
            self.receipts.owe(waiting.job, ack.seq, waiting.receipt_to)
        elif waiting.accept and waiting.job.reply:
            await self._send_accepted(waiting.job, ack.seq)

    async def _on_refusal(self, waiting: _Unacked, error: dict[str, object]) -> None:
        """JetStream did not store the job: answer the caller, or wait until there is a place."""
        job = waiting.job
        if error.get("err_code") != MESSAGES_EXCEEDED:
            answer: InferenceServiceError = BusUnavailableError(
                f"JetStream refused the request: {error.get('description')}", may_run=False
            )
        elif self._overflow is None:
            answer = self._full()
        else:
            try:
                if waiting.kept:
                    self._overflow.refused(job.msg_id)
                else:
                    self._keep(
                        Kept(
                            job,
                            waiting.accept,
                            waiting.payload,
                            waiting.headers,
                            waiting.since,
                            receipt_to=waiting.receipt_to,
                            put=waiting.put,
                        )
                    )
                return
            except QueueFullError as full:
                answer = full
        await self._give_up(waiting, answer)

    async def _give_up(self, waiting: _Unacked, error: InferenceServiceError) -> None:
        """Answer a request that was not stored."""
        if waiting.kept and self._overflow is not None:
            await self._overflow.settled(waiting.job.msg_id, time.monotonic(), stored=False)
        await self._fail(waiting, error)

    async def _send_accepted(self, job: Job, seq: int) -> None:
        headers = {h.STATUS: "accepted", h.JOB: job.job_id}
        accepted = Accepted(job.req_id, job.job_id, seq, job.principal)
        await publish(self._client, job.reply, codec.encode(accepted), headers)

    async def run(self) -> None:
        """Look after what was published and what was stored, for as long as the worker lives."""
        await asyncio.gather(self._publish_again(), self._watch())

    async def _publish_again(self) -> None:
        """Apart from the rest, which may wait for JetStream's answer."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._resend(time.monotonic())
            except InferenceServiceError as error:
                log.warning("ingress.resend", problem=str(error))

    async def _watch(self) -> None:
        next_watch = time.monotonic() + WATCH_S
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            try:
                await self._cancel_waiting()
                if self._overflow:
                    await self._overflow.sweep(now)
                if now >= self._next_deadline + GRACE_S:
                    await self._answer_expired(now)
                if self._look:
                    self._look = False
                    await self._queue.look()
                if self._stored and now >= next_watch:
                    next_watch = now + WATCH_S
                    await self._forget_answered()
                    await self._waiting.tell()
            except (InferenceServiceError, JetStreamError) as error:
                log.warning("ingress.watch", problem=str(error))

    async def _resend(self, now: float) -> None:
        """Publish again, with the same message id, what JetStream has not acknowledged; give up in time."""
        for inbox, waiting in list(self._unacked.items()):
            job = waiting.job
            patience = min(PUBLISH_PATIENCE_S, job.budget_ms / 1000)
            if now >= waiting.since + patience:
                self._unacked.pop(inbox, None)
                silent = BusUnavailableError(f"JetStream was silent for {patience:.0f} s", may_run=True)
                await self._give_up(waiting, silent)
            elif now >= waiting.next_send:
                waiting.next_send = now + RESEND_AFTER_S[min(waiting.sends, len(RESEND_AFTER_S) - 1)]
                waiting.sends += 1
                subject = self._queue.job_subjects[job.priority]
                await publish(self._client, subject, waiting.payload, waiting.headers, inbox)

    async def _forget_answered(self) -> None:
        """What left the stream is answered. Jobs of other classes may lie before it for long."""
        state = (await api(self._client, f"STREAM.INFO.{self._stream}"))["state"]
        self._queue.view.last_seq = state["last_seq"]
        for seq, stored in list(self._stored.items()):
            if seq < state["first_seq"] or self._queue.is_done(seq, stored.job.priority):
                self._forget(seq)

    async def _answer_expired(self, now: float) -> None:
        """Answer what nobody answered by its deadline."""
        expired = [(seq, stored.job) for seq, stored in self._stored.items() if now >= stored.deadline + GRACE_S]
        for start in range(0, len(expired), ENDED_AT_ONCE):
            ends = [
                self._end_unanswered(seq, job, deadline_error(job))
                for seq, job in expired[start : start + ENDED_AT_ONCE]
            ]
            # Each to its end: one that deleted its job owes an answer.
            for outcome in await asyncio.gather(*ends, return_exceptions=True):
                if outcome is not None:
                    raise outcome
        self._next_deadline = min((stored.deadline for stored in self._stored.values()), default=math.inf)

    def cancel(self, job_id: str) -> None:
        """Delete the job soon, if no worker has been given it yet, and answer it 499."""
        if job_id in self._seq_of:
            self._to_cancel.add(job_id)
        elif self._overflow:
            self._overflow.cancel(job_id)

    async def _cancel_waiting(self) -> None:
        """One look at the queue serves all cancels that came since the last round."""
        if not self._to_cancel:
            return
        job_ids, self._to_cancel = self._to_cancel, set()
        await self._queue.look(older_than_s=0)
        for seq in [self._seq_of[job_id] for job_id in job_ids if job_id in self._seq_of]:
            job = self._stored[seq].job
            if not self._queue.is_delivered(seq, job.priority):
                await self._end_unanswered(seq, job, JobCancelledError("Cancelled before it ran"))

    async def _end_unanswered(self, seq: int, job: Job, error: InferenceServiceError) -> None:
        """A delete that succeeds means nobody has answered; "not found" means somebody has, unless an earlier delete
        here had no answer: better two errors than none. Without its stream nobody will.

        Any other outcome leaves the job where it is: the next round asks again.
        """
        try:
            await api(self._client, f"STREAM.MSG.DELETE.{self._stream}", {"seq": seq, "no_erase": True})
        except BusUnavailableError:
            self._maybe_deleted.add(seq)
            raise
        except JetStreamError as refusal:
            if refusal.code in MESSAGE_GONE and seq not in self._maybe_deleted:
                self._forget(seq)
                return
            if refusal.code not in (*MESSAGE_GONE, STREAM_NOT_FOUND):
                raise
        self._forget(seq)
        if job.keep_s:
            await self._results.keep_error(job, error)
        await self._answer(job, job.reply, error)

    def _forget(self, seq: int) -> None:
        self._waiting.forget(seq)
        self._maybe_deleted.discard(seq)
        stored = self._stored.pop(seq, None)
        if stored is not None:
            self._seq_of.pop(stored.job.job_id, None)


def _check_size(headers: dict[str, str]) -> None:
    """Only an unusual inbox or a trace can make the headers large: the rest is bounded by the gate."""
    size = h.headers_size(headers)
    if size > h.JOB_HEADERS_LIMIT:
        raise BadRequestError(f"req_id, trace and inbox take {size} bytes; at most {h.JOB_HEADERS_LIMIT}")
