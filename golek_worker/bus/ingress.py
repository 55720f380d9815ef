"""How does a request become a job?

It comes as a core request in the fleet's queue group, passes the gate, and is published once more into the model's job
stream (`storing`), because a subject captured by a stream would answer the caller with a PubAck. Large bodies come in
through `intake`, requests with an idempotency key through `idempotency`; what is stored is `accepted`'s until it is
answered. One callback, no task per request.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog
from msgspec import Struct
from nats.aio.subscription import Subscription

from golek_client.bus_client import HEADERS_READ, BusClient, Delivery
from golek_wire import codec, semconv, several, subjects
from golek_wire import headers as h
from golek_wire.errors import (
    STATUS,
    BadRequestError,
    BusUnavailableError,
    InferenceServiceError,
    InternalError,
    TemporaryResourceError,
    UnauthorizedError,
)
from golek_wire.subjects import ANONYMOUS
from golek_worker.bus import strangers
from golek_worker.bus.accepted import AcceptedJobs
from golek_worker.bus.idempotency import Asked, Repeats
from golek_worker.bus.identity import Callers
from golek_worker.bus.intake import Intake
from golek_worker.bus.jetstream import BUS_ERRORS, JetStreamError
from golek_worker.bus.objects import Objects
from golek_worker.bus.overflow import Unstored
from golek_worker.bus.queue import Queue
from golek_worker.bus.receipts import Receipts
from golek_worker.bus.replies import send_error
from golek_worker.bus.results import Results
from golek_worker.bus.seers import Seers
from golek_worker.bus.storing import Charges, Elsewhere, Storing
from golek_worker.bus.strangers import Strangers
from golek_worker.bus.tokens import TokenLogs
from golek_worker.job import Job, trace_of
from golek_worker.traffic import REFUSED, Tally

if TYPE_CHECKING:
    from golek_program.spans import Span, Tracing

log = structlog.get_logger("ingress")

SWEEP_S = 0.1

Check = Callable[[bytes, dict[str, str] | None, str, str], Job]
"""The gate: a job, or an InferenceServiceError. The last arguments: where it is answered, and where it was asked."""


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


class Pass(Elsewhere, Protocol):
    """What an ingress does not store itself."""

    async def for_several(self) -> "Ingress":
        """The way into the queue of a router that has several models answer. Raises NoWorkersError without one, and as
        the bus does.
        """
        ...


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
        charges: Charges,
        look: Callable[[str], Awaitable[object]],
        *,
        tokens: TokenLogs,
        tally: Tally,
        reject_when_full: bool = True,
        loading: Callable[[], float | None] = lambda: None,
        tracing: "Tracing | None" = None,
        elsewhere: "Pass | None" = None,
    ) -> None:
        """`look` asks the fleet for a key by its digest; `callers` knows it then, if it is one. `tally` counts the
        requests that no worker runs; `elsewhere` may store those for which the queue has no room, and has those stored
        that several models answer; without it these are stored here.
        """
        self._client = client
        self._callers = callers
        self._charges = charges
        self._taken = taken
        self._check = check
        self._may_answer = callers.may_answer
        self._queue = queue
        self._objects = objects
        self._tokens = tokens
        self._subscriptions: list[Subscription] = []
        stream = subjects.job_stream(token)
        self._strangers = Strangers(look, self._on_request, self._refuse)
        self._seers = Seers(client)
        self._large = Intake(objects, callers.principal, self._admit, self._turn_away)
        self._accepted = AcceptedJobs(
            client, stream, queue, results, self._answer_unrun, loading,
            self._trace_unrun if tracing is not None else None,
        )  # fmt: skip
        self.receipts = Receipts(client, queue)
        self._storing = Storing(
            client, queue, self._accepted, self.receipts, self._answer, charges,
            reject_when_full=reject_when_full, elsewhere=elsewhere,
        )  # fmt: skip
        self._elsewhere = elsewhere
        self._tracing, self._stream = tracing, stream
        self._repeats = Repeats(client, stream, results, self.receipts, self._storing.put, self._answer, objects.forget)
        self._tally = tally

    @property
    def unanswered(self) -> int:
        """Requests that were stored here and of which no answer is known."""
        return len(self._accepted)

    async def start(self) -> None:
        """Subscribe the request subjects; from here on requests are taken."""
        await self.open()
        taken = (*self._taken.subjects, *self._taken.submits)
        for callback, listed in ((self._on_request, taken), (self._on_stray, self._taken.elsewhere)):
            for subject in listed:
                taking = await self._client.subscribe_direct(subject, callback, subjects.QUEUE_GROUP)
                self._subscriptions.append(taking)

    async def open(self) -> None:
        """Be ready for requests that `take` brings; none are subscribed."""
        await self._storing.start()

    async def look(self) -> None:
        """See how far the queue is: where no worker looks at it, whoever brings requests does. Raises as `api` does."""
        await self._queue.look()

    async def take(self, message: Delivery) -> None:
        """Take a request that somebody else received."""
        await self._on_request(message)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to look after."""
        return not len(self._accepted) and self._storing.is_idle

    async def adopt(self, request: Unstored) -> None:
        """Store a job that another ingress took and has no room for; it is looked after here from then on. Raises as a
        request is refused.
        """
        await self._storing.adopt(request)

    async def run(self) -> None:
        """Look after what was published and what was stored, for as long as the worker lives."""
        # Apart, because each may wait for JetStream's answer.
        sides = [_repeat(self._storing.sweep), _repeat(self._accepted.sweep), self.receipts.run()]
        if self._elsewhere is not None:
            sides.append(self._elsewhere.run())
        await asyncio.gather(*sides)

    async def stop(self) -> None:
        """Take no more requests; those already received are still stored."""
        subscriptions, self._subscriptions = self._subscriptions, []
        await asyncio.gather(*(self._client.withdraw(subscription) for subscription in subscriptions))
        await self._strangers.close()
        await self._seers.close()
        await self._large.close()

    async def leave(self) -> None:
        """Tell those who still wait here to ask again: this worker ends."""
        await self._repeats.close()
        await self._storing.leave()
        if self._elsewhere is not None:
            await self._elsewhere.leave()

    def cancel(self, job_id: str) -> None:
        """End the job soon and answer it 499, if no worker has been given it yet."""
        if not self._accepted.cancel(job_id):
            self._storing.cancel(job_id)
        if self._elsewhere is not None:
            self._elsewhere.cancel(job_id)

    def give_up(self, since: float, error: InferenceServiceError) -> None:
        """End soon with `error` the requests stored from then on that no worker has been given, but those that were
        submitted.
        """
        self._accepted.give_up(since, error)

    async def _on_request(self, message: Delivery) -> None:
        """Check one request and publish it as a job."""
        reply = message.reply
        if reply and not self._may_answer(reply):
            # Answering there would make this worker write where the caller may not.
            self._tally.refuse(STATUS[BadRequestError.code].nats)
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
        """Publish a request as a job, here or elsewhere; with `reference` its body stays in the object store."""
        elsewhere = self._elsewhere
        is_text = subjects.kind_of(message.subject) == "inference"
        if elsewhere is None or not is_text or not several.is_asked_in(message.data):
            await self._publish(message, reference)
            return
        try:
            codec.decode_request(message.data)
            other = await elsewhere.for_several()
        except InferenceServiceError as error:
            self._objects.forget(reference)
            await self._turn_away(message, error)
        except BUS_ERRORS as error:
            self._objects.forget(reference)
            await self._refuse(message, BusUnavailableError(f"no way to a router: {error}", may_run=False))
        else:
            await other._publish(message, reference)

    async def _publish(self, message: Delivery, reference: str) -> None:
        submitted = subjects.is_submit(message.subject)
        span = self._span(message) if self._tracing is not None else None
        try:
            job = self._check(message.data, message.headers, message.reply, message.subject)
            if span is not None:
                job = _traced(job, span)
            if reference:
                job = msgspec.structs.replace(job, body=reference)
            accept = message.headers is not None and message.headers.get(h.ACCEPT) == "1"
            payload = b"" if reference else message.data
            if job.resumable:
                await self._tokens.open(job, message.data, time.time())
            if job.input_sha256:
                self._repeats.take(Asked(job, payload, message.reply, accept, submitted))
                if span is not None:  # what it repeats, and whether it is stored, is found out elsewhere
                    span.end()
            else:
                receipt_to = message.reply if submitted else ""
                await self._storing.store(job, payload, accept=accept, receipt_to=receipt_to, span=span)
        except InferenceServiceError as error:
            if span is not None:
                span.end(error.code)
            self._objects.forget(reference)
            await self._turn_away(message, error)
        except Exception:
            log.exception("request.failed")
            if span is not None:
                span.end(InternalError.code)
            await self._refuse(message, InternalError("The request could not be checked"))

    def _span(self, message: Delivery) -> "Span":
        """From the request to the job in its stream, for the caller's trace or a new one."""
        assert self._tracing is not None
        about = {
            semconv.MESSAGING_SYSTEM: semconv.NATS,
            semconv.MESSAGING_OPERATION: "publish",
            semconv.MESSAGING_OPERATION_TYPE: "send",
            semconv.MESSAGING_DESTINATION: self._stream,
        }
        return self._tracing.begin(f"publish {self._stream}", "producer", trace_of(message.headers or {}), about)

    def _trace_unrun(self, job: Job, waited_s: float, error: InferenceServiceError) -> None:
        """The queue was all that a job saw."""
        assert self._tracing is not None
        now = time.time_ns()
        about = {semconv.MESSAGING_DESTINATION: self._stream, semconv.JOB_ID: job.job_id}
        span = self._tracing.begin(semconv.QUEUE, "internal", job.trace, about, now - int(waited_s * 1e9))
        span.end(error.code, now)

    async def _turn_away(self, message: Delivery, error: InferenceServiceError) -> None:
        """Refuse a request, unless it brings a key that the fleet may know and this worker does not yet."""
        if isinstance(error, UnauthorizedError):
            stranger = self._callers.stranger(message.headers)
            if stranger and self._strangers.take(stranger, message):
                return
            if stranger:
                error = TemporaryResourceError(f"{strangers.LIMIT} requests wait already for a look at their keys")
        if not self._seers.take(error, lambda: self._refuse(message, error)):
            await self._refuse(message, error)

    async def _on_stray(self, message: Delivery) -> None:
        """Say at once that this model does not do what was asked."""
        if not message.reply or self._may_answer(message.reply):
            error = BadRequestError(self._taken.redirect, param="model", kinds=[self._taken.kind])
            await self._refuse(message, error)

    async def _refuse(self, message: Delivery, error: InferenceServiceError) -> None:
        status = STATUS[error.code].nats
        self._tally.refuse(status, self._who(message, error) if status in REFUSED else ANONYMOUS)
        req_id, stream = codec.label_of(message.data)
        # Vectors are never streamed: there `stream` is a field like any unknown one.
        stream = stream and message.subject.startswith(subjects.request(""))
        await send_error(self._client, message.reply, req_id, error, stream=stream)

    def _who(self, message: Delivery, error: InferenceServiceError) -> str:
        """Who is refused, as far as that is known."""
        if (said := error.details.get("key_id")) is not None:
            return str(said)
        try:
            return self._callers.principal(message.headers)
        except InferenceServiceError:
            return ANONYMOUS

    async def _answer_unrun(self, job: Job, inbox: str, error: InferenceServiceError) -> None:
        """The error of a job that was stored and that no worker ran: it costs nothing."""
        self._charges.release(job)
        self._tally.fail(STATUS[error.code].nats)
        await self._tell(job, inbox, error)

    async def _answer(self, job: Job, inbox: str, error: InferenceServiceError) -> None:
        """The error of a request that was not stored."""
        self._tally.refuse(STATUS[error.code].nats, job.principal)
        await self._tell(job, inbox, error)

    async def _tell(self, job: Job, inbox: str, error: InferenceServiceError) -> None:
        if not error.details.get("may_run"):
            self._objects.forget(job.body)
        if job.resumable:
            await self._tokens.refuse(job, error)
        await send_error(self._client, inbox, job.req_id, error, stream=job.stream)


def _traced(job: Job, span: "Span") -> Job:
    """The job in the span's trace; the span says which job it is."""
    if span.is_recorded:
        about = {semconv.MESSAGING_MESSAGE: job.job_id, semconv.JOB_ID: job.job_id, semconv.KEY_ID: job.principal}
        span.say({**about, semconv.REQ_ID: job.req_id} if job.req_id else about)
    return msgspec.structs.replace(job, trace=span.carried or job.trace)


async def _repeat(sweep: Callable[[float], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            await sweep(time.monotonic())
        except (InferenceServiceError, JetStreamError) as error:
            log.warning("ingress.watch", problem=str(error))
