"""What do all calls of a client share?

One connection, one reply subscription, and the two ways to speak: publish, and ask for a single answer.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

from golek_client import connection
from golek_client.connection import publish
from golek_client.inbox import ReplyMux
from golek_client.login import Login
from golek_client.tracing import Tracer
from golek_client.transport import Received, Subscribed, Transport
from golek_wire import headers

KEEP_S: Final = 60
"""So long the answer to a request is kept for a caller whose connection was away."""


class Line:
    """An open connection with its reply subscription."""

    def __init__(self, transport: Transport, mux: ReplyMux) -> None:
        self.transport = transport
        self.mux = mux
        self.loop = asyncio.get_running_loop()
        """The event loop in which alone it works."""
        self.authorization: dict[str, str] = {}
        """The header with the caller's key, where it has one."""
        self.tracer: Tracer | None = None
        """Makes a span of each request, where somebody traces."""
        self.names_requests = False
        """Whether requests carry an id of ours: between accounts the server gives each copy another inbox."""

    @classmethod
    async def open(cls, url: str, name: str, login: Login | None = None) -> Self:
        """Connect to `url`. Raises as `connect` does.

        When the server closes the connection, those who wait get BusUnavailableError at once.
        """
        mux = ReplyMux()

        def lost(reason: str) -> None:
            mux.close(reason)

        async def back() -> None:
            mux.back()

        transport = await connection.connect(
            url,
            name,
            login=login,
            on_reconnect=back,
            on_closed=lost,
            on_error=mux.object,
            reconnect_s=connection.CLIENT_RECONNECT_S,
        )
        line = cls(transport, mux)
        line.names_requests = transport.has_login
        return await line.start()

    async def start(self) -> Self:
        """Subscribe; where that fails the connection is closed."""
        try:
            await self.mux.start(self.transport)
        except BaseException:
            await self.close()
            raise
        return self

    def on_behalf(self, authorization: dict[str, str]) -> Self:
        """The same line, for a caller with another key."""
        line = copy.copy(self)
        line.authorization = authorization
        return line

    def request_headers(self, inbox: str) -> dict[str, str]:
        """What every request says of itself: that it wants to hear when it is stored, that its caller joins parts, that
        its answer be kept should the connection break, who asks, and which one it is.
        """
        named = {headers.MSG_ID: inbox} if self.names_requests else {}
        return {headers.ACCEPT: "1", headers.PARTS: "1", headers.KEEP: str(KEEP_S)} | self.authorization | named

    @property
    def is_closed(self) -> bool:
        """True when another one is needed."""
        return self.transport.is_closed

    async def close(self) -> None:
        """Hang up, whatever state the connection is in."""
        await connection.close(self.transport)

    async def send(self, subject: str, payload: bytes, reply: str = "", about: dict[str, str] | None = None) -> None:
        """Publish, with the headers `about`. Raises BusUnavailableError when the connection is closed or its buffer
        full, PayloadTooLargeError for a message the server would not take.
        """
        await publish(self.transport, subject, payload, about, reply)

    async def subscribe(self, subject: str, deliver: Callable[[Any], Awaitable[None]]) -> Subscribed:
        """Call `deliver` with every message on `subject`. Raises BusUnavailableError when the connection is closed."""
        return await connection.subscribe(self.transport, subject, deliver)

    async def hear(self, subject: str, take: Callable[[Any], None]) -> Subscribed:
        """Call `take`, which waits for nothing, with every message on `subject`. Raises as `subscribe` does."""
        return await connection.hear(self.transport, subject, take)

    async def unsubscribe(self, subscribed: Subscribed) -> None:
        """Hear no more; that the connection is closed is no error here."""
        await connection.unsubscribe(subscribed)

    async def ask_once(
        self, subject: str, payload: bytes, until: float, about: dict[str, str] | None = None
    ) -> Received | None:
        """The first answer to one message with the headers `about`, or the server's word that nobody listens.

        None when the loop's clock passes `until` first. Raises as `send` does, and ForbiddenError when the server says
        that this client may not ask there.
        """
        with self.mux.open() as inbox:
            inbox.asked = subject
            await self.send(subject, payload, inbox.subject, about)
            return await inbox.get(until)
