"""What happens to one job, from lease to ack?

Read `Serving._serve` top to bottom: lease > may it still run > run it > answer > record > ack. Every lease ends in
exactly one final message, or goes back to the queue.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import structlog
from msgspec import Struct

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import flush
from golek_wire import codec
from golek_wire.errors import (
    BusUnavailableError,
    DeadlineExceededError,
    InferenceServiceError,
    InternalError,
    JobCancelledError,
    NonRetriableError,
    PoisonJobError,
    from_body,
)
from golek_wire.replies import InferenceReply
from golek_wire.requests import InferenceRequest
from golek_worker.bus.lease import Lease, LeaseKeeper
from golek_worker.bus.replies import ReplyStream, send_error, send_final
from golek_worker.bus.strikes import Strikes
from golek_worker.engine.base import Finished, Refused, Stopped
from golek_worker.engine.host import EngineDied, RunEnd
from golek_worker.executor import Execution, Executor
from golek_worker.room import Room
from golek_worker.store.requests import RequestRow

log = structlog.get_logger("serving")

SUSPECT_DELIVERIES = 8
"""So many deliveries make a job a suspect even without a strike."""
CANCEL_MEMORY_S = 600.0
STOP_PATIENCE_S = 1.0
CAREFUL_S = 5.0
"""For so long after an outage a final message is sent again while nobody listens at the caller's inbox."""
INSIST_S = 0.1
GONE_AFTER_S = 3.0
"""An inbox without interest for this long: the caller is gone, not just reconnecting."""


class StrikeBook(Protocol):
    """Strikes of jobs, shared by all replicas (bus/strikes.py)."""

    async def of(self, job_id: str) -> Strikes: ...
    async def add(self, job_id: str, *, alone: bool) -> Strikes: ...
    async def clear(self, job_id: str) -> None: ...


class ServingOptions(Struct, frozen=True):
    """What serving needs to know of the deployment."""

    model: str
    worker_id: str
    gather_s: float
    poison_strikes: int


class _Requeue(Exception):  # noqa: N818 - not an error: the job goes back to the queue
    """The job must run again."""


