"""A request's purse: what is held before each call of a cloud, what is paid, and what all of it came to."""

import msgspec
import pytest

from golek_wire import codec
from golek_wire.errors import (
    InferenceServiceError,
    NoWorkersError,
    OverLimitError,
    RateLimitedError,
)
from golek_wire.keys import Budget
from golek_wire.replies import EmbeddingReply, EmbeddingUsage, InferenceReply, RerankReply
from golek_worker import job as jobs
from golek_worker.charging import Due
from golek_worker.job import Job
from golek_worker.router import fallback
from golek_worker.router.purse import UNPAID, Purse, used
from golek_worker.router.targets import Price, Target
from golek_worker.routing.spending import Spending

JOB = Job("job", "", "", False, "ann", 1, 1000, "m", {}, money="5000000/day")
REQUEST = codec.decode_request(b'{"input": "12345678", "params": {"max_tokens": 100}}')
CLOUD = Target("cloud:big", "cloud", "big", price=Price(10, 20))
UNKNOWN = Target("cloud:new", "cloud", "new", priced=False)
LOCAL = Target("local:m", "local", "m")


class Account:
    """A ledger that remembers what it was told."""

    def __init__(self, *, limited: bool = True, left: int = 10**9) -> None:
        self.limited = limited
        self.left = left
        self.held: list[int] = []
        self.settled: list[int] = []

    def is_limited(self, job: Job) -> bool:
        return self.limited and bool(job.money)

    async def reserve_money(self, job: Job, micros: int) -> Due:
        if micros > self.left:
            raise RateLimitedError(f"{job.principal} has less")
        self.held.append(micros)
        return Due(f"call-{len(self.held)}", ("ann.2026-11-21",))

    def settle_money(self, due: Due, micros: int) -> None:
        self.settled.append(micros)


def purse(account: Account) -> Purse:
    return Spending(account, JOB, 1024)


async def test_the_most_is_held_and_what_it_took_is_paid() -> None:
    """Two tokens read and 100 written at most: by the target's price, in millionths of a dollar."""
    account = Account()
    spending = purse(account)
    expense = await spending.reserve(CLOUD, REQUEST)
    assert account.held == [2 * 10 + 100 * 20]
    assert spending.cost_usd is None
    assert expense.paid(2, 10) == pytest.approx(0.00022)
    assert expense.paid(2, 10) is None
    expense.broke_off(0)
    assert account.settled == [220]
    assert spending.cost_usd == 0.00022


async def test_a_server_that_counts_no_tokens_is_paid_by_our_count() -> None:
    """It read the request all the same."""
    assert (await purse(Account()).reserve(CLOUD, REQUEST)).paid(0, 10) == pytest.approx(0.00022)


async def test_steps_add_up_and_failed_ones_cost_nothing() -> None:
    """A local one without a price adds nothing either."""
    account = Account()
    spending = purse(account)
    (await spending.reserve(CLOUD, REQUEST)).broke_off(0)
    assert spending.cost_usd is None
    (await spending.reserve(CLOUD, REQUEST)).paid(1, 1)
    (await spending.reserve(CLOUD, REQUEST)).paid(1, 1)
    assert (await spending.reserve(LOCAL, REQUEST)).paid(1000, 1000) is None
    assert account.settled == [0, 30, 30]
    assert spending.cost_usd == 0.00006


async def test_what_is_held_is_for_what_is_asked() -> None:
    """A conversation that went before, and a text that goes on, are read again: the later call holds for them."""
    account = Account()
    spending = purse(account)
    await spending.reserve(CLOUD, REQUEST)
    whole = codec.decode_request(
        b'{"messages": [{"role": "user", "content": "12345678"}, {"role": "assistant", "content": "12345678"},'
        b' {"role": "user", "content": "12345678"}], "params": {"max_tokens": 100}, "resume": {"text": "12345678"}}'
    )
    expense = await spending.reserve(CLOUD, whole)
    assert account.held == [2 * 10 + 100 * 20, 8 * 10 + 100 * 20]
    expense.broke_off(1)
    assert account.settled == [8 * 10 + 20]


