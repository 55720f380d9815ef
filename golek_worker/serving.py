"""What happens to one job, from lease to ack?

Read `Serving._serve` top to bottom: lease > attempt > answer > record > settle > ack. Every lease ends in exactly one
final message, or the job stays in the queue and runs again.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import nats.errors
import structlog

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import flush
from golek_wire import headers as h
from golek_wire.errors import STATUS, BusUnavailableError, InferenceServiceError, JobCancelledError
from golek_wire.keys import micros
from golek_wire.semconv import REPLY, STORE_RESULT
from golek_wire.subjects import Kind
from golek_wire.trace import trace_id
from golek_worker.attempt import GONE_AFTER_S, Attempt, Outcome, Requeue, Tools
from golek_worker.bus.acks import Acks
from golek_worker.bus.jetstream import JetStreamError
from golek_worker.bus.lease import Lease, LeaseKeeper
from golek_worker.bus.replies import error_body, error_headers, error_message, final_messages, send_error, send_final
from golek_worker.bus.results import Results
from golek_worker.executor import Answer
from golek_worker.figures import Figures
from golek_worker.job import Job, deadline_error
from golek_worker.sessions.conversation import Conversation
from golek_worker.store.requests import RequestRow
from golek_worker.traffic import Tally

if TYPE_CHECKING:
    from golek_worker.tracing import JobTrace, Traces

log = structlog.get_logger("serving")

CANCEL_MEMORY_S = 600.0
CANCEL_MEMORY_LIMIT = 100_000
CAREFUL_S = 5.0
"""For so long after an outage a final message is sent again while nobody listens at the caller's inbox."""
OUTAGE_PATIENCE_S = 3.0
"""For so long a caller may be deaf in that time, and its job goes on."""
INSIST_S = 0.1
RETRY_S = 1.0
"""A job that the bus kept from being answered waits so long before it runs again."""


