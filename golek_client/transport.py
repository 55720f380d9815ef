"""What does the client need of a connection?

Three methods and three facts. nats-py's `Client` has them, and so has the in-memory bus of `golek_client.testing`:
whatever satisfies `Transport` can carry a `Golek`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

DEFAULT_URL: Final = "nats://127.0.0.1:4222"
"""Where a fleet's broker listens unless NATS_URL says otherwise."""


class Received(Protocol):
    """A message that came in; nats-py's `Msg` is one."""

    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def headers(self) -> dict[str, str] | None: ...


class Subscribed(Protocol):
    """What is heard until it is not wanted any more."""

    async def unsubscribe(self) -> None: ...


class Transport(Protocol):
    """A connection that publishes and delivers."""

    @property
    def is_connected(self) -> bool:
        """False while the connection is being restored."""

    @property
    def is_closed(self) -> bool:
        """True once the connection has ended for good: it takes nothing more and is not restored."""

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message the server takes, headers included."""

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send one message; with `reply` and nobody subscribed, a message with header `Status: 503` comes back."""

    async def subscribe(self, subject: str, *, cb: Callable[[Any], Awaitable[None]]) -> Subscribed:
        """Call `cb` with every message on `subject`, one after the other."""

    async def close(self) -> None:
        """Send what was published and hang up."""
