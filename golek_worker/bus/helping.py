"""How does a worker know that a router would take what its queue has no room for, or what several models answer?

Every router says so every two seconds, to the workers of each model for which others may answer, and, for requests that
several models answer, to all workers at once; and when a worker starts (core NATS). A worker that has heard nothing for
five seconds refuses as if there were none, and so does one that heard the router take its leave.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire.errors import BusUnavailableError
from golek_wire.helping import HELP_COUNTS_S, HELP_EVERY_S, Help


class Helpers:
    """What one worker heard of routers."""

    def __init__(self, client: BusClient, token: str) -> None:
        """`token` is the model's."""
        self._client = client
        self._token = token
        self._heard: dict[str, tuple[float, Help]] = {}
        """By router, the one that was heard last at the end; so is the other."""
        self._orchestrates: dict[str, tuple[float, Help]] = {}

    async def start(self) -> None:
        """Listen, and ask who is there."""
        await self._client.subscribe_direct(subjects.help_for(self._token), self._on_help)
        await self._client.subscribe_direct(subjects.ORCHESTRATES, self._on_orchestrates)
        await publish(self._client, subjects.help_wanted(self._token), b"")

    def near(self) -> Help | None:
        """The router that was heard last, lately; None without one."""
        return _lately(self._heard)

    def orchestrates(self) -> Help | None:
        """The router that was heard last, lately, whose jobs several models may answer; None without one."""
        return _lately(self._orchestrates)

    async def _on_help(self, message: Delivery) -> None:
        with contextlib.suppress(msgspec.DecodeError):  # a later version's
            _note(self._heard, msgspec.json.decode(message.data, type=Help))

    async def _on_orchestrates(self, message: Delivery) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            said = msgspec.json.decode(message.data, type=Help)
            _note(self._orchestrates, said)
            if said.has_left:
                self._heard.pop(said.router, None)


class Orchestrating:
    """One router's word that several models may answer its jobs."""

    def __init__(self, client: BusClient, offer: Help) -> None:
        self._client = client
        self._offer = offer

    async def run(self) -> None:
        """Say so, to all and to each worker that starts, for as long as the router lives."""
        await hear_wishes(self._client, lambda _: self._say())
        while True:
            await self._say()
            await asyncio.sleep(HELP_EVERY_S)

    async def leave(self) -> None:
        """Tell all workers to count on this router no longer."""
        self._offer = msgspec.structs.replace(self._offer, capacity=0)
        await self._say()

    async def _say(self) -> None:
        with contextlib.suppress(BusUnavailableError):
            await publish(self._client, subjects.ORCHESTRATES, codec.encode(self._offer))


def _note(heard: dict[str, tuple[float, Help]], said: Help) -> None:
    heard.pop(said.router, None)
    if not said.has_left:
        heard[said.router] = time.monotonic(), said


def _lately(heard: dict[str, tuple[float, Help]]) -> Help | None:
    """The router that was heard last, and what was heard too long ago forgotten."""
    oldest = time.monotonic() - HELP_COUNTS_S
    for router in [router for router, (at, _) in heard.items() if at < oldest]:
        del heard[router]
    return next((said for _, said in reversed(heard.values())), None)


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