class Serving:
    """Serves leases, one task each."""

    def __init__(
        self,
        client: BusClient,
        tools: Tools,
        keeper: LeaseKeeper,
        acks: Acks,
        results: Results,
        *,
        tally: Tally,
        settle: Callable[[Job, int, int], None],
        record: Callable[[RequestRow], None],
        released: Callable[[], Coroutine[Any, Any, None]],
        traces: "Traces | None" = None,
    ) -> None:
        """`settle` is told how many tokens a job of a key with limits used, and how many millionths of a dollar clouds
        took; `tally` counts the jobs that ended; `traces` is None where nobody traces.
        """
        self._client = client
        self._tools = tools
        self._keeper = keeper
        self._results = results
        self._acks = acks
        self._settle = settle
        self._record = record
        self._released = released
        self._traces = traces
        self._attempts: dict[str, Attempt] = {}
        self._tasks: dict[str, asyncio.Task[Outcome | None]] = {}
        self._releases: set[asyncio.Task[None]] = set()
        self._cancelled: OrderedDict[str, float] = OrderedDict()
        self._careful_until = 0.0
        self.tally = tally
        self.last_error = ""
        self.busy_ns = 0
        self.last_activity = time.time()
        self.figures = Figures()

    @property
    def active(self) -> int:
        """Jobs being served."""
        return len(self._attempts)

    @property
    def busy(self) -> int:
        """Jobs that hold a slot: those that only read another one's run hold none."""
        return sum(attempt.has_slot for attempt in self._attempts.values())

    @property
    def writing(self) -> int:
        """About how many tokens the jobs that run have written so far."""
        return sum(attempt.pieces for attempt in self._attempts.values())

    async def start(self) -> None:
        """Listen for probes that come back, when nobody is interested in an inbox any more, and for confirmed acks."""
        await self._acks.start()
        await self._client.subscribe_direct(f"{self._tools.probe_inbox}.*", self._on_probe)

    def reconnected(self) -> None:
        """The connection stands again; callers may still be on their way back."""
        self._careful_until = time.monotonic() + CAREFUL_S

    def take(self, lease: Lease) -> None:
        """Serve `lease` in a task of its own."""
        if self._keeper.notice_sleep():
            lease.doubtful = True
        running = self._attempts.get(lease.job.job_id)
        if running is not None and running.lease.seq != lease.seq:
            # The job of an idempotency key runs again while its last run says goodbye.
            self._own(self._postpone(lease))
        elif running is not None:
            # This process slept past the lease's end (a frozen host); nobody else took the job meanwhile.
            running.lease.adopt(lease)
            self._own(self._release(lease, again=False))
        else:
            attempt = self._attempts[lease.job.job_id] = Attempt(lease, self._tools)
            serve = self._serve if self._traces is None else self._serve_traced
            self._tasks[lease.job.job_id] = asyncio.get_running_loop().create_task(serve(attempt))

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _postpone(self, lease: Lease) -> None:
        await self._give_back(lease, INSIST_S)
        await self._release(lease, again=True)

    async def _release(self, lease: Lease, *, again: bool, has_slot: bool = True) -> None:
        """Its slot is free; a job that was taken out of another queue has none here."""
        if lease.on_end is not None:
            lease.on_end(again)
        elif has_slot:
            await self._released()

    def cancel(self, job_id: str) -> bool:
        """Never start the job later; stop it if it runs here, and say so."""
        self._cancelled[job_id] = time.monotonic()
        self._cancelled.move_to_end(job_id)
        if len(self._cancelled) > CANCEL_MEMORY_LIMIT:
            self._cancelled.popitem(last=False)
        attempt = self._attempts.get(job_id)
        if attempt is not None:
            attempt.stop(JobCancelledError())
        for step in self._attempts.values():
            if step.job.parent == job_id:
                step.stop(JobCancelledError())
        return attempt is not None

    # -- slots, for those that share a run (sharing.Desk) ---------------------------------------------------------

    def stored_at(self, job_id: str) -> float:
        """When the job was stored, by the monotonic clock."""
        attempt = self._attempts.get(job_id)
        return attempt.lease.leased_at - attempt.lease.waited_s if attempt is not None else time.monotonic()

    def free_slot(self, job_id: str) -> None:
        """The job only reads: another one may have its slot."""
        attempt = self._attempts.get(job_id)
        if attempt is not None and attempt.has_slot and attempt.lease.on_end is None:
            attempt.has_slot = False
            self._own(self._released())

    def pass_slot(self, job_id: str, to: str) -> None:
        """The first job's slot is from now on the second one's."""
        giver, taker = self._attempts.get(job_id), self._attempts.get(to)
        if (
            giver is not None
            and taker is not None
            and giver.has_slot
            and not taker.has_slot
            and giver.lease.on_end is None
        ):
            giver.has_slot, taker.has_slot = False, True

    # -- ending --------------------------------------------------------------------------------------------------

    async def finish(self, patience_s: float) -> int:
        """Wait for what runs; how many jobs still run after `patience_s`."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=patience_s)
        return self.active

    async def drain(self, patience_s: float) -> int:
        """Finish what runs; after `patience_s` give the rest back to the queue, and tell how many."""
        await self.finish(patience_s)
        rest = list(self._attempts.values())
        for attempt in rest:
            attempt.stop(Requeue())
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=2.0)
        return len(rest)

    # -- one job -----------------------------------------------------------------------------------------------

    async def _serve_traced(self, attempt: Attempt) -> Outcome | None:
        """`_serve`, as a span."""
        assert self._traces is not None
        trace = self._traces.begin(attempt.lease)
        if trace is None:
            return await self._serve(attempt)
        with trace.span.entered():
            outcome = await self._serve(attempt, trace)
        trace.end(attempt, outcome)
        return outcome

    async def _serve(self, attempt: Attempt, trace: "JobTrace | None" = None) -> Outcome | None:
        """The story of one job, and its outcome; None when it runs again."""
        lease = attempt.lease
        done: Outcome | None = None
        self._keeper.hold(lease, lambda: attempt.stop(deadline_error(lease.job)))
        try:
            outcome = await attempt.outcome(cancelled=self._is_cancelled(lease))
            if await self._answer(attempt, outcome, trace):
                if attempt.job.resumable:
                    await self._end_log(attempt, outcome)
                self._count(attempt, outcome)
                self._record(_row(attempt, outcome, attempt.job.asked_kind or self._tools.executor.kind))
            if attempt.job.hold:
                self._settle(attempt.job, attempt.computed, micros(attempt.cost_usd or 0.0))
            confirm_at = self._acks.count()
            await (lease.ack(confirm_at) if isinstance(outcome, Answer) else lease.term(confirm_at))
            done = outcome
            if trace is not None:
                trace.lap()
            if not lease.job.parent:  # another step may have to read it
                self._tools.objects.forget(lease.job.body)
            await self._forget_strikes(attempt)
        except Requeue:
            await self._give_back(lease)
        except (BusUnavailableError, JetStreamError, nats.errors.Error) as cause:
            log.warning("job.unanswered", job_id=lease.job.job_id, cause=repr(cause))
            await self._give_back(lease, RETRY_S)
        except Exception:
            # Nothing is known of the job's state: it stays in the queue and runs again after ACK_WAIT_S.
            log.exception("job.failed", job_id=lease.job.job_id, req_id=lease.job.req_id)
        finally:
            self._keeper.drop(lease)
            self._attempts.pop(lease.job.job_id, None)
            self._tasks.pop(lease.job.job_id, None)
            self.last_activity = time.time()
            await self._acks.caught_up()
            await self._release(lease, again=done is None, has_slot=attempt.has_slot)
        return done

    async def _answer(self, attempt: Attempt, outcome: Outcome, trace: "JobTrace | None") -> bool:
        """Send the one final message; False when another replica may have done so."""
        while not self._client.is_connected and time.monotonic() < attempt.lease.deadline:  # noqa: ASYNC110 - no event
            await asyncio.sleep(INSIST_S)
        self._keeper.notice_sleep()
        if not await attempt.lease.is_mine():
            return False
        if isinstance(outcome, Answer) and attempt.work is not None and attempt.work.conversation is not None:
            outcome = await self._remember(attempt, attempt.work.conversation, outcome)
        if trace is not None:
            trace.lap()
        if attempt.job.keep_s:
            await self._keep(attempt, outcome)
            if trace is not None:
                trace.lap(STORE_RESULT)
        await self._deliver(attempt, outcome)
        if trace is not None:
            trace.lap(REPLY)
        return True

    async def _deliver(self, attempt: Attempt, outcome: Outcome) -> None:
        """Send it, once unless callers may be on their way back."""
        if time.monotonic() >= self._careful_until:
            await self._send(attempt, outcome, "")
            return
        # After an outage the caller may come back later than we did: send until somebody listens.
        while True:
            attempt.bounced = False
            await self._send(attempt, outcome, attempt.probe)
            await flush(self._client)
            if not attempt.bounced or time.monotonic() >= self._careful_until:
                return
            await asyncio.sleep(INSIST_S)

    async def _remember(self, attempt: Attempt, conversation: Conversation, answer: Answer) -> Answer:
        """Add the turn to its session: before the answer is sent, so that the caller's next request finds it."""
        assert self._tools.sessions is not None
        left_s = attempt.lease.deadline - time.monotonic()
        return await self._tools.sessions.add(attempt.job, conversation, answer, left_s)

    async def _keep(self, attempt: Attempt, outcome: Outcome) -> None:
        """Keep the final message for those who ask for it later.

        Raises BusUnavailableError when it is the only answer, cannot be stored, and there is time to run again.
        """
        job, work = attempt.job, attempt.work
        if isinstance(outcome, InferenceServiceError):
            body, about = error_body(job.req_id, outcome, self._client.max_payload), error_headers(outcome)
        else:
            body, about = outcome.body, {}
        if job.reply or (work is not None and work.reply_to):
            await self._results.keep(job, body, about)
            return
        try:
            await self._results.keep_surely(job, body, about)
        except BusUnavailableError as unstored:
            if time.monotonic() < attempt.lease.deadline:
                raise
            self._results.lose(unstored)

    async def _send(self, attempt: Attempt, outcome: Outcome, probe: str) -> None:
        job, work = attempt.job, attempt.work
        also_to = work.reply_to if work is not None and not job.parent else None
        if isinstance(outcome, Answer):
            delivery = attempt.lease.num_delivered
            await send_final(
                self._client, job, outcome.body, delivery,
                worker=self._tools.worker_id, also_to=also_to, probe=probe,
            )  # fmt: skip
        else:
            await send_error(
                self._client, job.reply, job.req_id, outcome,
                stream=job.stream, worker=self._tools.worker_id, also_to=also_to, probe=probe,
            )  # fmt: skip

    async def _end_log(self, attempt: Attempt, outcome: Outcome) -> None:
        """The final message, to those who read the stream later."""
        job, worker = attempt.job, self._tools.worker_id
        if isinstance(outcome, Answer):
            attempts = attempt.lease.num_delivered
            final = list(final_messages(self._client.max_payload, job, outcome.body, attempts, worker))
        else:
            final = [error_message(job.req_id, outcome, stream=True, worker=worker, limit=self._client.max_payload)]
        await self._tools.tokens.end(job, final)

    def _count(self, attempt: Attempt, outcome: Outcome) -> None:
        ran_s = attempt.ended_at - attempt.lease.leased_at
        self.busy_ns += int(ran_s * 1e9)
        self.tally.tokens(*(_computed(attempt) if attempt.saved else (attempt.tokens_in, attempt.tokens_out)))
        if attempt.work is not None and attempt.work.cache is not None:
            self.tally.cached(attempt.work.cache)
        if attempt.cost_usd is not None:
            self.tally.cost(attempt.cost_usd)
        attempt.pieces = 0
        if isinstance(outcome, Answer):
            self.tally.answer(ran_s * 1000)
            ttft_ms = outcome.ttft_ms(ran_s * 1000)
            if ttft_ms is not None:
                self.figures.keep(attempt.ended_at, ttft_ms, outcome.itl_ms)
        else:
            self.tally.fail(STATUS[outcome.code].nats)
            self.last_error = f"{outcome.code}: {outcome.message}"

    async def _forget_strikes(self, attempt: Attempt) -> None:
        """The job is done with; a failure here is mended by the bucket's TTL."""
        if attempt.strikes.crashes:
            with contextlib.suppress(InferenceServiceError, nats.errors.Error, TimeoutError):
                await self._tools.strikes.clear(attempt.job.job_id)

    async def _give_back(self, lease: Lease, delay_s: float = 0.0) -> None:
        """Let the job run again after `delay_s`; when the bus does not hear that, it does so after ACK_WAIT_S."""
        log.info("job.requeued", job_id=lease.job.job_id, attempt=lease.num_delivered)
        with contextlib.suppress(BusUnavailableError):
            await lease.nak(delay_s)

    # -- stopping early ----------------------------------------------------------------------------------------

    def _is_cancelled(self, lease: Lease) -> bool:
        """True when a cancel was heard within CANCEL_MEMORY_S; older ones are forgotten.

        Jobs of one idempotency key have one id: one that was stored after the cancel is another run.
        """
        oldest = time.monotonic() - CANCEL_MEMORY_S
        while self._cancelled and next(iter(self._cancelled.values())) < oldest:
            self._cancelled.popitem(last=False)
        if lease.job.parent and lease.job.parent in self._cancelled:
            return True
        heard_at = self._cancelled.get(lease.job.job_id)
        if heard_at is None:
            return False
        return not lease.job.input_sha256 or lease.leased_at - lease.queue_ms / 1000 <= heard_at

    async def _on_probe(self, message: Delivery) -> None:
        """The server's 503: a message found no interest at its inbox. Anything else there is a caller's own doing."""
        attempt = self._attempts.get(message.subject.rpartition(".")[2])
        if attempt is not None and (message.headers or {}).get(h.NATS_STATUS) == h.NO_RESPONDERS:
            is_careful = time.monotonic() < self._careful_until
            attempt.inbox_bounced(OUTAGE_PATIENCE_S if is_careful else GONE_AFTER_S)