class Active:
    """One job being served by this worker."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.job = lease.job
        self.request: InferenceRequest | None = None
        self.execution: Execution | None = None
        self.alone = False
        self.first_text_at: float | None = None
        self.tokens_in = 0
        self.tokens_out = 0
        self.text: str | None = None
        self.finish_reason: str | None = None
        self.stop_cause: Exception | None = None
        self.stopped = asyncio.get_running_loop().create_future()
        self.gone_since: float | None = None
        self.gone_seen = 0.0
        self.bounced = False


class Serving:
    """Serves leases, one task each."""

    def __init__(
        self,
        client: BusClient,
        executor: Executor,
        keeper: LeaseKeeper,
        strikes: StrikeBook,
        options: ServingOptions,
        *,
        record: Callable[[RequestRow], None],
        bury: Callable[[Lease, Strikes], Awaitable[None]],
        released: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._client = client
        self._executor = executor
        self._keeper = keeper
        self._strikes = strikes
        self._options = options
        self._record = record
        self._bury = bury
        self._released = released
        self._room = Room()
        self._active: dict[str, Active] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancelled: OrderedDict[str, float] = OrderedDict()
        self._probe_inbox = client.new_inbox()
        self._careful_until = 0.0
        self.answered = 0
        self.errors = 0
        self.last_error = ""
        self.busy_ns = 0
        self.last_activity = time.time()

    @property
    def active(self) -> int:
        return len(self._active)

    async def start(self) -> None:
        """Listen for probes that come back: nobody is interested in a stream's inbox any more."""
        await self._client.subscribe_direct(f"{self._probe_inbox}.*", self._on_probe_bounced)

    def reconnected(self) -> None:
        """The connection stands again; callers may still be on their way back."""
        self._careful_until = time.monotonic() + CAREFUL_S

    def take(self, lease: Lease) -> None:
        """Serve `lease` in a task of its own."""
        running = self._active.get(lease.job.job_id)
        if running is not None:
            # This process slept past the lease's end (a frozen host); nobody else took the job meanwhile.
            running.lease.adopt(lease)
            work = self._released()
        else:
            work = self._serve(lease)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cancel(self, job_id: str) -> None:
        """Stop the job if it runs here, and never start it later."""
        now = time.monotonic()
        self._cancelled[job_id] = now
        while self._cancelled and now - next(iter(self._cancelled.values())) > CANCEL_MEMORY_S:
            self._cancelled.popitem(last=False)
        if (active := self._active.get(job_id)) is not None:
            self._stop(active, JobCancelledError())

    async def drain(self, patience_s: float) -> None:
        """Finish what runs; after `patience_s` give the rest back to the queue."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)
        for active in list(self._active.values()):
            self._stop(active, _Requeue())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    # -- one job -----------------------------------------------------------------------------------------------

    async def _serve(self, lease: Lease) -> None:
        """The story of one job."""
        active = Active(lease)
        self._active[lease.job.job_id] = active
        self._keeper.hold(lease, lambda: self._stop(active, _deadline_error(lease)))
        error: InferenceServiceError | None = None
        try:
            try:
                reply = await self._run(active)
                await self._answer(active, reply)
            except InferenceServiceError as raised:
                error = raised
                await self._refuse(active, raised)
            self._write_row(active, error)
            await (lease.ack() if error is None else lease.term())
        except _Requeue:
            await self._give_back(lease)
        except Exception:
            # Nothing is known of the job's state: it stays in the queue and runs again after ACK_WAIT_S.
            log.exception("job.failed", job_id=lease.job.job_id, req_id=lease.job.req_id)
        finally:
            self._keeper.drop(lease)
            self._active.pop(lease.job.job_id, None)
            self.last_activity = time.time()
            self.busy_ns += int((time.monotonic() - lease.leased_at) * 1e9)
            await self._released()

    async def _give_back(self, lease: Lease) -> None:
        """Let the job run again at once; when the bus does not hear that, it does so after ACK_WAIT_S."""
        log.info("job.requeued", job_id=lease.job.job_id, attempt=lease.num_delivered)
        with contextlib.suppress(BusUnavailableError):
            await lease.nak()

    async def _run(self, active: Active) -> InferenceReply:
        """Run the job to its final answer. Raises its error, or _Requeue."""
        job = active.job
        if job.job_id in self._cancelled:
            raise JobCancelledError
        if time.monotonic() >= active.lease.deadline:
            raise _deadline_error(active.lease)
        active.request = codec.decode_request(active.lease.payload)
        if active.lease.num_delivered > 1:
            await self._judge(active)
        await self._enter(active)
        try:
            return await self._execute(active)
        finally:
            self._room.leave()

    async def _judge(self, active: Active) -> None:
        """A job that came back: is it a suspect, or poison?"""
        strikes = await self._strikes.of(active.job.job_id)
        if strikes.alone >= self._options.poison_strikes:
            await self._bury(active.lease, strikes)
            await self._strikes.clear(active.job.job_id)
            raise PoisonJobError(f"The engine died {strikes.crashes} times under this request", crashes=strikes.crashes)
        active.alone = strikes.crashes > 0 or active.lease.num_delivered >= SUSPECT_DELIVERIES

    async def _enter(self, active: Active) -> None:
        """Wait for a place in the engine; a suspect waits until it is alone."""
        turn = self._room.enter(alone=active.alone)
        if turn is not None:
            await asyncio.wait((turn, active.stopped), return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                turn.cancel()
                assert active.stop_cause is not None
                raise active.stop_cause
        if active.stop_cause is not None:
            self._room.leave()
            raise active.stop_cause

    async def _execute(self, active: Active) -> InferenceReply:
        """Start the run and pass its text on until it ends."""
        assert active.request is not None
        job = active.job
        active.execution = execution = self._executor.start(job, active.request)
        stream = None
        if job.stream and job.reply:
            probe = "" if active.request.reply_to else f"{self._probe_inbox}.{job.job_id}"
            stream = ReplyStream(self._client, job, active.lease.num_delivered, self._options.gather_s, probe)
        try:
            end = await self._pass_on(active, execution, stream)
        except BusUnavailableError:
            self._executor.cancel(job.job_id)  # nobody hears it; the next attempt will be heard
            raise _Requeue from None
        return await self._ended(active, end)

    async def _pass_on(self, active: Active, execution: Execution, stream: ReplyStream | None) -> RunEnd:
        """Send text as it comes; how the run ended."""
        while True:
            event = await execution.run.next(stream.flush_at if stream is not None else None)
            if isinstance(event, str):
                if active.first_text_at is None:
                    active.first_text_at = time.monotonic()
                if stream is not None:
                    await stream.write(event)
                continue
            if stream is not None:
                await stream.flush()
            if event is not None:
                return event

    async def _ended(self, active: Active, event: RunEnd) -> InferenceReply:
        """How the run ended: the reply, or the error raised."""
        match event:
            case Finished():
                active.tokens_in, active.tokens_out = event.tokens_in, event.tokens_out
                active.text, active.finish_reason = event.text, event.finish_reason
                ms = round((time.monotonic() - active.lease.leased_at) * 1000)
                return InferenceReply(
                    active.job.req_id, event.text, event.tokens_in, event.tokens_out, event.finish_reason, ms, ms,
                    self._options.model, active.job.seed,
                )  # fmt: skip
            case Stopped():
                active.tokens_in, active.tokens_out = event.tokens_in, event.tokens_out
                raise active.stop_cause or InternalError("The engine stopped the request without being asked")
            case Refused():
                raise from_body(event.code, event.message, event.details)
            case EngineDied():
                if active.stop_cause is not None:
                    raise active.stop_cause
                if event.ran:
                    strikes = await self._strikes.add(active.job.job_id, alone=active.alone)
                    log.warning("job.struck", job_id=active.job.job_id, crashes=strikes.crashes, alone=strikes.alone)
                raise _Requeue

    async def _answer(self, active: Active, reply: InferenceReply) -> None:
        """The answer, unless another replica may have sent one."""
        assert active.request is not None
        also_to = active.request.reply_to
        if await self._end(
            active, lambda probe: send_final(self._client, active.job, reply, also_to=also_to, probe=probe)
        ):
            self.answered += 1
        if active.lease.num_delivered > 1:
            await self._strikes.clear(active.job.job_id)

    async def _refuse(self, active: Active, error: InferenceServiceError) -> None:
        """The error message, unless another replica may have sent a final one."""
        job, client = active.job, self._client
        also_to = active.request.reply_to if active.request is not None else None
        await self._end(
            active,
            lambda probe: send_error(
                client, job.reply, job.req_id, error, stream=job.stream, also_to=also_to, probe=probe
            ),
        )
        self.errors += 1
        self.last_error = f"{error.code}: {error.message}"

    async def _end(self, active: Active, send: Callable[[str], Awaitable[None]]) -> bool:
        """Send the one final message; False when another replica may have done so."""
        while not self._client.is_connected and time.monotonic() < active.lease.deadline:
            await asyncio.sleep(INSIST_S)
        if not await active.lease.is_mine():
            return False
        if time.monotonic() >= self._careful_until:
            await send("")
            return True
        # After an outage the caller may come back later than we did: send until somebody listens.
        while True:
            active.bounced = False
            await send(f"{self._probe_inbox}.{active.job.job_id}")
            await flush(self._client)
            if not active.bounced or time.monotonic() >= self._careful_until:
                return True
            await asyncio.sleep(INSIST_S)

    def _write_row(self, active: Active, error: InferenceServiceError | None) -> None:
        lease, job, request = active.lease, active.job, active.request
        ttft = active.first_text_at
        self._record(
            RequestRow(
                ts=time.time(),
                req_id=job.req_id,
                job_id=job.job_id,
                principal=job.principal,
                status="ok" if error is None else error.code,
                raw_input=_raw_input(request, lease.payload),
                formatted_input=active.execution.prompt if active.execution is not None else None,
                output=active.text,
                tokens_in=active.tokens_in,
                tokens_out=active.tokens_out,
                finish_reason=active.finish_reason,
                dur_ms=round((time.monotonic() - lease.leased_at) * 1000, 3),
                ttft_ms=None if ttft is None else round((ttft - lease.leased_at) * 1000, 3),
                queue_ms=lease.queue_ms,
                attempt=lease.num_delivered,
                stream=job.stream,
                seed=job.seed,
                error=None if error is None else error.message,
            )
        )

    # -- stopping early ----------------------------------------------------------------------------------------

    def _stop(self, active: Active, cause: Exception) -> None:
        """End a job early; the first cause counts."""
        if active.stop_cause is None:
            active.stop_cause = cause
            active.stopped.set_result(None)
            self._executor.cancel(active.job.job_id)
            if active.execution is not None:
                # A hung engine says nothing. Going on without it is safe: it reads the cancel before any later command.
                silent = Stopped(active.job.job_id, 0, 0)
                asyncio.get_running_loop().call_later(STOP_PATIENCE_S, active.execution.run.put, silent)

    async def _on_probe_bounced(self, message: Delivery) -> None:
        """A chunk found no interest. A caller that reconnects is deaf for a moment, so one bounce is no proof."""
        active = self._active.get(message.subject.rpartition(".")[2])
        if active is None:
            return
        active.bounced = True
        now = time.monotonic()
        if active.gone_since is None or now - active.gone_seen > GONE_AFTER_S:
            active.gone_since = now
        active.gone_seen = now
        if now - active.gone_since >= GONE_AFTER_S:
            self._stop(active, JobCancelledError("The caller is gone"))


def _deadline_error(lease: Lease) -> NonRetriableError:
    budget = lease.job.budget_ms
    return DeadlineExceededError(f"No answer within {budget} ms", deadline_ms=budget)


def _raw_input(request: InferenceRequest | None, payload: bytes) -> str:
    """What the caller wrote: the input, or the conversation as JSON."""
    if request is None:
        return payload.decode(errors="replace")
    return request.input if request.input is not None else codec.encode(request.messages).decode()
