"""What happens when the client leaves before its answer?

Its job is cancelled at once. Servers do not cancel a handler whose client has gone, so `watched` cancels the task that
it was entered in.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final

from starlette.types import Scope

from golek_worker.gateway.body import GoneError

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


class watched:  # noqa: N801 - reads as the block it is: async with watched(scope)
    """While inside, a client that leaves ends the block: raises GoneError. To be entered once the body is read."""

    __slots__ = ("_departure", "_gone", "_task")

    def __init__(self, scope: Scope) -> None:
        self._departure: Departure = scope[CONNECTION]
        self._gone = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._departure.hear(self._leave)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._departure.hear_no_more(self._leave)
        if isinstance(error, asyncio.CancelledError) and self._gone and not self._task.uncancel():
            raise GoneError from None

    def _leave(self) -> None:
        self._gone = True
        self._task.cancel()
