"""Who may be in the engine together?

Ordinary jobs share it; a suspect (a job under which an engine died) runs alone, so that the next crash proves whose
fault it is. First come, first served, so that neither kind starves.
"""

import asyncio
from collections import deque


class Room:
    """Admits many guests together, or one alone."""

    def __init__(self) -> None:
        self._inside = 0
        self._alone = False
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()

    def enter(self, *, alone: bool) -> "asyncio.Future[None] | None":
        """Enter now (None), or the future that tells when one is inside. Cancel it to stop waiting."""
        while self._waiting and self._waiting[0][0].cancelled():
            self._waiting.popleft()
        if not self._waiting and self._admits(alone=alone):
            self._admit(alone=alone)
            return None
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, alone))
        return turn

    def leave(self) -> None:
        """Make room for those who wait."""
        self._inside -= 1
        self._alone = False
        while self._waiting:
            turn, alone = self._waiting[0]
            if not turn.cancelled():
                if not self._admits(alone=alone):
                    return
                self._admit(alone=alone)
                turn.set_result(None)
            self._waiting.popleft()

    def _admits(self, *, alone: bool) -> bool:
        return self._inside == 0 if alone else not self._alone

    def _admit(self, *, alone: bool) -> None:
        self._inside += 1
        self._alone = alone
