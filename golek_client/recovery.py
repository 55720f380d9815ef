"""What if the connection was away while an answer came?

The request asked for its final message to be kept for a minute, so it is looked up: a moment after the connection is
back, a few times, then every five seconds. A job that has left its queue without a result is lost and asked again. Who
may not read the queue takes a job for lost when nothing was found for ten seconds. The request of an idempotency key is
looked up all the time, because the worker through which it joined its job may be gone.
"""

import asyncio
import random
from typing import Final

from golek_client import results
from golek_client.line import Line
from golek_client.results import Found
from golek_client.stored import UNREADABLE
from golek_client.transport import Received
from golek_wire import codec, subjects
from golek_wire.errors import BusUnavailableError, ErrorReply, ForbiddenError
from golek_wire.replies import Accepted

LOOKS_S: Final = (0.3, 0.5, 1.2, 3.0)
"""Pauses before the first looks."""
STEADY_S: Final = 5.0
BLIND_S: Final = 10.0
SETTLE_S: Final = 0.2
"""A job may leave its queue a moment before its result can be read."""


class JobLostError(Exception):
    """The job is gone, and there is no result."""


class Recovery:
    """Looks for the final message of one job."""

    def __init__(self, line: Line, model: str, now: float, *, steady: bool = False) -> None:
        """`steady` skips the first, quick looks: the connection is there. Times are the loop's."""
        self._line = line
        self._model = model
        self._since = now
        self._looks = len(LOOKS_S) if steady else 0
        self.due = now
        """When to look next."""
        self._put_off(now)

    async def look(self, job_id: str, accepted: Received | None) -> Found | None:
        """The final message of the job, of which `accepted` told; None when it may still come.

        Raises JobLostError.
        """
        clock = asyncio.get_running_loop().time
        self._put_off(clock())
        known = _decoded(accepted)
        principal = known.principal if known is not None else subjects.ANONYMOUS
        job_id = known.job_id if known is not None else job_id  # between accounts a worker knows it by another one
        try:
            found = await results.read(self._line, principal, job_id)
            if found is None and known is not None and known.seq:
                found = await self._find_lost(principal, job_id, known.seq, clock())
        except (BusUnavailableError, ForbiddenError):
            return None
        if found is not None and _is_caller_gone(found):
            raise JobLostError
        return found

    async def _find_lost(self, principal: str, job_id: str, seq: int, now: float) -> Found | None:
        left = await results.lost(self._line, self._model, seq)
        if left is False or (left is None and now < self._since + BLIND_S):
            return None
        await asyncio.sleep(SETTLE_S)
        found = await results.read(self._line, principal, job_id)
        if found is None:
            raise JobLostError
        return found

    def _put_off(self, now: float) -> None:
        if self._looks < len(LOOKS_S):
            self.due = now + LOOKS_S[self._looks]
        else:
            self.due = now + STEADY_S * random.uniform(0.8, 1.2)  # clients of a server that was away spread out
        self._looks += 1


def _decoded(accepted: Received | None) -> Accepted | None:
    try:
        return codec.decode(accepted.data, Accepted) if accepted is not None else None
    except UNREADABLE:
        return None


def _is_caller_gone(found: Found) -> bool:
    """True for a job that its worker ended because it lost sight of us."""
    try:
        error = codec.decode(found.data, ErrorReply).error
    except UNREADABLE:
        return False
    return error.code == "CANCELLED" and "caller_gone" in error.details
