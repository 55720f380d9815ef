"""How does a worker know that a router would take what its queue has no room for?

Every router says so every two seconds to the workers of each model for which others may answer, and to a worker that
starts (core NATS). A worker that has heard nothing for five seconds refuses as if there were none.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire.helping import HELP_COUNTS_S, Help


class Helpers:
    """What one worker heard of routers."""

    def __init__(self, client: BusClient, token: str) -> None:
        """`token` is the model's."""
        self._client = client
        self._token = token
        self._heard: tuple[float, Help] | None = None

    async def start(self) -> None:
        """Listen, and ask who is there."""
        await self._client.subscribe_direct(subjects.help_for(self._token), self._on_help)
        await publish(self._client, subjects.help_wanted(self._token), b"")

    def near(self) -> Help | None:
        """The router that was heard last, lately; None without one."""
        if self._heard is None or time.monotonic() - self._heard[0] > HELP_COUNTS_S:
            return None
        return self._heard[1]

    async def _on_help(self, message: Delivery) -> None:
        with contextlib.suppress(msgspec.DecodeError):  # a later version's
            self._heard = time.monotonic(), msgspec.json.decode(message.data, type=Help)


async def hear_wishes(client: BusClient, wish: Callable[[str], Awaitable[None]]) -> None:
    """Call `wish` with the token of every model a worker of which asks for help."""

    async def on_wish(message: Delivery) -> None:
        await wish(message.subject.rpartition(".")[2])

    await client.subscribe_direct(subjects.help_wanted("*"), on_wish)


async def offer_help(client: BusClient, tokens: Iterable[str], offer: Help) -> None:
    """Say to the workers of these models that `offer` holds. Raises as `publish` does."""
    said = codec.encode(offer)
    for token in tokens:
        await publish(client, subjects.help_for(token), said)
