"""How long was there something to hear?

A clock that stands while the bus is away and while this process sleeps, so that nobody is called silent for what this
monitor did not hear. Moments on it can be told as moments of the ordinary clock.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

_PAUSES: Final = 64
"""So many are remembered; moments before the oldest are taken to be of its time."""


class HeardTime:
    """Seconds on `clock`, less those in which nothing could be heard."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lost = 0.0
        self._stands_at: float | None = None
        self._pauses: deque[tuple[float, float]] = deque([(float("-inf"), 0.0)], _PAUSES)
        """From which moment on how much had been lost."""

    def __call__(self) -> float:
        """Now."""
        return self._stands_at if self._stands_at is not None else self._clock() - self._lost

    def stop(self) -> None:
        """From now on nothing can be heard."""
        if self._stands_at is None:
            self._stands_at = self._clock() - self._lost

    def go(self) -> None:
        """It can, again."""
        if self._stands_at is not None:
            moment, self._stands_at = self._stands_at, None
            self._lose(moment, self._clock() - self._lost - moment)

    def slept(self, seconds: float) -> None:
        """For so long this process did not run, until now."""
        if self._stands_at is None and seconds > 0:
            self._lose(self._clock() - self._lost - seconds, seconds)

    def ordinary(self, moment: float) -> float:
        """A moment of this clock on the ordinary one."""
        lost = next((lost for since, lost in reversed(self._pauses) if moment > since), self._pauses[0][1])
        return moment + lost

    def _lose(self, moment: float, seconds: float) -> None:
        self._lost += seconds
        self._pauses.append((moment, self._lost))
