"""How much happens, and how fast?

Processes count since they began; what came in the last ten seconds makes rates. All are over the same time, so that
they can be added: a process that says nothing counts nothing, for it reports within a second when something ended, or
runs. Pure: times come in with what was counted.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Final, Generic, TypeVar

from msgspec import Struct

from golek_wire.signals import Traffic

WINDOW_S: Final = 10.0
"""Rates are over this time; over all there is where the monitor itself has not listened for so long."""
SPREAD_S: Final = 1.5
"""What a report brings happened in so long before it: where something runs, or has ended, one comes each second."""
AGE_S: Final = 0.5
"""So old is the last report of a busy process on average: who says nothing has done nothing until then."""
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
    refused: float = 0.0
    answered: float = 0.0
    answered_ms: float = 0.0
    tokens: float = 0.0
    cost_usd: float = 0.0

    @property
    def response_ms(self) -> float | None:
        """How long an answer took, on average; None without one."""
        return round(self.answered_ms / self.answered, 1) if self.answered else None


Counts = tuple[float, ...]
"""`Rate`'s seven, as they were counted."""
_NOTHING: Final[Counts] = (0.0,) * 7


class _Process:
    """The counters of one process over the last seconds, as if it had never been restarted."""

    __slots__ = ("incarnation", "samples", "traffic")

    def __init__(self, incarnation: str, traffic: Traffic, now: float) -> None:
        self.incarnation = incarnation
        self.traffic = traffic
        self.samples: deque[tuple[float, Counts]] = deque([(now, _NOTHING)])
        """When, and what was counted since it was heard first."""


class Rates:
    """The rates of all processes of a kind, by id."""

    def __init__(self) -> None:
        self._processes: dict[str, _Process] = {}
        self._began: float | None = None
        """When the first one was heard."""

    def counted(self, process_id: str, incarnation: str, traffic: Traffic, now: float) -> Traffic | None:
        """It counted this, now. What it had counted before; None where it began anew or is heard for the first time."""
        if self._began is None:
            self._began = now
        known = self._processes.get(process_id)
        if known is None:
            self._processes[process_id] = _Process(incarnation, traffic, now)
            return None
        anew = known.incarnation != incarnation or _fell(known.traffic, traffic)
        before, known.traffic, known.incarnation = known.traffic, traffic, incarnation
        samples = known.samples
        total = samples[-1][1]
        if not anew:
            more = zip(total, _counts(traffic), _counts(before), strict=True)
            total = tuple(so_far + to - since for so_far, to, since in more)
        if len(samples) > 1 and now - samples[-2][0] < THIN_S:
            samples.pop()
        samples.append((now, total))
        while len(samples) > 2 and samples[1][0] <= now - WINDOW_S - SPREAD_S:
            samples.popleft()
        return None if anew else before

    def of(self, process_id: str, now: float) -> Rate | None:
        """Its rates; None where they are not known."""
        known = self._processes.get(process_id)
        if known is None or self._began is None:
            return None
        samples = known.samples
        last_at, last = samples[-1]
        if now - last_at > STALE_S:
            return None
        end = last_at if now - last_at < SPREAD_S else now - AGE_S
        seconds = min(WINDOW_S, end - self._began)
        if seconds < THIN_S or (len(samples) == 1 and end - last_at < THIN_S):
            return None
        begin = end - seconds
        while len(samples) > 1 and samples[1][0] <= begin:
            samples.popleft()
        return Rate(*((to - since) / seconds for to, since in zip(last, _at(samples, begin), strict=True)))

    def cost_usd(self, process_id: str) -> float | None:
        """What clouds took since it began; None for nothing."""
        known = self._processes.get(process_id)
        return (known.traffic.cost_usd or None) if known is not None else None

    def deaf(self) -> None:
        """Nothing could be heard for a while: what was counted meanwhile is nobody's burst."""
        self._processes.clear()
        self._began = None

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
        sum(rate.refused for rate in rates),
        sum(rate.answered for rate in rates),
        sum(rate.answered_ms for rate in rates),
        sum(rate.tokens for rate in rates),
        sum(rate.cost_usd for rate in rates),
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


def _counts(traffic: Traffic) -> Counts:
    return (
        float(traffic.requests), float(traffic.errors), float(traffic.refused), float(traffic.answered),
        traffic.answered_ms, float(traffic.tokens_out), traffic.cost_usd,
    )  # fmt: skip


def _at(samples: Sequence[tuple[float, Counts]], moment: float) -> Counts:
    """What was counted by this moment, which at most the first of `samples` precedes."""
    first_at, first = samples[0]
    if len(samples) == 1 or moment <= first_at:
        return first
    next_at, following = samples[1]
    began = max(first_at, next_at - SPREAD_S)
    share = max(0.0, (moment - began) / (next_at - began))
    return tuple(was + share * (to - was) for was, to in zip(first, following, strict=True))
