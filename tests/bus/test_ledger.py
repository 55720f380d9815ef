"""The ledger on a real server: few writes, none lost, none counted twice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import nats.errors
import pytest

from golek_client.bus_client import BusClient
from golek_client.connection import close, connect
from golek_wire.errors import BusUnavailableError, InferenceServiceError, RateLimitedError
from golek_wire.keys import Budget, Key
from golek_worker.admission.quota import Ledger, Spent
from golek_worker.bus.quota import stored_records
from golek_worker.bus.storing import Storing
from golek_worker.charging import Charging
from golek_worker.job import Charge, Job

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


class SlowCharges:
    """A ledger that takes its time."""

    def __init__(self, charging: Charging, seconds: float) -> None:
        self._charging = charging
        self._seconds = seconds
        self.release = charging.release
        self.repeated = charging.repeated

    async def reserve(self, job: Job, charge: Charge) -> Any:
        await asyncio.sleep(self._seconds)
        return await self._charging.reserve(job, charge)


class Side:
    """One process's ledger, on a connection and with a clock of its own."""

    def __init__(self, client: BusClient) -> None:
        self.client = client
        self.now = NOON
        self.charging = Charging(client, "echo", lambda: self.now)

    async def reserve(self, key: Key, job_id: str, tokens: int = 1) -> Job:
        """The job with its hold. Raises as `Charging.reserve` does."""
        job = Job(job_id, "", "", False, key.key_id, 0, 10_000, "", {})
        window, _, _ = await self.charging.reserve(job, Charge(key, tokens))
        return Job(job_id, "", "", False, key.key_id, 0, 10_000, "", {}, hold=window)


@pytest.fixture
async def side(nats_server: str) -> AsyncIterator[Callable[[], Any]]:
    """Makes sides of one ledger."""
    sides: list[Side] = []

    async def make() -> Side:
        client = await connect(nats_server, f"side-{len(sides)}")
        sides.append(Side(client))
        await Charging.open(client, "", lambda: NOON)
        return sides[-1]

    yield make
    for one in sides:
        await one.charging.close()
        await close(one.client)


async def account(one: Side, key: str) -> Ledger:
    await one.charging.close()
    return (await stored_records(one.client, Ledger))[key]


async def test_two_hundred_reservations_are_few_writes(side: Callable[[], Any]) -> None:
    """One write at a time carries all that wait; of two processes' both are counted."""
    first, second = await side(), await side()
    key = Key("ann", budget=Budget(1000, "requests", "total"))
    jobs = await asyncio.gather(*((first, second)[n % 2].reserve(key, f"job-{n}") for n in range(200)))
    assert first.charging.records.writes + second.charging.records.writes <= 10
    for number, job in enumerate(jobs):
        (first, second)[number % 3 == 0].charging.settle(job, 7)
    await first.charging.close()
    assert await account(second, "ann.total") == Ledger(Spent(200, 1400), (await account(first, "ann.total")).minutes)


