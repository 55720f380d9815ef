"""Budgets in money on a real server: no cloud is called for money that is not there, whichever router asks."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import nats.errors
import pytest

from golek_client.bus_client import BusClient
from golek_client.connection import close, connect
from golek_wire import codec
from golek_wire.errors import BusUnavailableError, InferenceServiceError, OverLimitError, RateLimitedError
from golek_wire.keys import Budget, Key, parse_budget
from golek_worker.admission import quota
from golek_worker.admission.quota import Ledger, Spent
from golek_worker.bus.quota import stored_records
from golek_worker.charging import FLEET, Charging
from golek_worker.job import Charge, Job, money
from golek_worker.router.prices import Prices
from golek_worker.router.targets import Target
from golek_worker.routing.spending import Spending

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
MINI = Prices().priced(Target("openai:gpt-5-mini", "openai", "gpt-5-mini"))
REQUEST = codec.decode_request(b'{"input": "1234", "params": {"max_tokens": 5000}}')
MOST = 10_001
"""Millionths of a dollar: 5,000 tokens written at $2 a million, and a token read."""


class Router:
    """One process's ledger, on a connection and with a clock of its own."""

    def __init__(self, client: BusClient, fleet_budget: Budget | None) -> None:
        self.client = client
        self.now = NOON
        self.charging = Charging(client, "router", lambda: self.now, fleet_budget)

    def purse(self, budget: str = "", job_id: str = "job", principal: str = "ann") -> Spending:
        limit = money(parse_budget(budget)) if budget else ""
        job = Job(job_id, "", "", False, principal, 0, 10_000, job_id, {}, money=limit)
        return Spending(self.charging, job, 1024)

    async def call(self, budget: str, number: int) -> str:
        """`ok` for a cloud that was called and took all that was held, or the error's code and limit."""
        try:
            expense = await self.purse(budget, f"job-{number}").reserve(MINI, REQUEST)
        except InferenceServiceError as error:
            return f"{error.code}:{error.details['limit']}"
        await asyncio.sleep(0.01)
        expense.paid(1, 5000)
        return "ok"


@pytest.fixture
async def router(nats_server: str) -> AsyncIterator[Callable[..., Any]]:
    """Makes routers of one fleet."""
    routers: list[Router] = []

    async def make(fleet_budget: str = "") -> Router:
        client = await connect(nats_server, f"router-{len(routers)}")
        routers.append(Router(client, parse_budget(fleet_budget) if fleet_budget else None))
        await Charging.open(client, "", lambda: NOON)
        return routers[-1]

    yield make
    for one in routers:
        await one.charging.close()
        await close(one.client)


async def accounts(one: Router) -> dict[str, Ledger]:
    await one.charging.close()
    return await stored_records(one.client, Ledger)


async def test_a_burst_over_two_routers_spends_the_budget_and_no_more(router: Callable[..., Any]) -> None:
    """Of 200 calls at once on a budget for 20, at real prices, 20 are made and 180 refused, and nothing stays held."""
    routers = [await router(), await router()]
    budget = f"{20 * MOST / 1e6:.6f}usd/day"
    met = Counter(await asyncio.gather(*(routers[number % 2].call(budget, number) for number in range(200))))
    assert met == {"ok": 20, "RATE_LIMITED:budget": 180}
    await accounts(routers[1])
    found = (await accounts(routers[0]))["ann.2026-11-21"]
    assert (found.spent, found.bills) == (Spent(micros=20 * MOST), {})


async def test_the_fleets_own_budget_holds_for_all_keys(router: Callable[..., Any]) -> None:
    """ROUTER_BUDGET: over two routers, for callers with and without budgets of their own, in an account of its own."""
    limit = f"{20 * MOST / 1e6:.6f}usd/day"
    routers = [await router(limit), await router(limit)]
    met = Counter(
        await asyncio.gather(
            *(routers[number % 2].call("5usd/day" if number % 3 else "", number) for number in range(200))
        )
    )
    assert met == {"ok": 20, "RATE_LIMITED:budget": 180}
    await accounts(routers[1])
    found = await accounts(routers[0])
    fleet = found.pop(f"{FLEET}.2026-11-21")
    assert (fleet.spent, fleet.bills) == (Spent(micros=20 * MOST), {})
    for own in found.values():  # what the fleet refused is not held for the key either
        assert not own.bills
        assert own.spent.micros <= 20 * MOST
    with pytest.raises(
        RateLimitedError, match=r"This fleet \(ROUTER_BUDGET\) has a budget of \$0.20002, and less of it"
    ):
        await routers[0].purse().reserve(MINI, REQUEST)


