"""How does one leased job come to its outcome?

`Attempt.outcome` is the way: may it still run > alone or with others > run > pass the text on. It ends in the answer,
in the error that the caller gets, or in `Requeue`: the job must run again. What is asked and answered, text or vectors,
is the executor's affair.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import structlog
from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_wire import headers as h
from golek_wire.errors import (
    BusUnavailableError,
    ContextBudgetExceededError,
    InferenceServiceError,
    InternalError,
    JobCancelledError,
    PoisonJobError,
    from_body,
)
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Delta
from golek_worker.bus.lease import Lease
from golek_worker.bus.objects import Objects
from golek_worker.bus.replies import ReplyStream, largest_final, send_started
from golek_worker.bus.seers import Seers
from golek_worker.bus.strikes import Strikes
from golek_worker.bus.tokens import TokenLogs
from golek_worker.caching import Caching
from golek_worker.engine.base import Classified, Embedded, Finished, Piece, Ranked, Refused, Replied, Stopped
from golek_worker.engine.host import EngineDied, Run, RunEnd
from golek_worker.executor import Answer, Executor, Sighted, Work
from golek_worker.interest import Interest
from golek_worker.job import deadline_error
from golek_worker.remembering import Sessions
from golek_worker.room import Manner, Room
from golek_worker.sessions.conversation import Conversation
from golek_worker.vision.fetching import Fetcher

log = structlog.get_logger("serving")

SUSPECT_DELIVERIES = 8
"""So many deliveries make a job run alone even without a strike."""
TRIAL_S = 1.0
"""A trial ends with the first text, and after this time without one: prefill may take long, vectors are no text."""
STOP_PATIENCE_S = 1.0
"""A hung engine says nothing; so long it is waited for when a job is stopped."""
GONE_AFTER_S = 0.5
"""An inbox without interest for this long: the caller is gone, not just reconnecting, which takes clients 0.1 to 0.3 s.
Should one need longer, its stream goes on as another job."""

LARGE = 256 * 1024
"""The prompt of a request of more bytes is made in a thread: a template takes 2.5 s for 260,000 short messages (10 MB).
"""
BURST = 64
"""After so many pieces of text in a row, others have their turn: the connection writes, other jobs go on."""

Outcome = Answer | InferenceServiceError
Found = TypeVar("Found")


class Requeue(Exception):  # noqa: N818 - not an error: the job goes back to the queue
    """The job must run again."""


class StrikeBook(Protocol):
    """Strikes of jobs, shared by all replicas (bus/strikes.py)."""

    async def of(self, job_id: str) -> Strikes: ...
    async def add(self, job_id: str, *, alone: bool) -> Strikes: ...
    async def clear(self, job_id: str) -> None: ...


class Tools(Struct, frozen=True):
    """What attempts share."""

    client: BusClient
    executor: Executor
    caching: Caching
    """Begins and ends the runs of jobs."""
    strikes: StrikeBook
    room: Room
    objects: Objects
    fetcher: Fetcher
    seers: Seers
    tokens: TokenLogs
    sessions: Sessions | None
    """None for a kind that has no conversations."""
    bury: Callable[[Lease, Strikes], Awaitable[None]]
    """Keeps a copy of a poison job."""
    gather_s: float
    poison_strikes: int
    probe_inbox: str
    """Below it the server says that a stream's inbox has no interest."""
    worker_id: str