async def test_a_local_target_is_never_refused() -> None:
    """It costs nothing, so that nothing is asked of the ledger; one with a price is as a cloud is."""
    account = Account(left=0)
    await purse(account).reserve(LOCAL, REQUEST)
    with pytest.raises(RateLimitedError):
        await purse(account).reserve(CLOUD, REQUEST)
    with pytest.raises(RateLimitedError):
        await purse(account).reserve(msgspec.structs.replace(LOCAL, price=Price(1, 1)), REQUEST)
    assert account.held == account.settled == []


async def test_what_nobody_knows_the_price_of_is_not_called_on_a_budget() -> None:
    """And where nobody counts, it is, and its answer says nothing of cost."""
    with pytest.raises(OverLimitError, match="cloud:new: nobody knows what it takes") as refused:
        await purse(Account()).reserve(UNKNOWN, REQUEST)
    assert refused.value.details["limit"] == "budget"
    spending = purse(Account(limited=False))
    assert (await spending.reserve(UNKNOWN, REQUEST)).paid(5, 5) is None
    assert spending.cost_usd is None
    assert (await spending.reserve(CLOUD, REQUEST)).paid(1, 1) == pytest.approx(0.00003)
    assert spending.cost_usd == 0.00003


async def test_a_call_is_paid_as_far_as_it_came() -> None:
    """One that broke off by what was written until then, and before its first word not at all."""
    account = Account()
    spending = purse(account)
    for written in (5, 0):
        (await spending.reserve(CLOUD, REQUEST)).broke_off(written)
    assert account.settled == [2 * 10 + 5 * 20, 0]
    assert spending.cost_usd == pytest.approx(0.00012)
    unlimited = purse(Account(limited=False))
    (await unlimited.reserve(CLOUD, REQUEST)).broke_off(1)
    assert unlimited.cost_usd == 0.00004


async def test_calls_that_run_count_with_the_most_that_they_may_cost() -> None:
    """So that several at once do not each spend what is left; paid, broken off or refused they count as they are."""
    spending = Spending(Account(limited=False), JOB, 1024)
    first, second = [await spending.reserve(CLOUD, REQUEST) for _ in range(2)]
    assert spending.committed_usd == pytest.approx(2 * 0.00202)
    first.paid(2, 10)
    second.broke_off(0)
    assert spending.committed_usd == pytest.approx(0.00022)
    poor = Spending(Account(left=0), JOB, 1024)
    with pytest.raises(RateLimitedError):
        await poor.reserve(CLOUD, REQUEST)
    assert poor.committed_usd == 0


async def test_who_has_no_money_for_a_cloud_may_ask_others() -> None:
    """What is said was never said by the cloud: `OVER_LIMIT` ends no request here."""
    for target, account in ((CLOUD, Account(left=0)), (UNKNOWN, Account())):
        with pytest.raises(InferenceServiceError) as refused:
            await purse(account).reserve(target, REQUEST)
        assert refused.value.details[UNPAID] == target.name
        assert fallback.allows_next(refused.value)
    assert not fallback.allows_next(OverLimitError("the target says so itself"))
    assert fallback.last_word([refused.value, NoWorkersError("nobody else is there")]).code == "NO_WORKERS"


def test_a_job_carries_its_keys_budget_in_money() -> None:
    """And nothing for other budgets; nobody else may have written it."""
    assert jobs.money(None) == jobs.money(Budget(5)) == ""
    assert jobs.money(Budget(5, "usd", "total")) == "5/total"
    carried = jobs.from_headers(jobs.to_headers(JOB))
    assert jobs.money_budget(carried) == Budget(5_000_000, "usd", "day")
    assert jobs.money_budget(msgspec.structs.replace(JOB, money="")) is None
    for wrong in ("5/week", "x/day", "5"):
        with pytest.raises(ValueError, match=r"Golek-Money|invalid literal"):
            jobs.money_budget(msgspec.structs.replace(JOB, money=wrong))


def test_tokens_of_an_answer() -> None:
    """As its kind tells them."""
    reply = InferenceReply("", "", 7, 3, "stop", 1, 1, tokens_cached=2)
    usage = EmbeddingUsage(4, 5)
    assert used(reply) == (7, 3, 2)
    assert used(EmbeddingReply([], "m", usage)) == (4, 0, 0)
    assert used(RerankReply([], "m", usage)) == (5, 0, 0)
