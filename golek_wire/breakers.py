"""What do routers tell each other of targets?"""

from typing import Literal

from msgspec import Struct

BreakerState = Literal["closed", "open", "half_open", "limited"]
"""Of a target: it is asked; it failed and is left alone; one request finds out whether it is back; it asked for a
pause itself."""


class BreakerNote(Struct, frozen=True, omit_defaults=True):
    """What one router found out of a target, for all of them: a value of the bucket `GOLEK_BREAKERS`."""

    target: str
    router: str
    """Its worker id."""
    state: BreakerState
    until: float = 0.0
    """By the broker's clock, in epoch seconds: the end of a cooldown, or of a probe's time."""
    failures: int = 0
    """In a row, at this router."""
    opened: int = 0
    """How often in a row, without an answer in between."""
    why: str = ""
    proven: bool = False
    """Whether it has just answered."""
