"""How does an answer find the call that waits for it?

One wildcard subscription per client, `_INBOX.<nuid>.*`; each call waits at its own subject below it. A message
whose call is gone is dropped.
"""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from nats.nuid import NUID

from golek_client.transport import Received, Transport
from golek_wire.errors import BusUnavailableError


class Inbox:
    """The messages of one call, in the order they came. One reader."""

    __slots__ = ("_closed", "_messages", "_mux", "_waiter", "subject")

    def __init__(self, mux: "ReplyMux", subject: str) -> None:
        self.subject = subject
        self._mux = mux
        self._messages: deque[Received] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def put(self, message: Received) -> None:
        self._messages.append(message)
        self._wake()

    async def get(self, until: float) -> Received | None:
        """The next message; None when the loop's clock passes `until` first.

        Raises BusUnavailableError when the client is closed meanwhile.
        """
        if not self._messages:
            await self._wait(until)
        if self._messages:
            return self._messages.popleft()
        if self._closed:
            raise BusUnavailableError("the client was closed while the call waited for its answer")
        return None

    def close(self) -> None:
        """Wake the reader for the last time."""
        self._closed = True
        self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mux.forget(self.subject)

    async def _wait(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        if self._closed or until <= loop.time():
            return
        self._waiter = loop.create_future()
        # A bare timer: asyncio.timeout would cost more than the rest of a call.
        timer = loop.call_at(until, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ReplyMux:
    """All inboxes of one connection."""

    def __init__(self) -> None:
        self._nuid = NUID()
        self._prefix = f"_INBOX.{self._next()}."
        self._inboxes: dict[str, Inbox] = {}

    async def start(self, transport: Transport) -> None:
        """Subscribe; before this nothing arrives."""
        await transport.subscribe(f"{self._prefix}*", cb=self._deliver)

    def open(self) -> Inbox:
        """A new inbox, with a subject nobody else has; leaving its `with` block gives it back."""
        inbox = Inbox(self, self._prefix + self._next())
        self._inboxes[inbox.subject] = inbox
        return inbox

    def forget(self, subject: str) -> None:
        self._inboxes.pop(subject, None)

    def close(self) -> list[str]:
        """Wake all who still wait; the subjects of their inboxes."""
        open_inboxes = list(self._inboxes.values())
        for inbox in open_inboxes:
            inbox.close()
        return [inbox.subject for inbox in open_inboxes]

    async def _deliver(self, message: Received) -> None:
        inbox = self._inboxes.get(message.subject)
        if inbox is not None:
            inbox.put(message)

    def _next(self) -> str:
        return self._nuid.next().decode()