class Attempt:
    """One job being served by this worker."""

    def __init__(self, lease: Lease, tools: Tools) -> None:
        self._tools = tools
        self.lease = lease
        self.job = lease.job
        self.work: Work | None = None
        """What is asked; None for a request that cannot be read, or was not."""
        self.strikes = Strikes()
        self.first_text_at: float | None = None
        self.ended_at = lease.leased_at
        """When the last token was written, or the attempt ended without one."""
        self.tokens_in = 0
        self.tokens_out = 0
        self.saved = 0
        """Of these: those that were kept, and not computed for this job."""
        self.has_slot = True
        """Whether it holds one of the worker's slots; a job that only reads another one's run holds none."""
        self.cost_usd: float | None = None
        """What clouds took; None where nothing had a price."""
        self.pieces = 0
        """Of text that were written so far, about one for each token; 0 again once `tokens_out` was counted."""
        self.bounced = False
        """The server said that nobody listens at the inbox, since this was last set to False."""
        self._manner: Manner = "together"
        self._acquitted = False
        self._run: Run | None = None
        self._stream: ReplyStream | None = None
        self._stop_cause: Exception | None = None
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._interest = Interest(self._say_started, self._nobody_listens)
        self._gone_since = 0.0
        self._bounces = 0
        self._probes_before = 0

    @property
    def computed(self) -> int:
        """Tokens that count against the limits of its key."""
        return max(0, self.tokens_in + self.tokens_out - self.saved)

    @property
    def probe(self) -> str:
        """The reply subject of what probes this job's inbox."""
        return f"{self._tools.probe_inbox}.{self.job.job_id}"

    async def outcome(self, *, cancelled: bool) -> Outcome:
        """The answer, or the error the caller gets. Raises Requeue, and what the bus raises: then the next attempt may
        fare better, but not at once.
        """
        try:
            return await self._way(cancelled=cancelled)
        except BusUnavailableError:
            raise  # ours, not the caller's
        except InferenceServiceError as error:
            await self._tools.seers.advise(error)
            # With its frames it would be a ring around this object, and wait for the collector, which comes seldom.
            return error.with_traceback(None)
        finally:
            self.ended_at = time.monotonic()
            self._interest.end()

    def stop(self, cause: Exception) -> None:
        """End early with `cause` as outcome, Requeue included; the first cause counts."""
        if self._stop_cause is not None:
            return
        self._stop_cause = cause
        self._stopped.set_result(None)
        if self._run is not None:
            # A hung engine says nothing. Going on without it is safe: it reads the cancel before any later command.
            self._tools.caching.cancel(self.job.job_id)
            silent = Stopped(self.job.job_id, 0, 0)
            asyncio.get_running_loop().call_later(STOP_PATIENCE_S, self._run.put, silent)

    def inbox_bounced(self, patience_s: float = GONE_AFTER_S) -> None:
        """A probe found no interest. A caller that reconnects is deaf for a moment, so one bounce is no proof."""
        self.bounced = True
        self._interest.bounced(patience_s)
        if self._stream is None:
            return
        self._stream.probe_every = 1
        probes, now = self._stream.probes, time.monotonic()
        if self._bounces == 0 or probes - self._probes_before > self._bounces + 2:  # some probe found interest
            self._gone_since, self._bounces, self._probes_before = now, 0, probes - 1
        self._bounces += 1
        if now - self._gone_since >= patience_s:
            self._nobody_listens()

    def _nobody_listens(self) -> None:
        self.stop(JobCancelledError("The caller is gone", caller_gone=True))

    async def _say_started(self) -> None:
        await send_started(self._tools.client, self.job, self._tools.worker_id, self.probe)

    async def _way(self, *, cancelled: bool) -> Answer:
        if cancelled:
            raise JobCancelledError
        if time.monotonic() >= self.lease.deadline:
            raise deadline_error(self.job)
        if self.job.parent and self.job.reply:
            await self._say_started()
            self._interest.begin()
        if self.job.body:
            self.lease.payload = await self._unless_stopped(self._tools.objects.admitted(self.job.body))
        self.work = self._tools.executor.read(self.job, self.lease.payload)
        if self.job.resumable:
            await self._tools.tokens.open(self.job, self.lease.payload, self.lease.stored_at)
        if self.work.conversation is not None:
            await self._recall(self.work, self.work.conversation)
        else:
            await self._look(self.work)
            if len(self.lease.payload) > LARGE:
                await asyncio.to_thread(self.work.prepare)
        if self.lease.num_delivered > 1:
            await self._judge()
        await self._enter()
        try:
            end = await self._execute(self.work)
            if self.work.conversation is not None:
                end = await self._shortened(self.work, self.work.conversation, end)
            return await self._ended(self.work, end)
        finally:
            self._tools.room.leave(self)

    async def _unless_stopped(self, wanted: Coroutine[Any, Any, Found]) -> Found:
        """What is fetched before the run; while that takes its time the job may be stopped."""
        fetching = asyncio.ensure_future(wanted)
        try:
            await asyncio.wait((fetching, self._stopped), return_when=asyncio.FIRST_COMPLETED)
            if self._stop_cause is not None:
                raise self._stop_cause
            return await fetching
        finally:
            fetching.cancel()

    async def _recall(self, work: Work, conversation: Conversation) -> None:
        """What was said before. Raises TemporaryResourceError when that cannot be read."""
        assert self._tools.sessions is not None
        await self._unless_stopped(self._tools.sessions.recall(self.job, conversation))
        await self._prepare(work, conversation)

    async def _look(self, work: Work) -> None:
        """Have the images here that the model is to see. Raises as `Executor.check` and `Fetcher.fetch` do."""
        if isinstance(work, Sighted) and (wanted := work.wanted):
            self._tools.executor.check(work.request)  # whoever took the request may not have known the model
            await self._unless_stopped(self._tools.fetcher.fetch(wanted, work.seen))

    async def _prepare(self, work: Work, conversation: Conversation) -> None:
        await self._look(work)
        if conversation.size > LARGE:
            await asyncio.to_thread(work.prepare)
        else:
            work.prepare()

    async def _shortened(self, work: Work, conversation: Conversation, end: RunEnd) -> RunEnd:
        """`end`, or that of a run without the oldest turns, where the engine says that all is too long for it.

        Only the engine can count; it refuses before it has computed anything.
        """
        while isinstance(end, Refused) and end.code == ContextBudgetExceededError.code:
            if not conversation.shorten(end.details["current_tokens"], end.details["budget"]):
                break
            await self._prepare(work, conversation)
            if self._stop_cause is not None:
                raise self._stop_cause
            end = await self._execute(work)
        return end

    async def _judge(self) -> None:
        """A job that came back: is it a suspect, or poison?"""
        self.strikes = await self._tools.strikes.of(self.job.job_id)
        await self._bury_poison()
        if self.strikes.crashes > 1 or self.lease.num_delivered >= SUSPECT_DELIVERIES:
            self._manner = "alone"
        elif self.strikes.crashes == 1:
            self._manner = "trial"

    async def _bury_poison(self) -> None:
        """Proven guilty: a copy is kept, and the caller told. Raises PoisonJobError."""
        job_id, crashes = self.job.job_id, self.strikes.crashes
        if self.strikes.alone >= self._tools.poison_strikes:
            await self._tools.bury(self.lease, self.strikes)
            raise PoisonJobError(
                f"The engine died {crashes} times under this request",
                crashes=crashes,
                job_id=job_id,
                hint=f"golek dlq show {job_id}",
            )

    async def _enter(self) -> None:
        """Wait for a place in the engine; a suspect waits for its trial, or until it is alone."""
        room = self._tools.room
        turn = room.enter(self, self._manner)
        if turn is not None:
            await asyncio.wait((turn, self._stopped), return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                turn.cancel()
                assert self._stop_cause is not None
                raise self._stop_cause
        if self._stop_cause is not None:
            room.leave(self)
            raise self._stop_cause

    async def _execute(self, work: Work) -> RunEnd:
        """Start the run and pass its text on until it ends."""
        job, tools = self.job, self._tools
        on_trial = self._manner == "trial"
        self._run = run = tools.caching.start(job, work, watched=on_trial, until=self.lease.deadline)
        if on_trial:
            asyncio.get_running_loop().call_later(TRIAL_S, self._acquit)
        if job.stream and job.reply:
            has_others = (
                (work.reply_to and not job.parent) or job.input_sha256 or job.resumable
            )  # who may wait for it, too
            self._stream = ReplyStream(
                tools.client, job, self.lease.num_delivered, tools.gather_s, "" if has_others else self.probe,
                tools.worker_id,
            )  # fmt: skip
        try:
            return await self._pass_on(work, run, self._stream)
        except BaseException:
            tools.caching.cancel(job.job_id)  # nobody hears this run any more
            raise

    async def _pass_on(self, work: Work, run: Run, stream: ReplyStream | None) -> RunEnd:
        """Send text as it comes; how the run ended."""
        while True:
            event = await run.next(stream.flush_at if stream is not None else None)
            if isinstance(event, str | Delta):
                await self._write(event, work, stream)
                continue
            if isinstance(event, StepEvent):
                if stream is not None:
                    await stream.tell(event)
                continue
            if stream is not None:
                await stream.flush()
            if event is not None:
                return event

    async def _write(self, piece: Piece, work: Work, stream: ReplyStream | None) -> None:
        self.pieces += 1
        if self.pieces % BURST == 0:
            await asyncio.sleep(0)
        if self.first_text_at is None:
            self.first_text_at = time.monotonic()
            self._acquit()
            if stream is not None and work.cache is not None:
                stream.mark(h.CACHE, work.cache)
        if stream is not None:
            await stream.write(piece)

    def _acquit(self) -> None:
        """The engine lives, and this job has run in it for a while."""
        self._acquitted = True
        if self._manner == "trial":
            self._tools.room.acquit(self)

    async def _strike(self) -> None:
        """The engine died: whose fault may it be? Everybody's, unless somebody is accused: then only of those who had
        not run for a while either.
        """
        accused = self._tools.room.accused
        if accused is not None and accused is not self and self._acquitted:
            return
        self.strikes = await self._tools.strikes.add(self.job.job_id, alone=accused is self)
        log.warning("job.struck", job_id=self.job.job_id, crashes=self.strikes.crashes, alone=self.strikes.alone)

    async def _ended(self, work: Work, end: RunEnd) -> Answer:
        """How the run ended: the answer, or the error raised."""
        match end:
            case Finished() | Embedded() | Ranked() | Classified() | Replied():
                answer = work.answer(end, round((time.monotonic() - self.lease.leased_at) * 1000))
                self.tokens_in, self.tokens_out, self.saved = answer.tokens_in, answer.tokens_out, answer.saved
                self.cost_usd = answer.cost_usd
                limit = largest_final(self._tools.client.max_payload, self.job)
                if len(answer.body) > limit:
                    raise work.too_large(len(answer.body), limit)
                return answer
            case Stopped():
                self.tokens_in, self.tokens_out, self.cost_usd = end.tokens_in, end.tokens_out, end.cost_usd
                raise self._stop_cause or InternalError("The engine stopped the request without being asked")
            case Refused():
                self.tokens_in, self.tokens_out = end.tokens_in, end.tokens_out
                self.cost_usd = end.details.get("cost_usd")
                raise from_body(end.code, end.message, end.details)
            case EngineDied():
                if self._stop_cause is not None:
                    raise self._stop_cause
                if end.ran:
                    await self._strike()
                    await self._bury_poison()  # here, where the engine's last words are
                raise Requeue
