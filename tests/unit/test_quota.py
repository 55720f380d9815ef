"""The ledger's arithmetic: by tables, and for any order of any requests."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golek_program.web import errors
from golek_wire import codec
from golek_wire.errors import OverLimitError, RateLimitedError
from golek_wire.keys import Budget, Key
from golek_wire.requests import Request
from golek_worker.admission import quota
from golek_worker.admission.quota import Hold, Ledger, Minutes, Refused, Reserved, Spent

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
MINUTE = int(NOON // 60)


def reserve(ledger: Ledger, key: Key, job: str, tokens: int = 1, now: float = NOON) -> tuple[Ledger, Reserved]:
    ledger, outcome = quota.reserve(ledger, key, job, tokens, now + 60, now)
    assert isinstance(outcome, Reserved), outcome
    return ledger, outcome


def refused(ledger: Ledger, key: Key, tokens: int = 1, now: float = NOON) -> Refused:
    after, outcome = quota.reserve(ledger, key, "another", tokens, now + 60, now)
    assert isinstance(outcome, Refused), outcome
    assert after is ledger.seen(now) or after == ledger.seen(now)
    return outcome


@pytest.mark.parametrize(
    ("key", "limit", "first_tokens"),
    [
        (Key("k", rpm=1), "requests", 1),
        (Key("k", tpm=10), "tokens", 10),
        (Key("k", concurrent=1), "concurrent", 1),
        (Key("k", budget=Budget(10)), "budget", 10),
        (Key("k", budget=Budget(1, "requests", "total")), "budget", 9999),
    ],
)
def test_each_limit_refuses_what_goes_beyond_it(key: Key, limit: str, first_tokens: int) -> None:
    """The first request takes all there is; the next is told which limit, and when to come back."""
    ledger, _ = reserve(Ledger(), key, "a", first_tokens)
    told = refused(ledger, key)
    assert told.limit == limit
    error = told.error("k")
    assert isinstance(error, RateLimitedError)
    assert error.details["limit"] == limit
    assert error.details["retry_after_ms"] >= 1000
    assert "The key k " in error.message


@pytest.mark.parametrize(
    ("key", "minutes", "tokens", "wait"),
    [
        (Key("k", rpm=2), Minutes(MINUTE, Spent(2), Spent()), 1, 60 + 30),  # half of this minute's may be left
        (Key("k", rpm=1), Minutes(MINUTE, Spent(1), Spent()), 1, 60 + 60),
        (Key("k", rpm=10), Minutes(MINUTE, Spent(5), Spent(10)), 1, 36),  # 5 + 10 x 0.4 + 1
        (Key("k", tpm=100), Minutes(MINUTE, Spent(1, 50), Spent(9, 100)), 25, 45),
        (Key("k", tpm=100), Minutes(MINUTE, Spent(1, 100), Spent()), 50, 60 + 30),
    ],
)
def test_when_to_come_back_is_right_to_the_second(key: Key, minutes: Minutes, tokens: int, wait: float) -> None:
    """A second earlier is refused, and then is not."""
    ledger = Ledger(minutes=minutes)
    told = refused(ledger, key, tokens).error("k").retry_after_ms / 1000
    assert told == wait
    assert refused(ledger, key, tokens, NOON + told - 1)
    assert reserve(ledger, key, "then", tokens, NOON + told)


@pytest.mark.parametrize(
    ("window", "reset"),
    [("hour", 3600), ("day", 12 * 3600), ("month", 9.5 * 86400), ("total", quota.NEVER_S)],
)
def test_a_budget_is_there_again_when_its_window_is_over(window: quota.Window, reset: float) -> None:
    """Calendar hours, days and months in UTC."""
    key = Key("k", budget=Budget(10, window=window))
    ledger = quota.settle(reserve(Ledger(), key, "a", 10)[0], "a", 10, NOON)
    error = refused(ledger, key).error("k")
    if window == "total":
        assert isinstance(error, OverLimitError), "nothing is worth waiting for"
    else:
        assert error.retry_after_ms == reset * 1000
    left = quota.allowances(ledger, key, NOON).budget
    assert left is not None
    assert (left.limit, left.remaining, left.reset_s) == (10, 0, reset)


def test_where_a_request_in_flight_has_to_end_first_it_is_worth_trying_soon() -> None:
    """It may use less than it holds."""
    key = Key("k", budget=Budget(10))
    ledger, _ = reserve(Ledger(), key, "a", 10)
    assert refused(ledger, key).error("k").retry_after_ms == 1000
    ledger = quota.settle(ledger, "a", 2, NOON)
    assert reserve(ledger, key, "b", 8)


def test_a_request_that_is_larger_than_the_limit_is_told_so() -> None:
    """It will never pass, however long it waits: so it is not retriable, whatever else is in the way for a while."""
    ledger, _ = reserve(Ledger(), Key("k"), "a", 1)
    for key in (Key("k", tpm=10), Key("k", tpm=10, rpm=1)):
        error = refused(ledger, key, 11).error("k")
        assert (error.code, error.type, error.details["limit"]) == ("OVER_LIMIT", "non_retriable", "tokens")
        assert error.details["too_large"] is True
        assert "max_tokens" in error.message
    told = errors.headers(error)
    assert (told["x-should-retry"], "retry-after" in told) == ("false", False)


def test_a_copy_of_a_request_has_the_hold_of_the_first() -> None:
    """Also when nothing is left."""
    key = Key("k", concurrent=1, rpm=1, budget=Budget(1, "requests"))
    ledger, first = reserve(Ledger(), key, "a")
    again, copy = reserve(ledger, key, "a")
    assert again == ledger
    assert (first.is_new, copy.is_new) == (True, False)


def test_what_is_settled_counts_once() -> None:
    """A second worker that ran the same job adds nothing; nor does a job that never had a hold."""
    ledger, _ = reserve(Ledger(), Key("k", tpm=100), "a", 50)
    once = quota.settle(ledger, "a", 7, NOON)
    assert (once.spent, once.holds, once.minutes.now) == (Spent(1, 7), {}, Spent(1, 7))
    assert quota.settle(once, "a", 7, NOON) == once
    assert quota.settle(once, "never", 7, NOON) == once


def test_what_is_released_never_happened() -> None:
    """Neither budget nor minute remember it."""
    ledger, _ = reserve(Ledger(), Key("k", rpm=1, budget=Budget(10)), "a", 5)
    assert quota.release(ledger, "a", NOON) == Ledger(minutes=Minutes(MINUTE))


def test_a_hold_that_nobody_ends_is_gone_after_its_time() -> None:
    """And its place with it."""
    key = Key("k", concurrent=1)
    ledger, _ = reserve(Ledger(), key, "a")
    assert refused(ledger, key, now=NOON + 59.9)
    assert reserve(ledger, key, "b", now=NOON + 60)[0].holds.keys() == {"b"}


def test_a_hold_can_be_made_shorter_only() -> None:
    """Who finds its job gone leaves whoever ran it a moment to settle."""
    ledger, _ = reserve(Ledger(), Key("k", rpm=9), "a")
    assert quota.shorten(ledger, "a", NOON + 5, NOON).holds["a"].until == NOON + 5
    assert quota.shorten(ledger, "a", NOON + 500, NOON) == ledger


def test_midnight_ends_no_minute() -> None:
    """The next window's record begins with the last one's minute and what is in flight, which is paid for where it
    came in.
    """
    key = Key("k", rpm=2, concurrent=2, budget=Budget(2, "requests", "day"))
    old, _ = reserve(Ledger(spent=Spent(1, 1)), key, "a", 5)
    new = old.carried()
    assert new.spent == Spent()
    new, told = reserve(new, key, "b", 5)
    assert told.allowances.budget is not None
    assert told.allowances.budget.remaining == 1
    assert told.allowances.requests is not None
    assert told.allowances.requests.remaining == 0
    assert refused(new, key).limit == "requests"
    assert quota.settle(new, "a", 3, NOON).spent == Spent()
    assert quota.settle(new, "a", 3, NOON).minutes.now == Spent(2, 8)
    assert quota.settle(old, "a", 3, NOON).spent == Spent(2, 4)


def test_the_asking_keys_limits_count() -> None:
    """Two keys of one principal share its account; each is measured by its own limits."""
    ledger, _ = reserve(Ledger(), Key("k", concurrent=5), "a")
    assert refused(ledger, Key("k", concurrent=1)).limit == "concurrent"
    assert reserve(ledger, Key("k", concurrent=2), "b")


@pytest.mark.parametrize(
    ("kind", "name", "previous", "later", "then"),
    [
        ("hour", "2026-11-21T12", "2026-11-21T11", NOON + 3600, "2026-11-21T13"),
        ("day", "2026-11-21", "2026-11-20", NOON + 86400, "2026-11-22"),
        ("month", "2026-11", "2026-10", NOON + 86400 * 11, "2026-12"),
        ("total", "total", "", NOON * 2, "total"),
    ],
)
def test_windows_have_names(kind: quota.Window, name: str, previous: str, later: float, then: str) -> None:
    """By which their kind, the one before and the present one are told."""
    assert quota.window(Budget(1, window=kind), NOON) == name
    assert quota.window_kind(name) == kind
    assert quota.previous(name, NOON) == previous
    assert quota.following(name, later) == then
    assert (quota.lasts_s(name, NOON) == 0) is (kind == "total")


def test_without_a_budget_a_window_is_a_day() -> None:
    """So that what was used can be looked up."""
    assert quota.window(None, NOON) == "2026-11-21"


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        (codec.decode_request(b'{"input": "12345"}'), 2 + 100),
        (codec.decode_request(b'{"input": "12345", "params": {"max_tokens": 7}}'), 2 + 7),
        (codec.decode_request(b'{"input": "1234", "params": {"max_tokens": 7, "n": 2, "best_of": 3}}'), 1 + 21),
        (codec.decode_request('{"messages": [{"role": "user", "content": "\u00e4\u00e4"}]}'.encode()), 1 + 100),
        (codec.decode_embedding(b'{"input": ["1234", "12345678"]}'), 3),
        (codec.decode_rerank(b'{"query": "1234", "documents": ["1234", {"text": "1234"}]}'), 2 + 2),
    ],
)
def test_what_a_request_may_cost(request_: Request, tokens: int) -> None:
    """A token for four bytes of text, and the most that may be answered, of each text."""
    assert quota.estimate(request_, 100) == tokens


def test_tools_and_what_was_said_before_cost_as_well() -> None:
    """The model reads all of it."""
    plain = codec.decode_request(b'{"messages": [{"role": "user", "content": "hi"}]}')
    tool = b'{"type": "function", "function": {"name": "f", "description": "' + b"d" * 400 + b'"}}'
    tools = codec.decode_request(b'{"messages": [{"role": "user", "content": "hi"}], "tools": [' + tool + b"]}")
    assert quota.estimate(tools, 0) >= quota.estimate(plain, 0) + 100


def test_a_ledger_is_what_it_was_after_a_way_over_the_bus() -> None:
    """As JSON."""
    ledger, _ = reserve(Ledger(), Key("k", rpm=5), "a", 3)
    assert msgspec.json.decode(msgspec.json.encode(ledger), type=Ledger) == ledger
    assert msgspec.json.encode(Ledger()) == b'{"holds":{}}'
    assert Hold(1, 2.0, 3) == msgspec.json.decode(b"[1,2.0,3]", type=Hold)


MONEY = Key("k", budget=Budget(1_000_000, "usd", "day"))


def billed(ledger: Ledger, call: str, micros: int, key: Key = MONEY, now: float = NOON) -> Ledger:
    ledger, outcome = quota.bill(ledger, key, call, micros, now + 60, now)
    assert isinstance(outcome, Reserved), outcome
    return ledger


def test_money_is_held_for_a_call_and_paid_by_what_it_took() -> None:
    """The caller is told what is left, and that in dollars; a call that failed costs nothing."""
    ledger = billed(billed(Ledger(), "a", 600_000), "b", 300_000)
    ledger, told = quota.bill(ledger, MONEY, "c", 200_000, NOON + 60, NOON)
    assert isinstance(told, Refused)
    error = told.error("k")
    assert isinstance(error, RateLimitedError)
    assert error.message == "The key k has a budget of $1, and less of it is left than the $0.20 of this request"
    assert error.details["limit"] == "budget"
    assert error.retry_after_ms == 1000  # those on their way may cost less
    ledger = quota.pay(ledger, "a", 450_000, NOON)
    left = quota.allowances(ledger, MONEY, NOON)
    assert left.budget_unit == "usd"
    assert left.budget is not None
    assert (left.budget.limit, left.budget.remaining) == (1_000_000, 250_000)
    ledger = quota.pay(quota.pay(ledger, "b", 0, NOON), "b", 0, NOON)
    assert (ledger.spent, ledger.bills) == (Spent(micros=450_000), {})
    assert quota.pay(ledger, "a", 450_000, NOON) == ledger


def test_a_call_that_alone_costs_more_than_the_budget_is_told_so() -> None:
    """It will never be made; when a budget is used up, it is there again with its window."""
    _, told = quota.bill(Ledger(), MONEY, "a", 1_000_001, NOON + 60, NOON)
    assert isinstance(told, Refused)
    assert (told.error("k").code, told.too_large) == ("OVER_LIMIT", True)
    spent = quota.pay(billed(Ledger(), "a", 1_000_000), "a", 1_000_000, NOON)
    _, told = quota.bill(spent, MONEY, "b", 1, NOON + 60, NOON)
    assert isinstance(told, Refused)
    assert told.retry_after_s == 12 * 3600
    assert "ROUTER_BUDGET has a budget of $1" in told.error("k", "ROUTER_BUDGET").message


def test_a_budget_in_money_lets_requests_come_that_clouds_may_not_answer() -> None:
    """A local model costs nothing: the ingress holds no money, however little is left."""
    spent = quota.pay(billed(Ledger(), "a", 1_000_000), "a", 1_000_000, NOON)
    ledger, told = reserve(spent, MONEY, "job", 10_000)
    assert told.allowances.budget is not None
    assert told.allowances.budget.remaining == 0
    assert quota.settle(ledger, "job", 7, NOON).spent == Spent(1, 7, 1_000_000)


def test_a_bill_that_nobody_pays_is_gone_after_its_time() -> None:
    """As a hold is; the money can be spent."""
    ledger = billed(Ledger(), "a", 1_000_000)
    assert isinstance(quota.bill(ledger, MONEY, "b", 1, NOON + 99, NOON + 59)[1], Refused)
    assert billed(ledger, "b", 1_000_000, now=NOON + 60).bills.keys() == {"b"}


def test_a_bill_is_paid_in_the_window_in_which_it_came() -> None:
    """The next one knows of it, and does not count it."""
    old = billed(Ledger(), "a", 400_000)
    new = old.carried()
    assert billed(new, "b", 1_000_000).bills.keys() == {"a", "b"}
    assert quota.pay(new, "a", 300_000, NOON).spent == Spent()
    assert quota.pay(old, "a", 300_000, NOON).spent == Spent(micros=300_000)


def test_records_of_before_money_are_read() -> None:
    """They have neither bills nor micros, and say so again as long as there are none."""
    stored = b'{"spent":{"requests":3,"tokens":9},"holds":{"m/a":[5,99.0,1]}}'
    ledger = msgspec.json.decode(stored, type=Ledger)
    assert ledger.spent == Spent(3, 9)
    assert b"bills" not in msgspec.json.encode(ledger)
    with_bill = billed(Ledger(), "a", 5)
    assert msgspec.json.decode(msgspec.json.encode(with_bill), type=Ledger) == with_bill


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["bill", "pay", "fail", "wait"]), st.integers(0, 7), st.integers(1, 12)), max_size=60
    ),
    amount=st.integers(1, 40),
)
def test_nobody_ever_spends_more_money_than_the_budget(steps: list[tuple[str, int, int]], amount: int) -> None:
    """Whatever comes and goes, where calls take at most what was held for them."""
    key, ledger, now = Key("k", budget=Budget(amount, "usd", "total")), Ledger(), NOON
    for step, call, micros in steps:
        if step == "bill":
            ledger, _ = quota.bill(ledger, key, str(call), micros, now + 20, now)
        elif step == "pay" and str(call) in ledger.bills:
            ledger = quota.pay(ledger, str(call), ledger.bills[str(call)].micros - micros % 2, now)
        elif step == "fail":
            ledger = quota.pay(ledger, str(call), 0, now)
        else:
            now += micros * 3
        assert 0 <= ledger.spent.micros + sum(bill.micros for bill in ledger.bills.values()) <= amount


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "release", "wait"]),
        st.integers(0, 7),
        st.integers(1, 12),
        st.floats(0, 1),
    ),
    max_size=60,
)


@given(steps=STEPS, unit=st.sampled_from(["tokens", "requests"]), amount=st.integers(1, 40))
def test_nobody_ever_spends_more_than_the_budget(
    steps: list[tuple[str, int, int, float]], unit: str, amount: int
) -> None:
    """Whatever comes and goes, where requests use at most what they reserved; and nothing is ever below nothing."""
    key = Key("k", concurrent=4, budget=Budget(amount, "requests" if unit == "requests" else "tokens", "total"))
    ledger, now = Ledger(), NOON
    for step, job, tokens, share in steps:
        name = str(job)
        if step == "reserve":
            ledger, _ = quota.reserve(ledger, key, name, tokens, now + 20, now)
        elif step == "settle" and name in ledger.holds:
            ledger = quota.settle(ledger, name, int(ledger.holds[name].tokens * share), now)
        elif step == "release":
            ledger = quota.release(ledger, name, now)
        else:
            now += tokens * 3
        held = len(ledger.holds) if unit == "requests" else sum(hold.tokens for hold in ledger.holds.values())
        spent = ledger.spent.requests if unit == "requests" else ledger.spent.tokens
        assert 0 <= spent <= spent + held <= amount
        assert len(ledger.holds) <= 4
        assert min(ledger.minutes.now.requests, ledger.minutes.now.tokens, ledger.minutes.before.tokens) >= 0


@given(used=st.dictionaries(st.integers(0, 9), st.integers(0, 50), min_size=1), random=st.randoms())
def test_the_order_in_which_requests_end_does_not_matter(used: dict[int, int], random: object) -> None:
    """The account is the same."""
    ledger = Ledger()
    for job in used:
        ledger, _ = reserve(ledger, Key("k", tpm=10_000), str(job), 50)
    ends = list(used.items())
    first = second = ledger
    for job, tokens in ends:
        first = quota.settle(first, str(job), tokens, NOON)
    random.shuffle(ends)  # type: ignore[attr-defined]
    for job, tokens in ends:
        second = quota.settle(second, str(job), tokens, NOON)
    assert first == second
    assert first.spent == Spent(len(used), sum(used.values()))


def test_what_the_fleet_could_not_answer_is_no_request_of_a_budget() -> None:
    """Three broken engines use up no budget of three requests; the account is as new."""
    key = Key("k", budget=Budget(3, "requests", "total"))
    ledger = Ledger()
    for job in "abc":
        ledger = quota.settle(reserve(ledger, key, job)[0], job, 0, NOON, answered=False)
    assert ledger.spent.requests == 0
    left = quota.allowances(ledger, key, NOON).budget
    assert left is not None
    assert left.remaining == 3


def test_a_new_keys_budget_has_an_end_too() -> None:
    """Its first answer says when the window is over, though nothing is used."""
    left = quota.allowances(Ledger(), Key("k", budget=Budget(3, "requests", "day")), NOON).budget
    assert left is not None
    assert left.reset_s == 12 * 3600


def test_dollars_are_told_as_dollars() -> None:
    """What a budget in money allows is not told in millionths, which look like dollars."""
    key = Key("k", budget=Budget(2_500_000, "usd", "day"))
    _, outcome = quota.bill(Ledger(), key, "call", 3_000_000, NOON + 60, NOON)
    assert isinstance(outcome, quota.Refused)
    details = outcome.error("k").details
    assert (details["allowed_usd"], "allowed" in details) == (2.5, False)
