"""What does a request spend in clouds?

`Spending` is the purse of one job (`router/purse`): it knows what a call may cost by the target's price, holds that in
the ledger (`charging`), and adds up what the calls cost, whoever of its steps made them.
"""

from typing import Final, Protocol

from golek_wire.errors import InferenceServiceError, OverLimitError
from golek_wire.keys import micros
from golek_wire.requests import Request
from golek_worker.admission import quota
from golek_worker.charging import Due
from golek_worker.job import Job
from golek_worker.router import prices
from golek_worker.router.purse import UNPAID
from golek_worker.router.targets import Target

_NOTHING: Final = Due("")


class Money(Protocol):
    """The ledger (charging.py)."""

    def is_limited(self, job: Job) -> bool: ...
    async def reserve_money(self, job: Job, micros: int) -> Due: ...
    async def money_refusal(self, job: Job, micros: int) -> InferenceServiceError | None: ...
    def settle_money(self, due: Due, micros: int) -> None: ...


class Spending:
    """The purse of one job."""

    def __init__(self, money: Money, job: Job, reserve_tokens: int) -> None:
        """`reserve_tokens` are held for an answer of a request that does not say how long it may be."""
        self._money = money
        self._job = job
        self._reserve_tokens = reserve_tokens
        self._cost_usd: float | None = None
        self.costs: dict[str, float] = {}
        """By target: what its calls cost so far, where they had a price."""
        self.broken_off = (0, 0)
        """About how many tokens were read and written for answers that broke off."""
        self._running_usd = 0.0

    @property
    def committed_usd(self) -> float:
        """What all calls cost so far, with the most that those may cost that run."""
        return (self._cost_usd or 0.0) + self._running_usd

    @property
    def cost_usd(self) -> float | None:
        """What all calls cost so far; None while nothing had a price."""
        return None if self._cost_usd is None else round(self._cost_usd, 9)

    async def reserve(self, target: Target, request: Request) -> "Call":
        """Hold what it may cost to ask this. Raises as `Charging.reserve_money`, OverLimitError for a target without a
        price whose cost somebody counts.
        """
        tokens_in = quota.read(request)
        most_usd = self._most_usd(target, request, tokens_in)
        most, held_usd = self._most(target, most_usd), most_usd or 0.0
        call = Call(self, target, tokens_in, _NOTHING, held_usd)
        self._running_usd += held_usd
        try:
            if most:
                call.due = await self._money.reserve_money(self._job, most)
        except BaseException as error:
            call.broke_off(0)
            if isinstance(error, InferenceServiceError):
                error.details[UNPAID] = target.name
            raise
        return call

    async def refusal(self, target: Target, request: Request) -> InferenceServiceError | None:
        """What `reserve` would raise just now; nothing is held. Raises BusUnavailableError where nobody can say."""
        try:
            most = self._most(target, self._most_usd(target, request, quota.read(request)))
        except OverLimitError as error:
            return error
        return await self._money.money_refusal(self._job, most) if most else None

    def _most(self, target: Target, most: float | None) -> int:
        """What must be held, in millionths of a dollar. Raises OverLimitError for what nobody knows."""
        if most == 0 or not self._money.is_limited(self._job):
            return 0
        if most is None:
            raise OverLimitError(
                f"{target.name}: nobody knows what it takes, which a budget in money needs; PRICES_FILE says it",
                limit="budget",
                **{UNPAID: target.name},
            )
        return micros(most)

    def _most_usd(self, target: Target, request: Request, tokens_in: int) -> float | None:
        return prices.most_usd(target, tokens_in, quota.written(request, self._reserve_tokens))

    def pay(self, due: Due, target: str, cost_usd: float | None, held_usd: float) -> None:
        """A call of this target cost so much, None if it came to nothing; what was held for it is free."""
        self._running_usd -= held_usd
        if cost_usd is not None:
            self.costs[target] = round(self.costs.get(target, 0.0) + cost_usd, 9)
            self._cost_usd = (self._cost_usd or 0.0) + cost_usd
        if due.accounts:
            self._money.settle_money(due, micros(cost_usd or 0.0))


class Call:
    """One call of a cloud, and what is held for it."""

    def __init__(self, spending: Spending, target: Target, tokens_in: int, due: Due, held_usd: float) -> None:
        """`tokens_in`: about as many as are read; `held_usd` is the most that it may cost."""
        self._spending = spending
        self._target = target
        self._tokens_in = tokens_in
        self._held_usd = held_usd
        self.due: Due | None = due
        """What the ledger holds for it, until it is paid."""

    def paid(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float | None:
        """It was answered: what it cost; None where it has no price. A server that counts nothing has read something
        nevertheless: then it is our own count.
        """
        due, self.due = self.due, None
        price = self._target.price
        if due is None or price is None:
            return None
        cost_usd = price.cost_usd(tokens_in or self._tokens_in, tokens_out, tokens_cached)
        self._spending.pay(due, self._target.name, cost_usd, self._held_usd)
        return cost_usd

    def broke_off(self, tokens_out: int) -> float | None:
        """It ended without an answer, behind so many tokens: what was read was read; behind none it costs nothing."""
        cost_usd = None
        if tokens_out:
            read, written = self._spending.broken_off
            self._spending.broken_off = read + self._tokens_in, written + tokens_out
            cost_usd = self.paid(self._tokens_in, tokens_out)
        due, self.due = self.due, None
        if due is not None:
            self._spending.pay(due, self._target.name, None, self._held_usd)
        return cost_usd
