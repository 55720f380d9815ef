"""How is something on the bus followed, whatever becomes of the connection?

Subscriptions whose messages are handed on as they come, what they do not tell read now and then, and both again on
every new connection. Who follows workers asks them to say at once what they say now and then.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from golek_client.line import Line
from golek_client.opening import Opening
from golek_client.stored import UNREADABLE
from golek_client.transport import Received
from golek_wire import subjects
from golek_wire.errors import ForbiddenError, InferenceServiceError

log = logging.getLogger("golek.client")

LOOK_S: Final = 10.0
"""So often what is not told is read, and a connection that was closed for good is replaced."""
POLL_S: Final = 0.05
NOTICE_S: Final = 0.25
"""So soon a restored connection is noticed."""
RETRY_S: Final = 1.0
"""So long until a look that failed is tried again: after its start a broker first reads its streams."""
SIGNAL_LIMIT: Final = 64 * 1024
"""Bytes. What processes say of themselves has a few kilobytes; what is larger is not kept in their name."""
WORKERS_BACK_S: Final = 2.5
"""So long after us the last worker is back (connection.WORKER_RECONNECT_S): it did not hear the first question."""

Take = Callable[[Received], None]
"""What is done with a message. It waits for nothing: the connection's reader calls it."""
Look = Callable[[Line], Awaitable[None]]


async def nothing(_: Line) -> None:
    """For those who only hear."""


class Following:
    """What comes on some subjects, for as long as `run` runs. Made by `Golek.follow`."""

    def __init__(
        self,
        opening: Opening,
        hears: Mapping[str, Take],
        look: Look = nothing,
        *,
        asks: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`look` reads what is not told and may raise what `Golek` raises; `asks`: whether workers are to speak."""
        self._opening = opening
        self._hears = hears
        self._look = look
        self._asks = asks
        self._clock = clock
        self._line: Line | None = None
        self._returns = 0
        """Of the line, how often it was restored, when workers were asked."""
        self._ask_again_at: float | None = None
        self.is_refused = False
        """Whether this login may not read what is looked at: mending that takes somebody who changes its rights."""
        self.problem: str | None = None
        """Why the last attempt of `run` to open or look failed; None once one succeeds."""

    @property
    def is_connected(self) -> bool:
        """Whether the bus can be asked at the moment."""
        return self._line is not None and not self._line.is_closed and self._line.transport.is_connected

    async def connected(self, seconds: float) -> bool:
        """Whether the bus can be asked, now or within so many seconds."""
        with contextlib.suppress(TimeoutError, InferenceServiceError):
            async with asyncio.timeout(seconds):
                if self._line is None or self._line.is_closed:
                    await self.open()
                while not self.is_connected:  # noqa: ASYNC110 - no event tells it
                    await asyncio.sleep(POLL_S)
        return self.is_connected

    async def open(self) -> None:
        """Subscribe, ask workers how they are, and look. Raises as `Golek.models` does."""
        line = await self._opening.line()
        if line is not self._line:
            for subject, take in self._hears.items():
                await line.hear(subject, take)
            await self._ask(line)
            self._line = line
        elif line.mux.returns != self._returns:
            await self._ask(line)
            self._ask_again_at = self._clock() + WORKERS_BACK_S
        try:
            await self._look(line)
        except ForbiddenError:
            self.is_refused = True
            raise
        self.is_refused = False

    async def ask(self) -> None:
        """Have workers say once more how they are. Raises as `Golek.models` does."""
        await self._ask(await self._opening.line())

    async def look(self) -> None:
        """Read anew what is not told. Raises as `Golek.models` does."""
        await self._look(await self._opening.line())

    async def run(self) -> None:
        """Follow until cancelled. While the bus is away, what is known stays as it was."""
        due = self._clock() + LOOK_S
        while True:
            await asyncio.sleep(NOTICE_S)
            await self._repeat()
            if self._clock() < due and not self._is_new:
                continue
            try:
                await self.open()
                self.problem, due = None, self._clock() + LOOK_S
            except InferenceServiceError as error:
                self.problem = error.message
                await asyncio.sleep(RETRY_S)
                due = self._clock()

    @property
    def _is_new(self) -> bool:
        """Whether the connection is another one, or was restored, since workers were asked."""
        line = self._line
        if line is None or line.is_closed:
            return True
        return line.transport.is_connected and line.mux.returns != self._returns

    async def _repeat(self) -> None:
        """Ask once more those who were not back yet."""
        if self._ask_again_at is not None and self._clock() >= self._ask_again_at and self._line is not None:
            self._ask_again_at = None
            with contextlib.suppress(InferenceServiceError):
                await self._ask(self._line)

    async def _ask(self, line: Line) -> None:
        returns = line.mux.returns
        if self._asks:
            await line.send(subjects.SIGNALS_ASKED, b"")
        self._returns = returns


def reading(kind: type[Any], take: Callable[[Any], None]) -> Take:
    """Decodes each message as `kind` for `take`; what is none, or larger than SIGNAL_LIMIT, is passed over."""
    decode = msgspec.json.Decoder(kind).decode

    def hear(message: Received) -> None:
        if len(message.data) > SIGNAL_LIMIT:
            log.debug("%s: %d bytes came on it, nobody says so much", message.subject, len(message.data))
            return
        try:
            said = decode(message.data)
        except UNREADABLE:
            log.debug("%s: what came on it is none of ours", message.subject)
            return
        take(said)

    return hear
