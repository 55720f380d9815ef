"""How many jobs of a model's queue should others answer?

Pure: of what is known of the model, a number.
"""

import math
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
    """Jobs that its workers end in a second."""
    head_left_s: float = math.inf
    """Until the deadline of the next job in line."""
    head_budget_s: float = 0.0
    """What it had at first."""


def excess(line: Line, spill: float) -> int:
    """How many jobs others should answer; `spill` is the part of a queue from which on they may.

    1. Nobody is there: all, also those that come back from a worker that is gone.
    2. The queue is long: what is above `spill`.
    3. The workers will not have started all in the time that the next job in line has left: what is too much. Where
       nobody knows how quick they are, once that time runs out.
    """
    if not line.in_rotation and not line.is_coming:
        return ALL if line.pending or line.unacked else 0
    over = line.pending - math.floor(spill * line.capacity) if line.capacity else 0
    if line.pending and (line.rate or is_late(line)):
        over = max(over, line.pending - _startable(line))
    return max(0, over)


def _startable(line: Line) -> int:
    left_s = min(max(0.0, line.head_left_s), FOREVER_S)
    return math.floor(SURE * line.rate * left_s)


def is_late(line: Line) -> bool:
    """Whether the next job in line has to be answered by others to be answered in time."""
    return line.head_left_s < max(LATE_S, LATE * line.head_budget_s)
