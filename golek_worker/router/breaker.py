"""When is a target asked no more, and when again?

A breaker is a value; what happens to its target makes the next one. `closed`: the target is asked. `open`: it failed
too often and is left alone for a while, each time for longer. `half_open`: that while is over, and one request finds
out. `limited`: the target itself said when it wants to be asked again; that is no failure.
"""

import math
from typing import Any, Final

import msgspec
from msgspec import Struct

from golek_wire.breakers import BreakerNote, BreakerState


class Rules(Struct, frozen=True):
    """When a breaker opens, and for how long."""

    failures: int = 5
    """In a row: so many open it."""
    share: float = 0.5
    """Of the last `counted` answers within `window_s`: so many failures open it, too."""
    counted: int = 20
    at_least: int = 10
    """Answers, before a share means anything."""
    window_s: float = 30.0
    cooldown_s: float = 1.0
    """The first time; twice as long each time that nothing succeeded in between."""
    cooldown_limit_s: float = 60.0
    jitter: float = 0.2
    """Of a cooldown, up or down, so that routers do not try at the same moment."""
    proven_s: float = 300.0
    """Who answered within this time is trusted with any number of requests."""
    probe_s: float = 15.0
    """A probe without a verdict is given up after this time."""


RULES: Final = Rules()


class Breaker(Struct, frozen=True):
    """What is known of one target. Times are of one monotonic clock."""

    state: BreakerState = "closed"
    until: float = 0.0
    """End of a cooldown, or of the time that a probe has."""
    failures: int = 0
    """In a row, here."""
    elsewhere: tuple[tuple[str, int], ...] = ()
    """In a row, as other routers say, by their names."""
    opened: int = 0
    """How often in a row, without an answer in between."""
    why: str = ""
    proven_at: float = -math.inf
    """When it answered last."""
    answers: tuple[tuple[float, bool], ...] = ()
    """The last ones: when, and whether they were failures."""

    @property
    def all_failures(self) -> int:
        """In a row, of all routers."""
        return self.failures + sum(count for _, count in self.elsewhere)

    def is_proven(self, now: float, rules: Rules = RULES) -> bool:
        """Whether it answered lately, and did not fail since."""
        return self.all_failures == 0 and now - self.proven_at < rules.proven_s

    def state_at(self, now: float) -> BreakerState:
        """The state at `now`: cooldowns end by themselves, and so does a probe that nobody heard of again."""
        if self.state == "open" and now >= self.until:
            return "half_open"
        if self.state == "limited" and now >= self.until:
            return "closed"
        return self.state

    def is_probed(self, now: float) -> bool:
        """Whether a request is under way that will tell whether it is back."""
        return self.state == "half_open" and now < self.until

    def left_s(self, now: float) -> float:
        """Until it may be asked again."""
        return max(0.0, self.until - now) if self.state != "closed" else 0.0


def answered(breaker: Breaker, now: float, rules: Rules = RULES) -> Breaker:
    """It answered, or began to. A cooldown or pause is not cut short by requests that were under way when it began."""
    match breaker.state_at(now):
        case "open":
            return breaker
        case "limited":
            return _replaced(breaker, failures=0, elsewhere=(), proven_at=now)
        case "half_open":
            return Breaker(proven_at=now)
        case "closed":
            return Breaker(proven_at=now, answers=_with(breaker, now, failed=False, rules=rules))


def failed(
    breaker: Breaker, now: float, why: str, draw: float, retry_after_s: float = 0.0, rules: Rules = RULES
) -> Breaker:
    """It did not answer, or said that it cannot; `retry_after_s` as it said. `draw` in [0, 1) makes the jitter."""
    if breaker.state_at(now) in ("open", "limited"):  # one of those that were under way when it opened
        return breaker
    answers = _with(breaker, now, failed=True, rules=rules)
    after = _replaced(breaker, failures=breaker.failures + 1, answers=answers, why=why)
    if breaker.state_at(now) == "half_open" or _is_too_much(after, rules):
        return _opened(after, now, draw, retry_after_s, rules)
    return after


def limited(breaker: Breaker, now: float, retry_after_s: float, why: str = "") -> Breaker:
    """It is well and wants to be left alone for exactly so long."""
    state = breaker.state_at(now)
    if state == "open":
        return breaker
    until = now + retry_after_s
    if state == "limited":
        until = max(until, breaker.until)
    return _replaced(breaker, state="limited", until=until, why=why or "it asked for a pause")


def probing(breaker: Breaker, now: float, rules: Rules = RULES) -> Breaker:
    """One request goes there to find out whether it is back; others wait for its verdict."""
    return _replaced(breaker, state="half_open", until=now + rules.probe_s)


def unprobed(breaker: Breaker, now: float) -> Breaker:
    """The probe ended without a verdict: another one may begin."""
    return _replaced(breaker, state="open", until=now)


def doubted(breaker: Breaker) -> Breaker:
    """Nothing was heard of it for too long, though requests wait there: it has to prove itself again."""
    return _replaced(breaker, proven_at=-math.inf)


def heard(breaker: Breaker, note: BreakerNote, now: float, until: float, rules: Rules = RULES) -> Breaker:
    """What another router found out; `until` is the note's, on this clock."""
    if note.state == "closed" and note.proven:
        return Breaker(proven_at=now) if breaker.state_at(now) == "open" else answered(breaker, now, rules)
    elsewhere = tuple(sorted({**dict(breaker.elsewhere), note.router: note.failures}.items()))
    breaker = _replaced(breaker, elsewhere=elsewhere)
    if note.state == "closed":
        if _is_too_much(breaker, rules) and breaker.state_at(now) == "closed":
            return _opened(breaker, now, 0.5, 0.0, rules)
        return breaker
    if until <= now or (breaker.state_at(now) == "open" and note.state == "limited"):
        return breaker
    return _replaced(breaker, state=note.state, until=until, opened=max(note.opened, breaker.opened), why=note.why)


def _opened(breaker: Breaker, now: float, draw: float, retry_after_s: float, rules: Rules) -> Breaker:
    opened = breaker.opened + 1
    cooldown_s = min(rules.cooldown_limit_s, rules.cooldown_s * 2 ** min(opened - 1, 30))
    cooldown_s *= 1 + rules.jitter * (2 * draw - 1)
    return _replaced(
        breaker,
        state="open",
        until=now + max(cooldown_s, retry_after_s),
        opened=opened,
        proven_at=-math.inf,
        answers=(),
    )


def _is_too_much(breaker: Breaker, rules: Rules) -> bool:
    if breaker.all_failures >= rules.failures:
        return True
    counted = len(breaker.answers)
    return counted >= rules.at_least and sum(bad for _, bad in breaker.answers) >= rules.share * counted


def _with(breaker: Breaker, now: float, *, failed: bool, rules: Rules) -> tuple[tuple[float, bool], ...]:
    recent = [one for one in breaker.answers if now - one[0] < rules.window_s]
    return (*recent[-rules.counted + 1 :], (now, failed))


def _replaced(breaker: Breaker, **changes: Any) -> Breaker:
    return msgspec.structs.replace(breaker, **changes)
