"""How does a router take jobs out of another model's queue?

With pulls of the lowest priority that do not wait: they get what no worker of the model is free for. Such a lease is
like any other; whoever took it answers it, or gives it back.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from msgspec import Struct

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import headers as h
from golek_wire import subjects
from golek_worker.bus.jetstream import ServerClock
from golek_worker.bus.lease import SAFE_S, Lease
from golek_worker.bus.streams import PRIORITY_GROUP

log = structlog.get_logger("taking")

LAST_PRIORITY: Final = 9
"""Of the pulls of who only helps."""
ANSWER_S: Final = 2.0
"""So long the server may take to say that there is no more."""


class _Pull(Struct):
    """One question to the server."""

    on_lease: Callable[[Lease], None]
    asked_at: float
    wanted: int
    over: asyncio.Future[None]
    taken: int = 0


class Taker:
    """Takes jobs, from any number of queues; pulls of several may be under way together."""

    def __init__(self, client: BusClient, clock: ServerClock) -> None:
        self._client = client
        self._clock = clock

    async def take(
        self, token: str, kind: str, classes: Sequence[str], count: int, on_lease: Callable[[Lease], None]
    ) -> int:
        """Take up to `count` jobs that wait, the most urgent class first; how many there were. Each is given to
        `on_lease` as it comes. Raises as `publish` does.
        """
        taken = 0
        for name in classes:
            if taken < count:
                taken += await self._pull(token, subjects.consumer(token, kind, name), count - taken, on_lease)
        return taken

    async def _pull(self, token: str, consumer: str, wanted: int, on_lease: Callable[[Lease], None]) -> int:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pull = _Pull(on_lease, time.monotonic(), wanted, over)

        async def on_message(message: Delivery) -> None:
            await self._on_message(pull, message)

        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe_direct(inbox, on_message)
        try:
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.job_stream(token)}.{consumer}"
            body = b'{"batch":%d,"no_wait":true,"group":"%b","priority":%d}' % (
                wanted, PRIORITY_GROUP.encode(), LAST_PRIORITY,
            )  # fmt: skip
            await publish(self._client, subject, body, reply=inbox)
            await asyncio.wait([over], timeout=ANSWER_S)
        finally:
            if self._client.is_connected:
                await self._client.withdraw(subscription)
            else:
                await subscription.unsubscribe()
        return pull.taken

    async def _on_message(self, pull: _Pull, message: Delivery) -> None:
        """A job, or the server's word that there are no more."""
        if not message.data and message.headers and h.NATS_STATUS in message.headers:
            if message.headers[h.NATS_STATUS] != "100" and not pull.over.done():
                pull.over.set_result(None)
            return
        try:
            lease = Lease(self._client, message, self._clock.now())
        except (KeyError, IndexError, ValueError):
            log.exception("job.unreadable", subject=message.subject)
            await publish(self._client, message.reply, b"+TERM")
            return
        lease.doubtful = time.monotonic() - pull.asked_at > SAFE_S
        pull.taken += 1
        pull.on_lease(lease)
        if pull.taken >= pull.wanted and not pull.over.done():
            pull.over.set_result(None)
