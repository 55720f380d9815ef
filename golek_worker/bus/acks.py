"""How many answered jobs may still lie in the queue?

An answer is quicker than the removal of its job: a server that syncs each write to disk takes some thousand acks a
second. Jobs that are answered but not yet removed would fill the queue, and callers be refused though nobody waits
(seen: 64 callers, a third of them refused). So now and then an ack asks for confirmation, and while too many are
unconfirmed an answered job keeps its slot.
"""

import asyncio
import contextlib
from typing import Final

from golek_client.bus_client import BusClient, Delivery

SHARE: Final = 16
"""Of a queue's places one in so many may hold jobs that this worker has answered."""
ROUNDS: Final = 8
"""So often an ack within that many asks for confirmation: the server takes those of one consumer in order."""
PATIENCE_S: Final = 2.0
"""A confirmation that does not come in this time was lost, as with a broken connection."""


class Acks:
    """Counts the acks of one worker, and those that the server has taken."""

    def __init__(self, client: BusClient, capacity: int) -> None:
        """`capacity` of the queue, in jobs."""
        self._client = client
        self._limit = capacity // SHARE
        self._every = max(1, self._limit // ROUNDS)
        self._inbox = client.new_inbox()
        self._sent = 0
        self._confirmed = 0
        self._news = asyncio.Event()

    async def start(self) -> None:
        """Listen for confirmations."""
        await self._client.subscribe_direct(f"{self._inbox}.*", self._on_confirmation)

    def count(self) -> str:
        """One more ack: where the server is to confirm it; empty when it need not."""
        self._sent += 1
        return f"{self._inbox}.{self._sent}" if self._sent % self._every == 0 else ""

    async def caught_up(self) -> None:
        """Wait while too many acks are unconfirmed; after PATIENCE_S they count as taken."""
        while self._sent - self._confirmed > self._limit:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._news.wait()
                    continue
            self._confirmed = self._sent
            self._news.set()

    async def _on_confirmation(self, message: Delivery) -> None:
        number = message.subject.rpartition(".")[2]
        if number.isdecimal() and self._confirmed < int(number) <= self._sent:
            self._confirmed = int(number)
            self._news.set()
