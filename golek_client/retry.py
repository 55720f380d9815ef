"""When is a request sent again?

A request without any sign of life from a worker is repeated, byte for byte and with the same inbox: 1, 1, 2, 2, 2 … s
after the one before. The id of the job is made of the inbox, and the job stream drops a second message with an id that
it took less than 120 s ago (its duplicate window): until then a copy never runs twice. So no copy is sent later than
110 s after the first that somebody may have taken; the call goes on waiting until its deadline. A copy that the server
returned, because nobody listened, was taken by nobody.
"""

from typing import Final

QUICK_S: Final = 1.0
"""The first two waits: a worker that took the request answers `accepted` within milliseconds, so a second is enough."""
STEADY_S: Final = 2.0
"""The later waits: a frozen worker is dropped by the server within 6 s, and then a copy reaches another one."""
COPIES_S: Final = 110.0
"""The job stream's duplicate window of 120 s, less what a copy may need to get there."""


def wait_after(sends: int) -> float:
    """Seconds to wait after the `sends`-th copy (counted from 1) before the next."""
    return QUICK_S if sends <= 2 else STEADY_S


def next_send(sends: int, now: float, taken_at: float, deadline: float) -> float | None:
    """When the next copy is due on the clock of `now`.

    None when the deadline comes first, or the end of the time that copies are safe, counted from `taken_at`: when the
    first copy was sent that somebody may have taken.
    """
    due = now + wait_after(sends)
    return due if due < deadline and due <= taken_at + COPIES_S else None
