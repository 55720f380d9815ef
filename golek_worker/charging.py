"""What is a request of a key with limits charged, and when?

An ingress reserves what it may cost before it is queued, a worker that ends it settles what it used, and who gives it
up unqueued releases it. The arithmetic is pure (`admission/quota`), `bus/quota` writes the ledger; here both meet.
Without JetStream's word nothing is let through.
"""

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from golek_client.bus_client import BusClient
from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.errors import BusUnavailableError
from golek_wire.replies import Allowances
from golek_worker.admission import quota
from golek_worker.admission.quota import Ledger, Refused, Reserved
from golek_worker.bus.jetstream import BUS_ERRORS, stored_message
from golek_worker.bus.quota import Form, Records, ensure_bucket
from golek_worker.job import Charge, Job

log = structlog.get_logger("charging")

RESERVE_PATIENCE_S: Final = 10.0
"""JetStream may be silent for so long, as when a job is stored."""
SETTLE_PATIENCE_S: Final = 120.0
"""So long a settlement is tried; a hold without one ends by itself."""
SETTLE_LIMIT: Final = 10_000
"""Settlements that may wait."""
ANSWERED_S: Final = 5.0
"""A job that left the queue is settled within this time, or its worker died."""
CLOSE_S: Final = 2.0


class Charging:
    """The ledger, as one worker uses it."""

    def __init__(self, client: BusClient, token: str, now: Callable[[], float]) -> None:
        """`token` is the model's; `now` is the broker's clock."""
        self._client = client
        self._token = token
        self._now = now
        self.records: Records[Ledger] = Records(
            client,
            Form(
                Ledger,
                lambda key: _previous(key, now()),
                lambda before: Ledger() if before is None else before.seen(now()).carried(),
                lambda key: quota.lasts_s(_split(key)[1], now()),
            ),
        )
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, client: BusClient, token: str, now: Callable[[], float]) -> "Charging":
        """Create or find the bucket. Raises as `ensure_stream` does."""
        await ensure_bucket(client)
        return cls(client, token, now)

    def of(self, token: str) -> "Charging":
        """The same ledger, for jobs that are stored for another model."""
        other = copy.copy(self)
        other._token = token
        return other

    async def reserve(self, job: Job, charge: Charge) -> tuple[str, Allowances, bool]:
        """Reserve what the job may cost: the window, what is left, and whether this is no copy.

        Raises RateLimitedError, OverLimitError, and BusUnavailableError while the ledger cannot be written.
        """
        key, now = charge.key, self._now()
        window = quota.window(key.budget, now)
        until = now + job.budget_ms / 1000 + quota.GRACE_S
        mine = False

        def change(ledger: Ledger) -> tuple[Ledger, Reserved | Refused]:
            nonlocal mine
            ledger, outcome = quota.reserve(ledger, key, self._hold(job), charge.tokens, until, self._now())
            if isinstance(outcome, Reserved):
                # A write without an answer may have been done: then the hold that is found there is this one's.
                mine = mine or outcome.is_new
            return ledger, outcome

        patience_s = min(RESERVE_PATIENCE_S, job.budget_ms / 1000)
        try:
            async with asyncio.timeout(patience_s):  # one question to a silent bus may take longer
                outcome = await self.records.change(f"{key.key_id}.{window}", change, patience_s)
        except TimeoutError:
            raise BusUnavailableError("the account of this key could not be written in time", may_run=False) from None
        if isinstance(outcome, Refused):
            raise outcome.error(key.key_id)
        return window, outcome.allowances, mine

    def settle(self, job: Job, tokens: int) -> None:
        """Count what the job used, soon; a job without a hold costs nothing."""
        self._end(job, lambda ledger: (quota.settle(ledger, self._hold(job), tokens, self._now()), None))

    def release(self, job: Job) -> None:
        """Give back what was reserved for a job that was not stored."""
        self._end(job, lambda ledger: (quota.release(ledger, self._hold(job), self._now()), None))

    def repeated(self, job: Job, seq: int) -> None:
        """A hold was made for a copy of the job that is stored as `seq`. While that waits or runs, the hold is its own;
        if it was answered before the copy came, nobody else will end it.
        """
        if job.hold:
            self._own(self._look_after(job, seq))

    async def close(self) -> None:
        """Write what waits, as far as CLOSE_S allows."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        await self.records.close(CLOSE_S)

    def _hold(self, job: Job) -> str:
        """What the job's hold is called: a caller may use one inbox, which makes the job's id, for several models.

        Whoever ends a job that a router took names the model that was asked for, as who took it did.
        """
        token = subjects.model_token(job.asked_model) if job.asked else self._token
        return f"{token}/{job.job_id}"

    async def _look_after(self, job: Job, seq: int) -> None:
        try:
            stored = await stored_message(self._client, subjects.job_stream(self._token), {"seq": seq})
        except BUS_ERRORS:
            return  # it ends by itself
        if stored is not None and stored.headers.get(h.JOB) == job.job_id:
            return
        until = self._now() + ANSWERED_S
        self._end(job, lambda ledger: (quota.shorten(ledger, self._hold(job), until, self._now()), None))

    def _end(self, job: Job, change: Callable[[Ledger], tuple[Ledger, None]]) -> None:
        """Change the record of the hold's window, and that of the present one, which took over what was in flight."""
        if not job.hold:
            return
        for window in {job.hold, quota.following(job.hold, self._now())}:
            if len(self._tasks) >= SETTLE_LIMIT:
                log.error("quota.unsettled", job_id=job.job_id, problem=f"{SETTLE_LIMIT} settlements wait already")
                return
            self._own(self._change(f"{job.principal}.{window}", job.job_id, change))

    async def _change(self, key: str, job_id: str, change: Callable[[Ledger], tuple[Ledger, None]]) -> None:
        try:
            await self.records.change(key, change, SETTLE_PATIENCE_S)
        except BusUnavailableError as error:
            log.error("quota.unsettled", job_id=job_id, problem=error.message)  # noqa: TRY400 - a sentence

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _split(key: str) -> tuple[str, str]:
    principal, _, window = key.rpartition(".")
    return principal, window


def _previous(key: str, now: float) -> str:
    """The record of the window before the present one; empty for an older record, and where there is none."""
    principal, window = _split(key)
    before = quota.previous(window, now) if quota.following(window, now) == window else ""
    return f"{principal}.{before}" if before else ""
