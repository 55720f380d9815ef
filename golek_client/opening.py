"""How does a client come by its line?

The first call opens it, the others share it; where the server closed it, the next call opens another.
"""

import asyncio
import contextlib
from typing import Final

from golek_client.connection import shown
from golek_client.inbox import ReplyMux
from golek_client.line import Line
from golek_client.login import Login
from golek_client.tracing import Tracer
from golek_client.transport import Transport
from golek_wire import subjects
from golek_wire.errors import BadRequestError, BusUnavailableError, DeadlineExceededError

NAME: Final = "golek-client"
"""How the connection is called in the server's lists."""
LONGEST_DEADLINE_S: Final = 24 * 3600.0


class Opening:
    """The line of one client, opened when it is wanted."""

    def __init__(
        self,
        url: str,
        login: Login | None,
        authorization: dict[str, str],
        transport: Transport | None,
        tracer: Tracer | None = None,
    ) -> None:
        """`authorization` is the header with the caller's key; `transport` replaces the connection."""
        self._url = url
        self._login = login
        self._authorization = authorization
        self._transport = transport
        self._tracer = tracer
        self._connecting = asyncio.Lock()
        self._open: Line | None = None
        self._closes = 0
        """How often `close` was called: who began to connect before it must not finish after it."""

    async def by(self, until: float, seconds: float) -> Line:
        """The line, when it is there by `until` on the loop's clock, which is `seconds` after the call began.

        Raises as `line` does, and DeadlineExceededError.
        """
        if (line := self._standing()) is not None:
            return line
        try:
            async with asyncio.timeout_at(until):
                return await self.line()
        except TimeoutError:
            raise DeadlineExceededError(
                f"no connection to {shown(self._url)} within {seconds:g} s",
                deadline_ms=round(seconds * 1000),
                url=shown(self._url),
            ) from None

    async def line(self) -> Line:
        """The open line, or a new one where there is none or the server closed it.

        Raises BadRequestError for a URL that is none, BusUnavailableError when nobody answers.
        """
        closes = self._closes
        async with self._connecting:
            if (standing := self._standing()) is not None:
                return standing
            line = await self._new_line() if closes == self._closes else None
            if line is not None and closes == self._closes:
                self._open = line
                return line
            if line is not None:
                await line.close()
            raise BusUnavailableError("the client was closed while the call waited for a connection")

    async def close(self) -> None:
        """Cancel what still runs, then hang up. Those who wait get BusUnavailableError."""
        self._closes += 1
        line, self._open = self._open, None
        if line is None:
            return
        with contextlib.suppress(BusUnavailableError):  # then there is nothing to cancel through
            for inbox in line.mux.close("the client was closed"):
                await line.send(subjects.cancel(subjects.job_id(inbox)), b"")
        await line.close()

    @property
    def standing(self) -> Line | None:
        """The open line; None where there is none, and nobody is connecting for this."""
        return self._open if self._open is not None and not self._open.is_closed else None

    def _standing(self) -> Line | None:
        """The open line; None where a new one is needed. Raises RuntimeError in another event loop than its own."""
        line = self._open
        if line is None or line.is_closed:
            return None
        if line.loop is not asyncio.get_running_loop():
            raise RuntimeError("this client is connected in another event loop; make one for each, or close it first")
        return line

    async def _new_line(self) -> Line:
        if self._transport is not None:
            line = await Line(self._transport, ReplyMux()).start()
        else:
            line = await Line.open(self._url, NAME, self._login)
        line.authorization, line.tracer = self._authorization, self._tracer
        return line


class Lent(Opening):
    """The line of another client, for a caller with a key of its own."""

    def __init__(self, owner: Opening, authorization: dict[str, str]) -> None:
        self._owner = owner
        self._authorization = authorization
        self._theirs: Line | None = None
        self._lent: Line | None = None

    async def by(self, until: float, seconds: float) -> Line:
        return self._of(await self._owner.by(until, seconds))

    async def line(self) -> Line:
        return self._of(await self._owner.line())

    @property
    def standing(self) -> Line | None:
        return self._owner.standing

    def _of(self, line: Line) -> Line:
        """The owner's line for this caller."""
        if self._lent is None or self._theirs is not line:
            self._theirs, self._lent = line, line.on_behalf(self._authorization)
        return self._lent

    async def close(self) -> None:
        """Nothing: the line is its owner's."""


def check_seconds(name: str, seconds: float) -> None:
    """Raises BadRequestError for what is no time to wait."""
    if not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_DEADLINE_S:
        raise BadRequestError(
            f"{name}: a number of seconds above 0 and up to {LONGEST_DEADLINE_S:.0f}, got {seconds!r}", param=name
        )