async def test_a_call_that_costs_less_leaves_the_rest(router: Callable[..., Any]) -> None:
    """What is left is for others; a call that failed costs nothing; one that alone is too dear is told so."""
    one = await router()
    budget = f"{MOST / 1e6:.6f}usd/total"
    first = await one.purse(budget).reserve(MINI, REQUEST)
    with pytest.raises(RateLimitedError):
        await one.purse(budget).reserve(MINI, REQUEST)
    first.broke_off(0)
    await one.charging.close()
    second = await one.purse(budget).reserve(MINI, REQUEST)
    assert second.paid(1, 2500) == pytest.approx(0.00500025)
    await one.charging.close()
    with pytest.raises(OverLimitError, match=r"a budget of \$0.01, and less of it is left than the \$0.010001"):
        await one.purse("0.01usd/total").reserve(MINI, REQUEST)
    assert (await accounts(one))["ann.total"].spent == Spent(micros=5001)


async def test_what_a_killed_router_held_is_free_again(router: Callable[..., Any]) -> None:
    """With the request's deadline and the time of grace, as of every hold: another router spends it."""
    killed, other = await router(), await router()
    budget = f"{MOST / 1e6:.6f}usd/total"
    await killed.purse(budget).reserve(MINI, REQUEST)
    other.now = NOON + 10 + quota.GRACE_S - 0.1
    with pytest.raises(RateLimitedError):
        await other.purse(budget, "other").reserve(MINI, REQUEST)
    other.now += 0.1
    (await other.purse(budget, "other").reserve(MINI, REQUEST)).paid(1, 5000)
    assert (await accounts(other))["ann.total"].spent == Spent(micros=MOST)


async def test_a_write_whose_answer_is_lost_is_not_paid_twice(
    router: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what is held nor what is paid."""
    one = await router()
    asked, writes = one.client.request, []

    async def deaf(subject: str, *args: Any, **options: Any) -> Any:
        answer = await asked(subject, *args, **options)
        if subject.startswith("$KV."):
            writes.append(subject)
            if len(writes) % 2:
                raise nats.errors.TimeoutError
        return answer

    monkeypatch.setattr(one.client, "request", deaf)
    (await one.purse("5usd/total").reserve(MINI, REQUEST)).paid(1, 5000)
    found = (await accounts(one))["ann.total"]
    assert (found.spent, found.bills) == (Spent(micros=MOST), {})
    assert len(writes) >= 2


async def test_midnight_between_call_and_bill(router: Callable[..., Any]) -> None:
    """It is paid in the day in which it was made, and held in both until then."""
    one = await router()
    one.now = NOON + 12 * 3600 - 1
    expense = await one.purse("5usd/day").reserve(MINI, REQUEST)
    one.now += 2
    (await one.purse("5usd/day", "next").reserve(MINI, REQUEST)).paid(1, 5000)
    expense.paid(1, 1000)
    found = await accounts(one)
    assert {day: (account.spent.micros, account.bills) for day, account in found.items()} == {
        "ann.2026-11-21": (2001, {}),
        "ann.2026-11-22": (MOST, {}),
    }


async def test_without_the_ledger_no_cloud_is_called(router: Callable[..., Any]) -> None:
    """Nothing is spent uncounted; who has no budget does not ask it."""
    one = await router()
    await one.client.jetstream().delete_key_value("GOLEK_QUOTA")
    job = Job("late", "", "", False, "ann", 0, 300, "late", {}, money="5000000/day")
    with pytest.raises(BusUnavailableError, match="could not be written"):
        await Spending(one.charging, job, 1024).reserve(MINI, REQUEST)
    await one.purse().reserve(MINI, REQUEST)


async def test_money_of_keys_without_a_budget_in_money_is_counted_too(router: Callable[..., Any]) -> None:
    """With their job's end, so that `golek keys usage` tells it; of those with one it is not counted again."""
    one = await router()
    for principal, budget in (("bob", Budget(9, "requests", "total")), ("eve", Budget(9_000_000, "usd", "total"))):
        key = Key(principal, budget=budget)
        job = Job("j", "", "", False, principal, 0, 10_000, "j", {}, money=money(budget))
        window, _, _ = await one.charging.reserve(job, Charge(key, 5))
        held = Job("j", "", "", False, principal, 0, 10_000, "j", {}, hold=window, money=job.money)
        one.charging.settle(held, 5, 700)
    found = await accounts(one)
    assert found["bob.total"].spent == Spent(1, 5, 700)
    assert found["eve.total"].spent == Spent(1, 5)
