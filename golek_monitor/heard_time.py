"""How long was there something to hear?

A clock that stands while the bus is away and while this process sleeps, so that nobody is called silent for what this
monitor did not hear. Moments on it can be told as moments of the ordinary clock.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

ASLEEP_S: Final = 3.0
"""Of more time between two looks at this clock only so much counts: for a process that runs, less passes."""
_PAUSES: Final = 64
"""So many are remembered; moments before the oldest are taken to be of its time."""


class HeardTime:
    """Seconds on `clock`, less those in which nothing could be heard. It never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lost = 0.0
        self._looked_at = clock()
        self._stands_at: float | None = None
        self._pauses: deque[tuple[float, float]] = deque([(float("-inf"), 0.0)], _PAUSES)
        """From which moment on how much had been lost."""

    def __call__(self) -> float:
        """Now. Who asks first after this process was asleep notices it, so that no moment lies in the future."""
        if self._stands_at is not None:
            return self._stands_at
        before, self._looked_at = self._looked_at, self._clock()
        if (slept := self._looked_at - before - ASLEEP_S) > 0:
            self._lose(before - self._lost, slept)
        return self._looked_at - self._lost

    def stop(self) -> None:
        """From now on nothing can be heard."""
        self._stands_at = self()

    def go(self) -> None:
        """It can, again."""
        if self._stands_at is not None:
            moment, self._stands_at = self._stands_at, None
            self._looked_at = self._clock()
            self._lose(moment, self._looked_at - self._lost - moment)

    def ordinary(self, moment: float) -> float:
        """A moment of this clock on the ordinary one."""
        for since, lost in reversed(self._pauses):
            if moment > since:
                return moment + lost
        return moment + self._pauses[0][1]

    def _lose(self, moment: float, seconds: float) -> None:
        self._lost += seconds
        self._pauses.append((moment, self._lost))