def _computed(attempt: Attempt) -> tuple[int, int]:
    """The tokens that were read and written for it; a part of a list that was kept counts with what is read."""
    if attempt.saved >= attempt.tokens_in + attempt.tokens_out:
        return 0, 0
    return max(0, attempt.tokens_in - attempt.saved), attempt.tokens_out


def _target(outcome: Outcome) -> str | None:
    """Who answered, or was asked last, where a router chose."""
    if isinstance(outcome, Answer):
        return outcome.target
    route = outcome.details.get("route")
    return str(route["target"]) if isinstance(route, dict) and route.get("target") else None


def _row(attempt: Attempt, outcome: Outcome, kind: Kind) -> RequestRow:
    """What the log keeps of an answered job."""
    lease, job, work, first = attempt.lease, attempt.job, attempt.work, attempt.first_text_at
    answer = outcome if isinstance(outcome, Answer) else None
    measured = answer.measured if answer is not None else None
    dur_ms = (attempt.ended_at - lease.leased_at) * 1000
    ttft_ms = answer.ttft_ms(dur_ms) if answer is not None else None
    if first is not None:
        ttft_ms = (first - lease.leased_at) * 1000
    error = outcome if isinstance(outcome, InferenceServiceError) else None
    return RequestRow(
        ts=time.time(),
        req_id=job.req_id,
        job_id=job.job_id,
        kind=kind,
        principal=job.principal,
        status="ok" if error is None else error.code,
        raw_input=work.raw_input if work is not None else lease.payload.decode(errors="replace"),
        formatted_input=work.prompt if work is not None else None,
        output=answer.text if answer is not None else None,
        tokens_in=attempt.tokens_in,
        tokens_out=attempt.tokens_out,
        finish_reason=answer.finish_reason if answer is not None else None,
        dur_ms=round(dur_ms, 3),
        ttft_ms=None if ttft_ms is None else round(ttft_ms, 3),
        queue_ms=lease.queue_ms,
        attempt=lease.num_delivered,
        stream=job.stream,
        seed=job.seed,
        error=None if error is None else error.message,
        adapter=work.adapter if work is not None else None,
        texts=work.texts if work is not None else None,
        tokens_cached=None if measured is None else measured.tokens_cached,
        waited_ms=None if measured is None else measured.waited_ms,
        prefill_ms=None if measured is None else measured.prefill_ms,
        decode_ms=None if measured is None else measured.decode_ms,
        trace_id=(trace_id(job.trace) or None) if job.trace else None,
        asked=job.asked_model or None,
        target=_target(outcome),
        cost_usd=attempt.cost_usd,
        cache=answer.cache if answer is not None else None,
        parent=job.parent or None,
    )
