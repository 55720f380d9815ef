"""How long was there something to hear?

A clock that stands while the bus is away and while this process sleeps, so that nobody is called silent for what this
monitor did not hear. Moments on it can be told as moments of the ordinary clock.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

ASLEEP_S: Final = 3.0
"""So long only a process that did not run leaves a clock alone that it looks at all the time."""
_RAN_S: Final = 1.0
"""Of that time it may have run so much."""
_PAUSES: Final = 64
"""So many are remembered; moments before the oldest are taken to be of its time."""


class HeardTime:
    """Seconds on `clock`, less those in which nothing could be heard."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lost = 0.0
        self._stands_at: float | None = None
        self._looked_at: float | None = None
        """When it was looked at last; None while nobody does all the time."""
        self._pauses: deque[tuple[float, float]] = deque([(float("-inf"), 0.0)], _PAUSES)
        """From which moment on how much had been lost."""

    def __call__(self) -> float:
        """Now. Whoever looks first after a sleep, be it for a message that lay there meanwhile, finds it left out."""
        now = self._clock()
        away_s = now - self._looked_at if self._looked_at is not None else 0.0
        self._looked_at = now if self._looked_at is not None else None
        if self._stands_at is not None:
            return self._stands_at
        if away_s > ASLEEP_S:
            slept_s = away_s - _RAN_S
            self._lose(now - self._lost - slept_s, slept_s)
        return now - self._lost

    def runs(self) -> None:
        """From now on it is looked at all the time: when nobody did for ASLEEP_S, this process slept."""
        if self._looked_at is None:
            self._looked_at = self._clock()

    def stop(self) -> None:
        """From now on nothing can be heard."""
        self._stands_at = self()

    def go(self) -> None:
        """It can, again."""
        moment = self()
        if self._stands_at is not None:
            self._stands_at = None
            self._lose(moment, self._clock() - self._lost - moment)

    def ordinary(self, moment: float) -> float:
        """A moment of this clock on the ordinary one."""
        lost = next((lost for since, lost in reversed(self._pauses) if moment > since), self._pauses[0][1])
        return moment + lost

    def _lose(self, moment: float, seconds: float) -> None:
        self._lost += seconds
        self._pauses.append((moment, self._lost))
