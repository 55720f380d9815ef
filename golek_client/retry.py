"""When is a request sent again?

A request without any sign of life from a worker is repeated, byte for byte and with the same inbox: 1, 1, 2, 2, 2 … s
after the one before. The id of the job is made of the inbox, so a copy never runs twice.
"""

from typing import Final

QUICK_S: Final = 1.0
"""The first two waits: a worker that took the request answers `accepted` within milliseconds, so a second is enough."""
STEADY_S: Final = 2.0
"""The later waits: a frozen worker is dropped by the server within 6 s, and then a copy reaches another one."""


def wait_after(sends: int) -> float:
    """Seconds to wait after the `sends`-th copy (counted from 1) before the next."""
    return QUICK_S if sends <= 2 else STEADY_S


def next_send(sends: int, now: float, deadline: float) -> float | None:
    """When the next copy is due on the clock of `now`; None when the deadline comes first."""
    due = now + wait_after(sends)
    return due if due < deadline else None
