"""What the monitor makes of counters, over time."""

import pytest

from golek_monitor.heard_time import HeardTime
from golek_monitor.history import COARSE_S, SERIES, Figures, Histories
from golek_monitor.letters import Letters
from golek_monitor.rates import Rate, Rates, Recently, joined, refused_since
from golek_wire.signals import Refusals, Traffic


def counted(requests: int, **more: float) -> Traffic:
    return Traffic(requests=requests, answered=requests, answered_ms=requests * 100.0, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reports", "now", "expected"),
    [
        ([(0, "a", 100)], 0, None),
        ([(0, "a", 100)], 3, 0.0),
        ([(0, "a", 100), (1, "a", 105)], 1, 5.0),
        ([(0, "a", 0), (10, "a", 50), (20, "a", 50)], 20, 0.0),
        ([(0, "a", 0), (10, "a", 0), (20, "a", 50)], 20, 5.0),
        ([(0, "a", 0), (10, "a", 0), (20, "a", 50)], 25, 5.0),
        ([(0, "a", 0), (10, "a", 0), (20, "a", 50)], 32, 0.0),
        ([(second, "a", 3 * second) for second in range(60)], 59, 3.0),
        ([(1.37 * number, "a", 137 * number) for number in range(30)], 39.8, 100.0),
        ([(second, "a", 3 * second) for second in range(60)], 66, 1.05),
        ([(0, "a", 100), (1, "a", 110), (2, "b", 5)], 2, 5.0),
        ([(0, "a", 100), (1, "a", 110), (2, "b", 5), (4, "b", 15)], 4, 5.0),
        ([(0, "a", 100), (1, "a", 10)], 1, 0.0),
        ([(0, "a", 0), (0.1, "a", 1), (0.2, "a", 2), (1, "a", 10)], 1, 10.0),
    ],
    ids=[
        "one report is no rate", "who says nothing more does nothing", "two are", "idle", "a burst after idle times",
        "it stays in the window", "and leaves it", "each second", "at odd moments", "frozen six seconds ago",
        "restarted", "after a restart", "counters that fall are a restart", "a burst of reports",
    ],
)  # fmt: skip
def test_rates_are_differences_over_the_last_ten_seconds(
    reports: list[tuple[float, str, int]], now: float, expected: float | None
) -> None:
    """Requests in a second; nothing is told of one report, and what was counted before a restart stays counted."""
    rates = Rates()
    for at, incarnation, requests in reports:
        rates.counted("w", incarnation, counted(requests), at)
    rate = rates.of("w", now)
    assert (rate.requests if rate else None) == (None if expected is None else pytest.approx(expected))
    if rate and rate.requests:
        assert rate.response_ms == 100.0


def test_all_rates_are_over_the_same_time() -> None:
    """A worker that comes while others are heard adds no more than it did: it is counted over their ten seconds."""
    rates = Rates()
    for second in range(31):
        rates.counted("old", "a", counted(10 * min(second, 20) + 5 * max(0, second - 20)), float(second))
        if second >= 20:
            rates.counted("new", "a", counted(5 * (second - 20)), float(second))
            both = joined([one for name in ("old", "new") if (one := rates.of(name, float(second))) is not None])
            assert both is not None
            assert both.requests == pytest.approx(10.0, abs=0.51)


def test_who_is_silent_has_no_rates() -> None:
    """After half a minute nothing is told of it, and it is forgotten."""
    rates = Rates()
    rates.counted("w", "a", counted(0), 0.0)
    rates.counted("w", "a", counted(9), 1.0)
    assert rates.of("w", 31.0) is not None
    assert rates.of("w", 31.1) is None
    rates.forget(100.0)
    assert rates.counted("w", "a", counted(10), 100.0) is None


def test_money_has_a_rate() -> None:
    """As what is counted of it grows; a model that takes none just now has none to tell."""
    rates = Rates()
    for second in range(11):
        rates.counted("router", "a", Traffic(requests=second, cost_usd=second * 0.002), float(second))
    rate = rates.of("router", 10.0)
    assert rate is not None
    assert rate.cost_usd == pytest.approx(0.002)
    both = joined([rate, Rate()])
    assert both is not None
    assert both.cost_usd == rate.cost_usd
    assert (rates.cost_usd("router"), rates.cost_usd("worker")) == (0.02, None)


def test_rates_of_several_are_summed_and_their_answers_weighed() -> None:
    """Two replicas are as fast as their answers are on average, not as their averages are."""
    both = joined([Rate(requests=1, answered=1, answered_ms=100), Rate(requests=3, answered=3, answered_ms=900)])
    assert both is not None
    assert (both.requests, both.response_ms) == (4, 250.0)
    assert joined([]) is None


def test_what_happened_lately_is_forgotten_after_its_minute() -> None:
    """Counts within the window, and none behind it."""
    lately: Recently[str] = Recently(60)
    lately.add("a", 2, 0.0)
    lately.add("a", 3, 0.5)
    lately.add("a", 1, 30.0)
    lately.add("b", 0, 30.0)
    assert lately.totals(59.0) == {"a": 6}
    assert lately.totals(60.0) == {"a": 1}
    assert lately.totals(90.0) == {}


def refused(*counts: tuple[str, int]) -> Traffic:
    return Traffic(refusals=[Refusals(principal, 401, count) for principal, count in counts])


