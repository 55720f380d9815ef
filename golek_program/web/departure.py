"""Who is told that a client has left, before its answer is written?"""

from collections.abc import Callable
from typing import Final

CONNECTION: Final = "golek.connection"
"""Where a request's scope has the line that it came by."""


class Departure:
    """Tells who waits for it that the client of one connection has left."""

    def __init__(self) -> None:
        self.is_over = False
        self._waiting: set[Callable[[], object]] = set()

    def tell(self) -> None:
        """The client has left."""
        self.is_over = True
        for call in tuple(self._waiting):
            call()

    def hear(self, call: Callable[[], object]) -> None:
        """Have `call` called when the client leaves; at once where it has."""
        if self.is_over:
            call()
        else:
            self._waiting.add(call)

    def hear_no_more(self, call: Callable[[], object]) -> None:
        self._waiting.discard(call)
