"""The breakers of one router: who is let in, who waits, and who is told to move on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from golek_wire.breakers import BreakerNote
from golek_wire.errors import InferenceServiceError, ProviderFailedError, RateLimitedError
from golek_worker.router.breaker import RULES
from golek_worker.router.breakers import SILENCE_S, Breakers, Refusal, Ticket
from golek_worker.router.guard import guarded


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def entered(breakers: Breakers, target: str = "t") -> Ticket:
    ticket = breakers.enter(target)
    assert isinstance(ticket, Ticket)
    return ticket


def refused(breakers: Breakers, target: str = "t") -> Refusal:
    refusal = breakers.enter(target)
    assert isinstance(refusal, Refusal)
    return refusal


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers("r1", clock, draw=lambda: 0.5)


async def test_of_many_at_once_only_five_find_out(breakers: Breakers) -> None:
    """Of 64 requests at a target that has not answered yet, five are let in; a first word lets in all."""
    tickets = [entered(breakers) for _ in range(RULES.failures)]
    assert refused(breakers).undecided
    tickets[0].began()
    assert all(isinstance(breakers.enter("t"), Ticket) for _ in range(64))


async def test_failures_and_those_under_way_are_five_together(breakers: Breakers) -> None:
    """After three failures two may be under way."""
    for _ in range(3):
        entered(breakers).failed("502")
    entered(breakers)
    entered(breakers)
    assert refused(breakers).undecided


async def test_two_routers_share_the_five(clock: Clock) -> None:
    """Three here and two there; which, both know."""
    lost = 0
    for name in ("r1", "r2"):
        breakers = Breakers(name, clock)
        breakers.know_routers(["r1", "r2"])
        while isinstance(breakers.enter("t"), Ticket):
            lost += 1
    assert lost == RULES.failures


async def test_others_wait_for_the_verdict_where_they_have_no_choice(breakers: Breakers) -> None:
    """They go in with the first word of one, and hear at once that the breaker opened."""
    tickets = [entered(breakers) for _ in range(5)]
    waiting = [asyncio.create_task(breakers.entered("t", 30.0)) for _ in range(10)]
    await asyncio.sleep(0)
    tickets[0].began()
    assert all(isinstance(one, Ticket) for one in await asyncio.gather(*waiting))

    tickets = [entered(breakers, "dead") for _ in range(5)]
    waiting = [asyncio.create_task(breakers.entered("dead", 30.0)) for _ in range(10)]
    await asyncio.sleep(0)
    for ticket in tickets:
        ticket.failed("refused")
    assert {type(one) for one in await asyncio.gather(*waiting)} == {Refusal}


async def test_who_waited_long_enough_goes_in(clock: Clock, breakers: Breakers) -> None:
    """A target that thinks for long is not one that is dead."""
    for _ in range(5):
        entered(breakers)
    assert isinstance(await breakers.entered("t", 0.0), Ticket)
    assert isinstance(await breakers.entered("t", 0.0, stays=False), Refusal)


async def test_who_may_go_elsewhere_does_so_soon(clock: Clock, breakers: Breakers) -> None:
    """Requests wait together for the first verdict, not each on its own."""
    for _ in range(5):
        entered(breakers)
    waiting = asyncio.create_task(breakers.entered("t", 0.1, stays=False))
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.now += 0.1
    assert isinstance(await waiting, Refusal)
    assert isinstance(await breakers.entered("t", 0.1, stays=False), Refusal)


async def test_models_of_the_fleet_have_queues(clock: Clock, breakers: Breakers) -> None:
    """Any number of requests may wait for them without a word."""
    tickets = [entered(breakers, "local:echo") for _ in range(64)]
    clock.now += 60
    breakers.sweep()
    assert not any(ticket.moved.done() for ticket in tickets)


async def test_when_it_opens_those_without_a_word_move_on(clock: Clock, breakers: Breakers) -> None:
    """Those whose text has begun stay."""
    entered(breakers).began()
    begun, silent, *failing = [entered(breakers) for _ in range(7)]
    begun.began()
    for ticket in failing:
        ticket.failed("502")
    assert not begun.moved.done()
    assert silent.moved.result() == "502"


async def test_a_target_that_falls_silent_has_to_prove_itself(clock: Clock, breakers: Breakers) -> None:
    """Of 64 requests at one that answered until now, all but five move on after SILENCE_S, and no more go in."""
    entered(breakers).began()
    tickets = [entered(breakers) for _ in range(64)]
    clock.now += SILENCE_S / 2
    breakers.sweep()
    assert not any(ticket.moved.done() for ticket in tickets)
    clock.now += SILENCE_S
    breakers.sweep()
    assert [ticket.moved.done() for ticket in tickets] == [False] * 5 + [True] * 59
    assert refused(breakers).undecided


async def test_one_that_is_slow_by_nature_is_not_doubted(clock: Clock, breakers: Breakers) -> None:
    """What it usually takes to begin counts."""
    first = entered(breakers)
    clock.now += 5
    first.began()
    tickets = [entered(breakers) for _ in range(64)]
    clock.now += 15
    breakers.sweep()
    assert not any(ticket.moved.done() for ticket in tickets)


async def test_single_probes_find_out_whether_it_is_back(clock: Clock, breakers: Breakers) -> None:
    """After the cooldown one request goes there; a probe that is dropped leaves its place to the next."""
    for _ in range(5):
        entered(breakers).failed("502")
    assert refused(breakers).after_s == pytest.approx(1.0)
    clock.now += 1.0
    probe = entered(breakers)
    assert refused(breakers).undecided
    probe.dropped()
    entered(breakers).answered()
    assert breakers.state("t") == "closed"
    assert breakers.described() == {}


async def test_decisions_hear_of_those_that_are_not_closed(clock: Clock, breakers: Breakers) -> None:
    """One that answers is not told of; an open one takes nothing until its time; then, also behind a probe, it may."""
    entered(breakers, "well").answered()
    for _ in range(RULES.failures):
        entered(breakers).failed("502")
    (state,) = breakers.states().values()
    assert (state.up, state.half_open, state.why, state.retry_s) == (False, False, "502", RULES.cooldown_s)
    clock.now += RULES.cooldown_s
    for _ in range(2):
        (state,) = breakers.states().values()
        assert (state.up, state.half_open) == (True, True)
        breakers.enter("t")


async def test_routers_tell_each_other(clock: Clock) -> None:
    """What one finds out counts at the other: failures, an open breaker, and that it is back."""
    routers = {name: Breakers(name, clock, draw=lambda: 0.5) for name in ("r1", "r2")}
    for name, breakers in routers.items():
        other = routers["r2" if name == "r1" else "r1"]
        breakers.share(other.hear)
        breakers.know_routers(routers)
    entered(routers["r1"]).began()
    silent, *failing = [entered(breakers) for breakers in routers.values() for _ in range(3)]
    for ticket in failing:
        ticket.failed("502")
    assert silent.moved.done()
    assert refused(routers["r2"]).why == "502"
    clock.now += 1.0
    probe = entered(routers["r2"])
    assert refused(routers["r1"]).undecided
    probe.answered()
    assert [breakers.state("t") for breakers in routers.values()] == ["closed", "closed"]


async def words(*said: str | InferenceServiceError, hangs: bool = False) -> AsyncIterator[str]:
    for word in said:
        if isinstance(word, InferenceServiceError):
            raise word
        yield word
    if hangs:
        await asyncio.Event().wait()


async def test_a_guarded_answer_is_the_answer(breakers: Breakers) -> None:
    """Word by word, and the target is proven."""
    assert [word async for word in guarded(breakers, "t", words("a", "b"), begin_s=1.0)] == ["a", "b"]
    assert all(isinstance(breakers.enter("t"), Ticket) for _ in range(6))


async def test_a_target_that_hangs_is_left_in_time(breakers: Breakers) -> None:
    """Five times; then it is passed over without being asked."""
    for _ in range(5):
        with pytest.raises(ProviderFailedError, match="did not begin"):
            await anext(guarded(breakers, "t", words(hangs=True), begin_s=0.01))
    with pytest.raises(ProviderFailedError) as caught:
        await anext(guarded(breakers, "t", words("never"), begin_s=0.01))
    assert caught.value.details["passed_over"]


async def test_a_guarded_request_moves_on_when_the_breaker_opens(breakers: Breakers) -> None:
    """It does not wait for its own time to be over."""
    hanging = asyncio.ensure_future(anext(guarded(breakers, "t", words(hangs=True), begin_s=60.0)))
    await asyncio.sleep(0)
    breakers.hear(BreakerNote("t", "r2", "open", failures=5, opened=1, why="refused"), 1.0)
    with pytest.raises(ProviderFailedError, match="refused"):
        await hanging


async def test_an_answer_that_is_left_twice_is_closed_before_it_is_left(breakers: Breakers) -> None:
    """Who is cancelled while the answer that took too long still cleans up is cancelled, and no fault comes of it; the
    answer has cleaned up by then.
    """
    cleaning, clean, done = asyncio.Event(), asyncio.Event(), list[str]()

    async def slow_to_leave() -> AsyncIterator[str]:
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            cleaning.set()
            await clean.wait()
            done.append("clean")

    async def ask() -> str:
        async with aclosing(guarded(breakers, "t", slow_to_leave(), begin_s=0.01)) as said:
            return await anext(said)

    asking = asyncio.ensure_future(ask())
    await cleaning.wait()
    asking.cancel()
    await asyncio.sleep(0)
    clean.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert done == ["clean"]


async def test_a_pause_that_was_asked_for_is_kept(clock: Clock, breakers: Breakers) -> None:
    """To the millisecond; it is no failure."""
    limit = RateLimitedError("slow down", retry_after_ms=2500, provider="openai")
    with pytest.raises(RateLimitedError):
        await anext(guarded(breakers, "t", words(limit), begin_s=1.0))
    assert refused(breakers).after_s == pytest.approx(2.5)
    clock.now += 2.5
    entered(breakers)


async def test_one_that_ends_without_a_word_failed(breakers: Breakers) -> None:
    """An empty answer is none."""
    with pytest.raises(ProviderFailedError, match="without an answer"):
        await anext(guarded(breakers, "t", words(), begin_s=1.0))


async def test_notes_are_told_once(clock: Clock) -> None:
    """An answer of a target that was well is no news."""
    told: list[BreakerNote] = []
    breakers = Breakers("r1", clock, tell=lambda note, left_s: told.append(note))
    for _ in range(3):
        entered(breakers).answered()
    assert [note.proven for note in told] == [True]