async def test_a_write_whose_answer_is_lost_is_not_done_twice(
    side: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a reservation nor a settlement; and the reservation is still known for the first of its job."""
    one = await side()
    key, asked = Key("ann", rpm=10, budget=Budget(10, "requests", "total")), one.client.request
    lost = []

    async def deaf(subject: str, *args: Any, **options: Any) -> Any:
        answer = await asked(subject, *args, **options)
        if subject.startswith("$KV.") and len(lost) % 2 == 0:
            lost.append(subject)
            raise nats.errors.TimeoutError
        lost.append("")
        return answer

    monkeypatch.setattr(one.client, "request", deaf)
    job = Job("a", "", "", False, "ann", 0, 10_000, "", {})
    window, allowances, is_new = await one.charging.reserve(job, Charge(key, 1))
    assert is_new
    assert (allowances.requests.remaining, allowances.budget.remaining) == (9, 9)
    one.charging.settle(Job("a", "", "", False, "ann", 0, 10_000, "", {}, hold=window), 3)
    found = await account(one, "ann.total")
    assert (found.spent, found.holds, found.minutes.now) == (Spent(1, 3), {}, Spent(1, 3))
    assert any(lost)


async def test_midnight_lets_nobody_through(side: Callable[[], Any]) -> None:
    """Rates and places go on in the new day's record; what came before midnight is paid in the old one's."""
    one = await side()
    key = Key("ann", rpm=3, concurrent=2, budget=Budget(2, "requests", "day"))
    one.now = NOON + 12 * 3600 - 1
    first = await one.reserve(key, "a", 5)
    second = await one.reserve(key, "b", 5)
    one.now += 2
    with pytest.raises(RateLimitedError) as refused:
        await one.reserve(key, "c")
    assert refused.value.details["limit"] == "concurrent"
    one.charging.settle(first, 5)
    one.charging.release(second)
    await one.charging.close()
    third = await one.reserve(key, "c", 5)
    assert (first.hold, third.hold) == ("2026-11-21", "2026-11-22")
    one.charging.settle(third, 5)
    assert (await account(one, "ann.2026-11-21")).spent == Spent(1, 5)
    today = await account(one, "ann.2026-11-22")
    assert (today.spent, today.holds) == (Spent(1, 5), {})
    assert today.minutes.now.requests + today.minutes.before.requests == 2


async def test_a_record_that_cannot_be_read_begins_anew(side: Callable[[], Any]) -> None:
    """Whoever broke it; a key is not locked out for good."""
    one = await side()
    await one.client.jetstream().publish("$KV.GOLEK_QUOTA.ann.total", b"nonsense")
    await one.reserve(Key("ann", budget=Budget(1, "requests", "total")), "a")
    assert (await account(one, "ann.total")).holds.keys() == {"echo/a"}


async def test_a_refusal_is_by_the_newest_record(side: Callable[[], Any]) -> None:
    """What another process gave back a moment ago can be had here."""
    first, second = await side(), await side()
    key = Key("ann", concurrent=1)
    held = await first.reserve(key, "a")
    with pytest.raises(RateLimitedError):
        await second.reserve(key, "b")
    first.charging.release(held)
    await first.charging.close()
    await second.reserve(key, "b")
    with pytest.raises(RateLimitedError):
        await first.reserve(key, "c")


async def test_who_waits_for_a_silent_bus_is_told_in_time(side: Callable[[], Any]) -> None:
    """By the deadline of the request, that it will not run."""
    one = await side()
    await one.client.jetstream().delete_key_value("GOLEK_QUOTA")
    job = Job("a", "", "", False, "ann", 0, 300, "", {})
    began = asyncio.get_running_loop().time()
    with pytest.raises(BusUnavailableError) as refused:
        await one.charging.reserve(job, Charge(Key("ann", rpm=1), 1))
    assert asyncio.get_running_loop().time() - began < 2
    assert isinstance(refused.value, InferenceServiceError)
    assert refused.value.details["may_run"] is False


async def test_who_waits_for_a_frozen_bus_is_told_in_time_and_holds_nothing(
    side: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the deadline of the request, though one answer may be waited for longer; what was to be held is forgotten."""
    one = await side()
    key, asked, frozen = Key("ann", concurrent=1), one.client.request, asyncio.Event()

    async def slow(*args: Any, **options: Any) -> Any:
        await frozen.wait()
        return await asked(*args, **options)

    monkeypatch.setattr(one.client, "request", slow)
    with pytest.raises(BusUnavailableError) as refused:
        async with asyncio.timeout(2):
            await one.charging.reserve(Job("a", "", "", False, "ann", 0, 300, "", {}), Charge(key, 1))
    assert refused.value.details["may_run"] is False
    leaving = asyncio.create_task(one.reserve(key, "b"))
    await asyncio.sleep(0)
    leaving.cancel()
    frozen.set()
    assert (await one.reserve(key, "c")).hold
    assert (await account(one, "ann.2026-11-21")).holds.keys() == {"echo/c"}


async def test_each_model_is_paid_for(side: Callable[[], Any]) -> None:
    """Though a caller asks two of them with one inbox, which makes one id of both jobs."""
    first, second = await side(), await side()
    second.charging = Charging(second.client, "tiny", lambda: NOON)
    key = Key("ann", concurrent=2, budget=Budget(100, window="total"))
    jobs = [await one.reserve(key, "a", 10) for one in (first, second)]
    with pytest.raises(RateLimitedError):
        await first.reserve(key, "b")
    for one, job in zip((first, second), jobs, strict=True):
        one.charging.settle(job, 7)
        await one.charging.close()
    assert (await account(first, "ann.total")).spent == Spent(2, 14)


async def test_what_the_ledger_takes_is_of_the_requests_own_time(side: Callable[[], Any]) -> None:
    """A job is stored with what is left of it: its deadline runs from then."""
    one = await side()
    charges, told = SlowCharges(one.charging, 0.3), asyncio.Queue[Any]()
    queue: Any = SimpleNamespace(job_subjects={2: "inference.job.echo.normal.any"})

    async def answer(job: Job, inbox: str, error: InferenceServiceError) -> None:
        told.put_nowait(error)

    storing = Storing(one.client, queue, Any, Any, answer, charges, reject_when_full=True)  # type: ignore[arg-type]
    await one.client.subscribe("inference.job.>", cb=told.put)
    key = Key("ann", rpm=10)
    await storing.store(Job("a", "", "", False, "ann", 0, 10_000, "", {}, charge=Charge(key, 1)), b"{}")
    job = await asyncio.wait_for(told.get(), 5)
    assert 9000 <= int(job.headers["Golek-Budget-Ms"]) <= 9700
