"""What happens to one job, from lease to ack?

Read `Serving._serve` top to bottom: lease > attempt > answer > record > settle > ack. Every lease ends in exactly one
final message, or the job stays in the queue and runs again.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

import nats.errors
import structlog

from golek_client.bus_client import BusClient, Delivery
from golek_wire import headers as h
from golek_wire.errors import STATUS, BusUnavailableError, InferenceServiceError, JobCancelledError
from golek_wire.keys import micros
from golek_wire.semconv import REPLY, STORE_RESULT
from golek_worker import recording
from golek_worker.attempt import GONE_AFTER_S, Attempt, Outcome, Requeue, Tools
from golek_worker.bus.acks import Acks
from golek_worker.bus.jetstream import BUS_ERRORS, JetStreamError
from golek_worker.bus.lease import Lease, LeaseKeeper, SupersededError
from golek_worker.bus.results import Results
from golek_worker.executor import Answer
from golek_worker.figures import Figures
from golek_worker.finals import INSIST_S, Finals
from golek_worker.job import Job, deadline_error
from golek_worker.sessions.conversation import Conversation
from golek_worker.store.requests import RequestRow
from golek_worker.traffic import Tally

if TYPE_CHECKING:
    from golek_worker.tracing import JobTrace, Traces

log = structlog.get_logger("serving")

CANCEL_MEMORY_S = 600.0
CANCEL_MEMORY_LIMIT = 100_000
OUTAGE_PATIENCE_S = 3.0
"""For so long a caller may be deaf after an outage, and its job goes on."""
RETRY_S = 1.0
"""A job that the bus kept from being answered waits so long before it runs again."""


class Settle(Protocol):
    """Counts what a job used (`Charging.settle`)."""

    def __call__(self, job: Job, tokens: int, micros: int = 0, *, answered: bool = True) -> None: ...


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
        settle: Settle,
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
        self._finals = Finals(client, results, tools.tokens, tools.worker_id)
        self._acks = acks
        self._settle = settle
        self._record = record
        self._released = released
        self._traces = traces
        self._attempts: dict[str, Attempt] = {}
        self._tasks: dict[str, asyncio.Task[Outcome | None]] = {}
        self._releases: set[asyncio.Task[None]] = set()
        self._cancelled: OrderedDict[str, float] = OrderedDict()
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
        self._finals.reconnected()

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
            if lease.num_delivered > 1 and lease.job.stream:
                self._own(self._announce(lease))
            attempt = self._attempts[lease.job.job_id] = Attempt(lease, self._tools)
            serve = self._serve if self._traces is None else self._serve_traced
            self._tasks[lease.job.job_id] = asyncio.get_running_loop().create_task(serve(attempt))

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _announce(self, lease: Lease) -> None:
        """Let an older holder give way; where that is not heard, whoever claims the answer first gives it."""
        with contextlib.suppress(*BUS_ERRORS):
            await lease.announce()

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
                    await self._finals.end_log(attempt, outcome)
                self._count(attempt, outcome)
                self._record(recording.row(attempt, outcome, attempt.job.asked_kind or self._tools.executor.kind))
            if attempt.job.hold:
                ours = recording.is_ours(outcome)
                self._settle(attempt.job, attempt.computed, micros(attempt.cost_usd or 0.0), answered=not ours)
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
        except SupersededError:
            log.info("job.superseded", job_id=lease.job.job_id, attempt=lease.num_delivered)
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
            await self._finals.keep(attempt, outcome)
            if trace is not None:
                trace.lap(STORE_RESULT)
        await self._finals.send(attempt, outcome)
        if trace is not None:
            trace.lap(REPLY)
        return True

    async def _remember(self, attempt: Attempt, conversation: Conversation, answer: Answer) -> Answer:
        """Add the turn to its session: before the answer is sent, so that the caller's next request finds it."""
        assert self._tools.sessions is not None
        left_s = attempt.lease.deadline - time.monotonic()
        return await self._tools.sessions.add(attempt.job, conversation, answer, left_s)

    def _count(self, attempt: Attempt, outcome: Outcome) -> None:
        ran_s = attempt.ended_at - attempt.lease.leased_at
        self.busy_ns += int(ran_s * 1e9)
        computed = recording.computed(attempt) if attempt.saved else (attempt.tokens_in, attempt.tokens_out)
        self.tally.tokens(*computed)
        if attempt.work is not None and attempt.work.cache is not None:
            self.tally.cached(attempt.work.cache)
        elif attempt.work is not None and attempt.work.shared:
            self.tally.shared += 1
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
            attempt.inbox_bounced(OUTAGE_PATIENCE_S if self._finals.is_careful else GONE_AFTER_S)
