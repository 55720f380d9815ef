"""How many jobs of a model's queue should others answer?

Pure: of what is known of the model, a number.
"""

import math
from collections import deque
from typing import Final

from msgspec import Struct

ALL: Final = 1_000_000
"""More than a queue holds."""
FOREVER_S: Final = 1e6
LATE: Final = 1 / 3
"""The next job in line is late when less of its time is left than this part …"""
LATE_S: Final = 5.0
"""… or than so many seconds; who answers instead needs some, too."""
SURE: Final = 0.5
"""The model's own workers are trusted to start so many of the jobs that they should in the time that is left."""
PACE_S: Final = 20.0
MARGIN: Final = 1.5
"""So many times the usual is what a job may take."""


class Pace:
    """How many jobs the workers of a model start in a second, by what was seen while others waited."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def observe(self, now: float, starts: int, pending: int) -> float:
        """Jobs that were started so far, at `now`, while `pending` wait; the rate, 0 where it is not known."""
        if not pending or (self._seen and starts < self._seen[-1][1]):
            self._seen.clear()  # slots may have been idle; or the queue was made anew
            return 0.0
        self._seen.append((now, starts))
        while now - self._seen[0][0] > PACE_S:
            self._seen.popleft()
        (first_at, first), lasted_s = self._seen[0], now - self._seen[0][0]
        return (starts - first) / (now - first_at) if lasted_s >= PACE_S / 2 else 0.0


class Line(Struct, frozen=True):
    """A model's queue, and who works it off."""

    pending: int
    """Jobs that wait."""
    unacked: int
    """Jobs that were delivered and have not ended: of a worker that is gone they come back."""
    capacity: int
    in_rotation: bool
    """Whether a worker of the model is there and takes jobs."""
    is_coming: bool = False
    """Whether one is on its way for the first time, or loads."""
    rate: float = 0.0
    """Jobs that its workers end in a second; 0 where that is not known."""
    slots: int = 0
    """Jobs that run at once."""
    head_left_s: float = math.inf
    """Until the deadline of the next job in line."""
    head_budget_s: float = 0.0
    """What it had at first."""


def excess(line: Line, spill: float) -> int:
    """How many jobs others should answer; `spill` is the part of a queue from which on they may.

    1. Nobody is there: all, also those that come back from a worker that is gone.
    2. The queue is long: what is above `spill`.
    3. The next job in line runs out of time: all. 4. The workers will not have started all in the time that it has:
       what is too much, as far as it is known how quick they are.
    """
    if not line.in_rotation and not line.is_coming:
        return ALL if line.pending or line.unacked else 0
    over = line.pending - math.floor(spill * line.capacity) if line.capacity else 0
    if line.pending and is_late(line):
        over = line.pending  # a worker that is free comes first all the same
    elif line.pending and line.rate:
        over = max(over, line.pending - _startable(line))
    return max(0, over)


def _startable(line: Line) -> int:
    left_s = min(line.head_left_s, FOREVER_S) - job_s(line)
    return math.floor(SURE * line.rate * max(0.0, left_s))


def job_s(line: Line) -> float:
    """How long a job runs, with a margin; 0 where that is not known."""
    return MARGIN * line.slots / line.rate if line.rate else 0.0


def is_late(line: Line) -> bool:
    """Whether the next job in line has to be answered by others to be answered in time."""
    return line.head_left_s < max(LATE_S, LATE * line.head_budget_s, job_s(line))
