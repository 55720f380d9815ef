"""What is a request of a key with limits charged, and when?

An ingress reserves what it may cost before it is queued, a worker that ends it settles what it used, and who gives it
up unqueued releases it. The arithmetic is pure (`admission/quota`), `bus/quota` writes the ledger; here both meet.
Without JetStream's word nothing is let through.
"""

import asyncio
import copy
import math
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.errors import BusUnavailableError, InferenceServiceError
from golek_wire.keys import Budget, Key
from golek_wire.replies import Allowances
from golek_worker.admission import quota
from golek_worker.admission.quota import Ledger, Refused, Reserved
from golek_worker.bus.jetstream import BUS_ERRORS, stored_message
from golek_worker.bus.quota import Form, Records, ensure_bucket
from golek_worker.job import Charge, Job, money_budget

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
FLEET: Final = "fleet.router"
"""Whose account ROUTER_BUDGET is: a name with a dot, which no key has."""


class Due(Struct, frozen=True):
    """What is held for one call of a cloud."""

    call: str
    accounts: tuple[str, ...] = ()
    """The records that hold it: `<principal>.<window>`."""


class Charging:
    """The ledger, as one worker uses it."""

    def __init__(
        self, client: BusClient, token: str, now: Callable[[], float], fleet_budget: Budget | None = None
    ) -> None:
        """`token` is the model's; `now` is the broker's clock. `fleet_budget`: what all clouds together may take."""
        self._client = client
        self._token = token
        self._now = now
        self._fleet_budget = fleet_budget
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
    async def open(
        cls, client: BusClient, token: str, now: Callable[[], float], fleet_budget: Budget | None = None
    ) -> "Charging":
        """Create or find the bucket. Raises as `ensure_stream` does."""
        await ensure_bucket(client)
        return cls(client, token, now, fleet_budget)

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

        outcome = await self._written(f"{key.key_id}.{window}", change, job)
        if isinstance(outcome, Refused):
            raise outcome.error(key.key_id)
        return window, outcome.allowances, mine

    def is_limited(self, job: Job) -> bool:
        """Whether anybody counts what clouds take for this job."""
        return bool(job.money) or self._fleet_budget is not None

    async def reserve_money(self, job: Job, micros: int) -> Due:
        """Hold what a call of a cloud may take for the job: of its key's budget, and of the fleet's.

        Raises as `reserve` does: then nothing is held, and the cloud must not be called.
        """
        call = f"{self._token}/{job.job_id}/{secrets.token_hex(4)}"
        until = self._now() + job.budget_ms / 1000 + quota.GRACE_S
        due = Due(call)
        for principal, budget, who in self._purses(job):
            account = f"{principal}.{quota.window(budget, self._now())}"
            try:
                outcome = await self._billed(job, account, Key(principal, budget=budget), call, micros, until)
            except BaseException:  # a write without an answer may have been done
                self.settle_money(Due(call, (*due.accounts, account)), 0)
                raise
            if isinstance(outcome, Refused):
                self.settle_money(due, 0)
                raise outcome.error(principal, who)
            due = Due(call, (*due.accounts, account))
        return due

    async def money_refusal(self, job: Job, micros: int) -> InferenceServiceError | None:
        """What `reserve_money` would raise just now; nothing is held. Raises BusUnavailableError."""
        for principal, budget, who in self._purses(job):
            account, key = f"{principal}.{quota.window(budget, self._now())}", Key(principal, budget=budget)

            def look(ledger: Ledger, key: Key = key) -> tuple[Ledger, Reserved | Refused]:
                return ledger, quota.bill(ledger, key, "", micros, math.inf, self._now())[1]

            outcome = await self._written(account, look, job)
            if isinstance(outcome, Refused):
                return outcome.error(principal, who)
        return None

    def settle_money(self, due: Due, micros: int) -> None:
        """Count what the call took, soon; 0 gives back what was held."""
        for account in due.accounts:
            principal, window = _split(account)
            self._end_in(
                principal, window, due.call, lambda ledger: (quota.pay(ledger, due.call, micros, self._now()), None)
            )

    def settle(self, job: Job, tokens: int, micros: int = 0, *, answered: bool = True) -> None:
        """Count what the job used, soon; a job without a hold costs nothing. `micros` are those that clouds took for a
        key that has no budget in money: for one that has, `settle_money` counted them. What was not `answered`, by
        our fault or a provider's, costs no request of a budget.
        """
        micros = 0 if job.money else micros
        self._end(
            job,
            lambda ledger: (
                quota.settle(ledger, self._hold(job), tokens, self._now(), micros, answered=answered), None,
            ),
        )  # fmt: skip

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

    def _purses(self, job: Job) -> list[tuple[str, Budget, str]]:
        """Who pays for the job's calls of clouds: the principal, its budget, and what it is called in an error."""
        own = money_budget(job)
        found = [(job.principal, own, "")] if own is not None else []
        if self._fleet_budget is not None:
            found.append((FLEET, self._fleet_budget, "This fleet (ROUTER_BUDGET)"))
        return found

    async def _billed(
        self, job: Job, account: str, key: Key, call: str, micros: int, until: float
    ) -> Reserved | Refused:
        def change(ledger: Ledger) -> tuple[Ledger, Reserved | Refused]:
            return quota.bill(ledger, key, call, micros, until, self._now())

        return await self._written(account, change, job)

    async def _written(
        self, account: str, change: Callable[[Ledger], tuple[Ledger, Reserved | Refused]], job: Job
    ) -> Reserved | Refused:
        """What a change came to, once it is written. Raises BusUnavailableError when that takes too long."""
        patience_s = min(RESERVE_PATIENCE_S, job.budget_ms / 1000)
        try:
            async with asyncio.timeout(patience_s):  # one question to a silent bus may take longer
                return await self.records.change(account, change, patience_s)
        except TimeoutError:
            raise BusUnavailableError("the account of this key could not be written in time", may_run=False) from None

    def _hold(self, job: Job) -> str:
        """What the job's hold is called: a caller may use one inbox, which makes the job's id, for several models.

        Whoever ends a job that a router took names the model that was asked for, as who took it did.
        """
        token = subjects.model_token(job.asked_model) if job.asked_model else self._token
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
        if job.hold:
            self._end_in(job.principal, job.hold, job.job_id, change)

    def _end_in(self, principal: str, window: str, name: str, change: Callable[[Ledger], tuple[Ledger, None]]) -> None:
        """Change the record of the hold's window, and that of the present one, which took over what was in flight."""
        for each in {window, quota.following(window, self._now())}:
            if len(self._tasks) >= SETTLE_LIMIT:
                log.error("quota.unsettled", job_id=name, problem=f"{SETTLE_LIMIT} settlements wait already")
                return
            self._own(self._change(f"{principal}.{each}", name, change))

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
