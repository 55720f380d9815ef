"""How is it told that something was lost, without a line for each?"""

import time
from collections.abc import Callable
from typing import Final

TELL_EVERY_S: Final = 10.0
"""Losses are told at most so often."""


class Losses:
    """Counts what is lost."""

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        """`tell` is called now and then with how many were lost since the last time, and why the last one was."""
        self._tell = tell
        self._untold = 0
        self._told_at = -TELL_EVERY_S
        self.count = 0
        """All of them."""

    def add(self, why: str) -> None:
        """One more."""
        self.count += 1
        self._untold += 1
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S:
            untold, self._untold, self._told_at = self._untold, 0, now
            self._tell(untold, why)
