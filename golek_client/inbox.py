"""How does an answer find the call that waits for it?

One wildcard subscription per client, `_INBOX.<nuid>.*`; each call waits at its own subject below it. A message
whose call is gone is dropped.
"""

import asyncio
import re
from collections import deque
from types import TracebackType
from typing import Final, Self

from nats.nuid import NUID

from golek_client.connection import subscribe
from golek_client.transport import Received, Transport
from golek_wire.errors import BusUnavailableError, ForbiddenError

_REFUSED: Final = re.compile(r'permissions violation for \w+ to "([^"]+)"')


def refused_subject(error: str) -> str:
    """The subject, in lower case as nats-py says it, that the server's `error` forbids; empty for other errors."""
    found = _REFUSED.search(error.lower())
    return found[1] if found else ""


def not_permitted(what: str, subject: str) -> ForbiddenError:
    """What to tell whom the server does not let `publish to` or `subscribe to` a subject."""
    return ForbiddenError(
        f"not permitted: the NATS server does not let this login {what} {subject}; its configuration says who may",
        subject=subject,
    )


class Inbox:
    """The messages of one call, in the order they came. One reader."""

    __slots__ = ("_messages", "_mux", "_waiter", "asked", "outlives", "refused", "subject")

    def __init__(self, mux: "ReplyMux", subject: str) -> None:
        self.subject = subject
        self.asked = ""
        """The subject that an answer is waited for, where the server's refusal to pass it on ends the wait."""
        self.refused = False
        """Whether it did refuse."""
        self.outlives = False
        """Whether the job that answers here goes on when the client is closed."""
        self._mux = mux
        self._messages: deque[Received] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: Received) -> None:
        self._messages.append(message)
        self.wake()

    async def get(self, until: float) -> Received | None:
        """The next message; None when the loop's clock passes `until` first, or the connection is back.

        Raises, once the messages are read and no more can come, BusUnavailableError: the client or its connection was
        closed; or ForbiddenError: the server did not pass on what was asked.
        """
        if not self._messages:
            await self._wait(until)
        if self._messages:
            return self._messages.popleft()
        if self._mux.closed is not None:
            raise BusUnavailableError(f"{self._mux.closed} while the call waited for its answer")
        if self.refused:
            raise not_permitted("publish to", self.asked)
        return None

    @property
    def is_empty(self) -> bool:
        """False when a message waits to be read."""
        return not self._messages

    def wake(self) -> None:
        """Let the reader look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mux.forget(self.subject)

    async def _wait(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        if self._mux.closed is not None or self.refused or until <= loop.time():
            return
        self._waiter = loop.create_future()
        # A bare timer: asyncio.timeout would cost more than the rest of a call.
        timer = loop.call_at(until, self.wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None


class ReplyMux:
    """All inboxes of one connection."""

    def __init__(self) -> None:
        self._nuid = NUID()
        self._prefix = f"_INBOX.{self._next()}."
        self._inboxes: dict[str, Inbox] = {}
        self.closed: str | None = None
        """Why no message comes any more; None while they may."""
        self.last_error = ""
        """What the server objected to last: nobody answers what it does not pass on."""
        self.returns = 0
        """How often the connection was restored: what was sent meanwhile did not come."""

    async def start(self, transport: Transport) -> None:
        """Subscribe; before this nothing arrives."""
        await subscribe(transport, f"{self._prefix}*", self._deliver)

    def open(self) -> Inbox:
        """A new inbox, with a subject nobody else has; leaving its `with` block gives it back."""
        inbox = Inbox(self, self._prefix + self._next())
        self._inboxes[inbox.subject] = inbox
        return inbox

    def object(self, error: str) -> None:
        """The server objects to something: whoever asked that waits in vain."""
        self.last_error = error
        subject = refused_subject(error)
        for inbox in self._inboxes.values():
            if subject and inbox.asked.lower() == subject:
                inbox.refused = True
                inbox.wake()

    def forget(self, subject: str) -> None:
        self._inboxes.pop(subject, None)

    def back(self) -> None:
        """The connection is restored: let all who wait look again."""
        self.returns += 1
        for inbox in self._inboxes.values():
            inbox.wake()

    def close(self, reason: str) -> list[str]:
        """Wake all who still wait, with the first `reason` given; the subjects of those whose jobs end with them."""
        self.closed = self.closed or reason
        for inbox in self._inboxes.values():
            inbox.wake()
        return [subject for subject, inbox in self._inboxes.items() if not inbox.outlives]

    async def _deliver(self, message: Received) -> None:
        inbox = self._inboxes.get(message.subject)
        if inbox is not None:
            inbox.put(message)

    def _next(self) -> str:
        return self._nuid.next().decode()
