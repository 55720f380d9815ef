"""How much happens, and how fast?

Processes count since they began; differences over the last seconds are rates. Idle processes report every ten seconds,
so that is the least to look back. Pure: times come in with what was counted.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Final, Generic, TypeVar

from msgspec import Struct

from golek_wire.signals import Traffic

WINDOW_S: Final = 9.5
"""Rates are over this time at least: an idle process reports every 10 s."""
STALE_S: Final = 30.0
"""Of a process that was not heard for so long nothing is told."""
THIN_S: Final = 0.8
"""Reports that come closer together count as one."""
MINUTE_S: Final = 60.0
LISTED: Final = 32
"""So many principals does a process name (`Traffic.refusals`)."""

Name = TypeVar("Name", bound=Hashable)


class Rate(Struct, frozen=True):
    """What happened in a second, on average."""

    requests: float = 0.0
    errors: float = 0.0
    answered: float = 0.0
    answered_ms: float = 0.0
    tokens: float = 0.0

    @property
    def response_ms(self) -> float | None:
        """How long an answer took, on average; None without one."""
        return round(self.answered_ms / self.answered, 1) if self.answered else None


Sample = tuple[float, int, int, int, float, int]
"""When, and `Rate`'s five as they were counted."""


class _Process:
    """The counters of one process over the last seconds."""

    __slots__ = ("incarnation", "rate", "samples", "traffic")

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.samples: deque[Sample] = deque()
        self.traffic = Traffic()
        self.rate: Rate | None = None


class Rates:
    """The rates of all processes of a kind, by id."""

    def __init__(self) -> None:
        self._processes: dict[str, _Process] = {}

    def counted(self, process_id: str, incarnation: str, traffic: Traffic, now: float) -> Traffic | None:
        """It counted this, now. What it had counted before; None where it began anew or is heard for the first time."""
        known = self._processes.get(process_id)
        anew = known is None or known.incarnation != incarnation or _fell(known.traffic, traffic)
        if known is None or anew:
            known = self._processes[process_id] = _Process(incarnation)
        before, known.traffic = known.traffic, traffic
        samples = known.samples
        if len(samples) > 1 and now - samples[-2][0] < THIN_S:
            samples.pop()
        samples.append(
            (now, traffic.requests, traffic.errors, traffic.answered, traffic.answered_ms, traffic.tokens_out)
        )
        while len(samples) > 2 and samples[1][0] <= now - WINDOW_S:
            samples.popleft()
        known.rate = _between(samples[0], samples[-1])
        return None if anew else before

    def of(self, process_id: str, now: float) -> Rate | None:
        """Its rates; None where they are not known."""
        known = self._processes.get(process_id)
        if known is None or now - known.samples[-1][0] > STALE_S:
            return None
        return known.rate

    def forget(self, now: float) -> None:
        """Let go of processes of which nothing is told any more."""
        self._processes = {key: one for key, one in self._processes.items() if now - one.samples[-1][0] <= 2 * STALE_S}


class Recently(Generic[Name]):
    """How often some things happened lately, by name."""

    def __init__(self, window_s: float = MINUTE_S) -> None:
        self._window_s = window_s
        self._seconds: dict[Name, deque[tuple[int, int]]] = {}
        """By name: the second, and how often in it."""
        self._totals: dict[Name, int] = {}

    def add(self, name: Name, count: int, now: float) -> None:
        """It happened so often, now."""
        if count <= 0:
            return
        seconds, second = self._seconds.setdefault(name, deque()), int(now)
        self._totals[name] = self._totals.get(name, 0) + count
        if seconds and seconds[-1][0] == second:
            count += seconds.pop()[1]
        seconds.append((second, count))

    def totals(self, now: float) -> dict[Name, int]:
        """How often each happened within the window; what did not is left out, and forgotten."""
        oldest = now - self._window_s
        for name, seconds in list(self._seconds.items()):
            while seconds and seconds[0][0] <= oldest:
                self._totals[name] -= seconds.popleft()[1]
            if not seconds:
                del self._seconds[name], self._totals[name]
        return dict(self._totals)


def joined(rates: Sequence[Rate]) -> Rate | None:
    """Of several processes together; None without any."""
    if not rates:
        return None
    return Rate(
        sum(rate.requests for rate in rates),
        sum(rate.errors for rate in rates),
        sum(rate.answered for rate in rates),
        sum(rate.answered_ms for rate in rates),
        sum(rate.tokens for rate in rates),
    )


def refused_since(before: Traffic | None, now: Traffic) -> dict[tuple[str, int], int]:
    """How often each principal was refused with each status since `before`.

    Processes name those alone that they refused most often: one that is new among a full list was refused before, too,
    nobody knows how often, and counts from now on.
    """
    if before is None or not now.refusals:
        return {}
    known = {(one.principal, one.status): one.count for one in before.refusals}
    full = len(known) >= LISTED
    found = {}
    for one in now.refusals:
        key = (one.principal, one.status)
        since = one.count - known[key] if key in known else 0 if full else one.count
        if since > 0:
            found[key] = since
    return found


def _fell(before: Traffic, now: Traffic) -> bool:
    return now.requests < before.requests or now.errors < before.errors or now.tokens_out < before.tokens_out


def _between(first: Sample, last: Sample) -> Rate | None:
    seconds = last[0] - first[0]
    if seconds < THIN_S:
        return None
    return Rate(
        (last[1] - first[1]) / seconds,
        (last[2] - first[2]) / seconds,
        (last[3] - first[3]) / seconds,
        (last[4] - first[4]) / seconds,
        (last[5] - first[5]) / seconds,
    )
