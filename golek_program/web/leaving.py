"""What happens when the client leaves before its answer?

Its job is cancelled at once. Servers do not cancel a handler whose client has gone, so `watched` cancels the task that
it was entered in.
"""

import asyncio
from types import TracebackType

from starlette.types import Scope

from golek_program.web.departure import CONNECTION, Departure


class GoneError(Exception):
    """The client has left; nobody is to be answered."""


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
