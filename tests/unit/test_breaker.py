"""The breaker of one target: values and their changes."""

import pytest

from golek_wire.breakers import BreakerNote
from golek_worker.router.breaker import RULES, Breaker, answered, failed, heard, limited, probing, unprobed


def failures(count: int, breaker: Breaker = Breaker(), *, at: float = 0.0, step: float = 0.0) -> Breaker:  # noqa: B008
    for n in range(count):
        breaker = failed(breaker, at + n * step, "502", 0.5)
    return breaker


def test_five_failures_in_a_row_open_it() -> None:
    """Four do not, and an answer in between begins the count anew."""
    four = failures(4)
    assert four.state_at(0) == "closed"
    assert failures(1, four).state_at(0) == "open"
    assert failures(4, answered(four, 0)).state_at(0) == "closed"


def test_half_of_the_answers_failed_open_it() -> None:
    """Failures that never come five in a row are found, too, as long as they are recent."""

    def mixed(step: float) -> Breaker:
        breaker = Breaker()
        for n in range(12):
            now = n * step
            breaker = answered(breaker, now) if n % 2 else failed(breaker, now, "502", 0.5)
        return failed(breaker, 12 * step, "502", 0.5)

    assert mixed(0.1).state == "open"
    assert mixed(RULES.window_s / 5).state == "closed"


def test_a_cooldown_grows_until_it_answers() -> None:
    """Each probe that fails doubles the time, up to the limit; an answer forgets all that."""
    breaker, now, lengths = failures(5), 0.0, list[float]()
    for _ in range(8):
        lengths.append(breaker.until - now)
        now = breaker.until
        assert breaker.state_at(now) == "half_open"
        breaker = failed(probing(breaker, now), now, "502", 0.5)
    assert lengths == [1, 2, 4, 8, 16, 32, 60, 60]
    assert answered(breaker, breaker.until) == Breaker(proven_at=breaker.until)


@pytest.mark.parametrize(("draw", "length"), [(0.0, 0.8), (0.5, 1.0), (0.999, 1.1996)])
def test_cooldowns_differ_by_the_jitter(draw: float, length: float) -> None:
    """Two routers do not try at the same moment."""
    assert failed(failures(4), 0.0, "502", draw).until == pytest.approx(length)


def test_a_failure_may_say_when_to_come_back() -> None:
    """A provider's Retry-After counts where it is longer than the cooldown."""
    assert failed(failures(4), 10.0, "503", 0.5, retry_after_s=7.0).until == 17.0
    assert failed(failures(4), 10.0, "503", 0.5, retry_after_s=0.1).until == 11.0


def test_a_pause_is_honoured_exactly_and_is_no_failure() -> None:
    """After a Retry-After requests go there again as if nothing had been; the later of two counts."""
    breaker = limited(failures(3), 10.0, 2.5)
    assert (breaker.state_at(12.49), breaker.state_at(12.5)) == ("limited", "closed")
    assert breaker.all_failures == 3
    assert limited(breaker, 11.0, 0.5).until == 12.5
    assert limited(failures(5), 0.5, 0.1).state == "open"


def test_one_probe_at_a_time() -> None:
    """While a probe is under way no other one begins; one without a verdict is given up."""
    probe = probing(failures(5), 1.0)
    assert probe.is_probed(1.0)
    assert not probe.is_probed(1.0 + RULES.probe_s)
    assert not unprobed(probe, 2.0).is_probed(2.0)
    assert unprobed(probe, 2.0).state_at(2.0) == "half_open"


def test_late_failures_do_not_prolong_a_cooldown() -> None:
    """Requests that were under way when it opened failed for the same reason."""
    opened = failures(5)
    assert failed(opened, 0.5, "502", 0.5) == opened


def test_those_that_were_under_way_cut_nothing_short() -> None:
    """An answer to an older request ends neither a cooldown nor a pause."""
    assert answered(failures(5), 0.5).state_at(0.6) == "open"
    assert answered(limited(Breaker(), 0.0, 2.0), 0.5).state_at(0.6) == "limited"


def test_failures_of_several_routers_are_counted_together() -> None:
    """Two here and three there open it; an answer anywhere forgets them."""
    here = failures(2)
    two = heard(here, BreakerNote("t", "r2", "closed", failures=2), 0.0, 0.0)
    assert (two.all_failures, two.state) == (4, "closed")
    assert heard(two, BreakerNote("t", "r2", "closed", failures=3), 0.0, 0.0).state == "open"
    assert heard(two, BreakerNote("t", "r2", "closed", proven=True), 0.0, 0.0).all_failures == 0


def test_what_another_router_opened_is_open() -> None:
    """Until the same moment; a word that is over changes nothing."""
    note = BreakerNote("t", "r2", "open", failures=5, opened=3, why="502")
    breaker = heard(Breaker(), note, 10.0, 14.0)
    assert (breaker.state_at(13.9), breaker.state_at(14.0)) == ("open", "half_open")
    assert failed(breaker, 14.0, "502", 0.5).until == 22.0
    assert heard(Breaker(), note, 20.0, 14.0).state == "closed"
