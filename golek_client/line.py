"""What do all calls of a client share?

One connection, one reply subscription, and the two ways to speak: publish, and ask for a single answer.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Self

from golek_client import connection
from golek_client.connection import publish
from golek_client.inbox import ReplyMux
from golek_client.transport import Received, Subscribed, Transport


class Line:
    """An open connection with its reply subscription."""

    def __init__(self, transport: Transport, mux: ReplyMux) -> None:
        self.transport = transport
        self.mux = mux

    @classmethod
    async def open(cls, url: str, name: str) -> Self:
        """Connect to `url`. Raises BadRequestError and BusUnavailableError as `connect` does.

        When the server closes the connection, those who wait get BusUnavailableError at once.
        """
        mux = ReplyMux()

        def lost(reason: str) -> None:
            mux.close(reason)

        async def back() -> None:
            mux.back()

        transport = await connection.connect(
            url, name, on_reconnect=back, on_closed=lost, reconnect_s=connection.CLIENT_RECONNECT_S
        )
        return await cls(transport, mux).start()

    async def start(self) -> Self:
        """Subscribe; where that fails the connection is closed."""
        try:
            await self.mux.start(self.transport)
        except BaseException:
            await self.close()
            raise
        return self

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

    async def unsubscribe(self, subscribed: Subscribed) -> None:
        """Hear no more; that the connection is closed is no error here."""
        await connection.unsubscribe(subscribed)

    async def ask_once(self, subject: str, payload: bytes, until: float) -> Received | None:
        """The first answer to one message, or the server's word that nobody listens.

        None when the loop's clock passes `until` first. Raises as `send` does.
        """
        with self.mux.open() as inbox:
            await self.send(subject, payload, inbox.subject)
            return await inbox.get(until)
