"""What came to this process, and how did it end?

Counters since the process began, of a worker and of a gateway alike; who reads them takes differences.
"""

from typing import Final

from golek_wire.routing import CacheUse
from golek_wire.signals import Refusals, Traffic
from golek_wire.subjects import ANONYMOUS

TOLD: Final = 32
"""Refusals that are told: those of the principals that were refused most often."""
KEPT: Final = 1024
"""Principals that are counted apart, each with each status. Beyond that, the half that was refused least is forgotten
and begins at 0 when it comes again.
"""
REFUSED: Final = (401, 403, 429)
"""Statuses that are counted by who asked."""
FAILED: Final = 500
"""From this status on it failed here; below, who asked can do something about it."""


class Tally:
    """Counts what ended. Each call is some additions: it stands in the way of every request."""

    def __init__(self) -> None:
        self.requests = 0
        self.answered = 0
        self.answered_ms = 0.0
        self.errors = 0
        self.refused = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self.cache_hits = 0
        self.cache_misses = 0
        self.shared = 0
        """Jobs that the runs of equal ones answered, where nobody asked for a cache."""
        self.cost_usd = 0.0
        self._told_out = 0
        self._refusals: dict[tuple[str, int], int] = {}

    @property
    def unanswered(self) -> int:
        """Requests that ended in an error, whoever's fault it was."""
        return self.requests - self.answered

    def answer(self, ms: float) -> None:
        """A request was answered, `ms` after it began to run."""
        self.requests += 1
        self.answered += 1
        self.answered_ms += ms

    def fail(self, status: int) -> None:
        """A request that was let in ended in an error of this status."""
        self.requests += 1
        if status >= FAILED:
            self.errors += 1

    def refuse(self, status: int, principal: str = ANONYMOUS) -> None:
        """A request of `principal` was refused before it was queued; from FAILED on that is a failure."""
        self.fail(status)
        if status < FAILED:
            self.refused += 1
        if status in REFUSED:
            self.note_refusal(status, principal)

    def note_refusal(self, status: int, principal: str) -> None:
        """Count it by who asked."""
        key = (principal or ANONYMOUS, status)
        if key not in self._refusals and len(self._refusals) >= KEPT:
            self._refusals = dict(self._most_refused(KEPT // 2))
        self._refusals[key] = self._refusals.get(key, 0) + 1

    def tokens(self, read: int, written: int) -> None:
        """So many tokens were read and written for a request, however it ended."""
        self.tokens_in += read
        self.tokens_out += written

    def cached(self, use: CacheUse) -> None:
        """A job ended in which a cache had this part."""
        self.cache_hits += use == "hit"
        self.cache_misses += use == "miss"

    def cost(self, usd: float | None) -> None:
        """Clouds took so much for a request."""
        self.cost_usd += usd or 0.0

    def told(self, writing: int = 0) -> Traffic:
        """All of it, as reports carry it. `writing` is about how many tokens were written for requests that still run:
        a long answer counts as it is written. What is told of tokens never falls, though such a request may run anew.
        """
        self._told_out = max(self._told_out, self.tokens_out + writing)
        return Traffic(
            requests=self.requests,
            errors=self.errors,
            refused=self.refused,
            answered_ms=round(self.answered_ms, 1),
            answered=self.answered,
            tokens_in=self.tokens_in,
            tokens_out=self._told_out,
            cache_hits=self.cache_hits,
            cache_misses=self.cache_misses,
            cost_usd=round(self.cost_usd, 6),
            refusals=[Refusals(*key, count) for key, count in self._most_refused(TOLD)],
        )

    def _most_refused(self, at_most: int) -> list[tuple[tuple[str, int], int]]:
        return sorted(self._refusals.items(), key=lambda item: (-item[1], item[0]))[:at_most]
