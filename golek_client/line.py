"""What do all calls of a client share?

One connection, one reply subscription, and the two ways to speak: publish, and ask for a single answer.
"""

from golek_client.connection import publish
from golek_client.inbox import ReplyMux
from golek_client.transport import Received, Transport


class Line:
    """An open connection with its reply subscription."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.mux = ReplyMux()

    async def start(self) -> None:
        await self.mux.start(self.transport)

    async def send(self, subject: str, payload: bytes, reply: str = "", about: dict[str, str] | None = None) -> None:
        """Publish, with the headers `about`. Raises BusUnavailableError when the connection is closed or its buffer
        full, PayloadTooLargeError for a message the server would not take.
        """
        await publish(self.transport, subject, payload, about, reply)

    async def ask_once(self, subject: str, payload: bytes, until: float) -> Received | None:
        """The first answer to one message, or the server's word that nobody listens.

        None when the loop's clock passes `until` first. Raises as `send` does.
        """
        with self.mux.open() as inbox:
            await self.send(subject, payload, inbox.subject)
            return await inbox.get(until)