FULL = [(f"p{number}", 5) for number in range(32)]


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (None, refused(("a", 9)), {}),
        (refused(), refused(("a", 9)), {("a", 401): 9}),
        (refused(("a", 9)), refused(("a", 12)), {("a", 401): 3}),
        (refused(("a", 9)), refused(("a", 9)), {}),
        (refused(*FULL), refused(*FULL, ("late", 500)), {}),
    ],
    ids=["first report", "a new name", "one that is known", "nothing", "a new name among a full list"],
)
def test_refusals_are_counted_since_the_report_before(
    before: Traffic | None, now: Traffic, found: dict[tuple[str, int], int]
) -> None:
    """What was counted before this monitor listened, or while a name was not listed, is nobody's spike."""
    assert refused_since(before, now) == found


def figures(value: float | None) -> Figures:
    return (value,) * len(SERIES)


def test_history_has_each_second_of_five_minutes_and_every_ten_of_three_hours() -> None:
    """Lists run side by side, oldest first; what is older has gone, and a gap is a gap."""
    pasts = Histories()
    for second in range(4 * 3600):
        if not 14_000 <= second < 14_010:
            pasts.put("m", float(second), figures(float(second)))
    fine = pasts.read("m", 300)
    assert (fine.step_s, len(fine.at), fine.at[0], fine.at[-1]) == (1.0, 300, 14_100.0, 14_399.0)
    assert fine.series["pending"][-1] == 14_399.0
    coarse = pasts.read("m", 3 * 3600)
    assert (coarse.step_s, len(coarse.at)) == (10.0, COARSE_S // 10)
    assert coarse.series["pending"][-1] == pytest.approx(14_384.5)
    assert coarse.series["pending"][coarse.at.index(14_000.0)] is None
    assert [len(one) for one in coarse.series.values()] == [len(coarse.at)] * len(SERIES)


def test_history_tells_what_was_asked_for() -> None:
    """The last seconds of it; of a model that nobody knows, empty lists; unknown figures are None."""
    pasts = Histories()
    for second in range(20):
        pasts.put("m", 1000.0 + second, figures(None if second % 2 else 1.0))
    told = pasts.read("m", 4)
    assert told.at == [1016.0, 1017.0, 1018.0, 1019.0]
    assert told.series["active"] == [1.0, None, 1.0, None]
    assert pasts.read("other", 60).series["active"] == []


def test_history_outlives_a_clock_that_is_set_back() -> None:
    """It begins anew; a second that comes twice counts once."""
    pasts = Histories()
    for at in (1000.0, 1001.0, 1001.4, 500.0, 501.0):
        pasts.put("m", at, figures(at))
    assert pasts.read("m", 300).at == [500.0, 501.0]


def test_history_does_not_grow_with_names() -> None:
    """More than a thousand models have none, and models that are gone for hours are let go."""
    pasts = Histories()
    for number in range(1100):
        pasts.put(f"m{number}", 0.0, figures(1.0))
    assert pasts.read("m1099", 60).at == []
    pasts.forget(COARSE_S + 1.0)
    pasts.put("m1099", COARSE_S + 1.0, figures(1.0))
    assert len(pasts.read("m1099", 60).at) == 1


def test_dead_letters_that_lay_there_are_not_new() -> None:
    """New are those that came, and those that came unheard; corrections are none."""
    letters = Letters()
    letters.kept({"a": 5}, 0.0)
    assert (letters.of("a"), letters.new(1.0)) == (5, {})
    letters.came("a", 1.0)
    letters.kept({"a": 6, "b": 2}, 10.0)
    assert (letters.total, letters.new(11.0)) == (8, {"a": 1, "b": 2})
    letters.kept({"a": 1}, 20.0)
    assert (letters.total, letters.new(20.0)) == (1, {"a": 1, "b": 2})
    assert letters.new(700.0) == {}


class Clock:
    """Shows a time that is set, and is looked at each second on the way there."""

    def __init__(self) -> None:
        self.now = 100.0
        self.heard = HeardTime(lambda: self.now)

    def go_to(self, moment: float) -> float:
        while self.now < moment:
            self.now += 1.0
            self.heard()
        return self.heard()


def test_time_stands_while_nothing_can_be_heard() -> None:
    """Silence counts only while it could be broken; moments can be told by the ordinary clock."""
    clock = Clock()
    heard = clock.heard
    assert (clock.go_to(110.0), clock.go_to(120.0)) == (110.0, 120.0)
    heard.stop()
    assert clock.go_to(170.0) == 120.0
    heard.go()
    assert (heard(), clock.go_to(175.0)) == (120.0, 125.0)
    assert (heard.ordinary(105.0), heard.ordinary(122.0)) == (105.0, 172.0)


def test_a_process_that_slept_hears_nothing_from_the_future() -> None:
    """Whoever looks at the clock first, also for a message that waited, sees that it stood; it never goes back."""
    clock = Clock()
    heard = clock.heard
    clock.now = 3700.0
    message_at = heard()
    assert message_at == 103.0
    clock.now = 3700.5
    assert heard() == 103.5
    assert heard.ordinary(message_at) == 3700.0
    heard.stop()
    clock.now = 9000.0
    heard.go()
    assert (heard(), heard.ordinary(103.2), heard.ordinary(103.7)) == (103.5, 3700.2, 9000.2)
