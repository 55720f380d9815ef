"""Who may be in the engine together?

Ordinary jobs share it. Jobs under which an engine died are suspects: one comes in at a time, on *trial*, and the door
stays shut until it has written its first text; so the next crash is most likely its doing. A job under which engines
died twice comes in *alone* and stays alone to its end: that crash is proof. First come, first served, so that no kind
starves. See docs/decisions/0011.
"""

import asyncio
from collections import deque
from typing import Literal

Manner = Literal["together", "trial", "alone"]


class Room:
    """Admits many guests together, and shuts the door behind one on trial or alone."""

    def __init__(self) -> None:
        self._inside = 0
        self._waiting: deque[tuple[asyncio.Future[None], object, Manner]] = deque()
        self.accused: object | None = None
        """The guest for whom the door is shut: on trial or alone."""

    def enter(self, guest: object, manner: Manner) -> "asyncio.Future[None] | None":
        """Enter now (None), or the future that tells when one is inside. Cancel it to stop waiting."""
        while self._waiting and self._waiting[0][0].cancelled():
            self._waiting.popleft()
        if not self._waiting and self._admits(manner):
            self._admit(guest, manner)
            return None
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, guest, manner))
        return turn

    def acquit(self, guest: object) -> None:
        """Open the door when it is shut for `guest`: it has passed its trial."""
        if self.accused is guest:
            self.accused = None
            self._admit_waiting()

    def leave(self, guest: object) -> None:
        """Make room for those who wait."""
        self._inside -= 1
        if self.accused is guest:
            self.accused = None
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._waiting:
            turn, guest, manner = self._waiting[0]
            if not turn.cancelled():
                if not self._admits(manner):
                    return
                self._admit(guest, manner)
                turn.set_result(None)
            self._waiting.popleft()

    def _admits(self, manner: Manner) -> bool:
        return self.accused is None and (manner != "alone" or self._inside == 0)

    def _admit(self, guest: object, manner: Manner) -> None:
        self._inside += 1
        if manner != "together":
            self.accused = guest


class Hall(Room):
    """Everybody is in: where no engine can die, as at a router, nobody waits for suspects."""

    def enter(self, guest: object, manner: Manner) -> None:
        """Enter now."""

    def acquit(self, guest: object) -> None:
        """Nobody is accused."""

    def leave(self, guest: object) -> None:
        """Nobody waits."""
