"""How does a worker get its jobs?

A credit loop: at any time JetStream may send as many jobs as there are free slots, and no more. nats-py's `fetch()` is
not used: it stalls (3 of 12 runs with 2.16), and a fetch pending over a server restart never gets its message.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog
from nats.aio.subscription import Subscription

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import headers as h
from golek_worker.bus.jetstream import BUS_ERRORS, NS, ServerClock
from golek_worker.bus.lease import SAFE_S, Lease
from golek_worker.bus.streams import PRIORITY_GROUP

log = structlog.get_logger("consumer")

EXPIRES_S = 5
IDLE_HEARTBEAT_S = 2
SILENCE_S = 2 * IDLE_HEARTBEAT_S + 0.5
"""Two missed heartbeats: the pulls are lost."""
RETRY_S = 0.25
PULL_PRIORITY = 0
"""The lowest number with free slots is served first. All local engines pull with 0."""


class Consumer:
    """Pulls leases of one durable consumer, never more than there are free slots."""

    def __init__(
        self,
        client: BusClient,
        stream: str,
        consumer: str,
        slots: int,
        on_lease: Callable[[Lease], None],
        clock: ServerClock,
    ) -> None:
        self._client = client
        self._pull_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._slots = slots
        self._on_lease = on_lease
        self._clock = clock
        self._free = slots
        self._credit = 0
        self._heard_at = 0.0
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._expires = b'"expires":%d,"idle_heartbeat":%d,"group":"%s","priority":%d}' % (
            EXPIRES_S * NS, IDLE_HEARTBEAT_S * NS, PRIORITY_GROUP.encode(), PULL_PRIORITY,
        )  # fmt: skip

    @property
    def free(self) -> int:
        """Slots without a job."""
        return self._free

    async def resume(self) -> None:
        """Start pulling: an engine is ready."""
        if self._subscription is None:
            await self._restart()

    async def pause(self) -> None:
        """Stop pulling: unsubscribing the inbox withdraws its pulls. What was on its way has arrived then."""
        subscription, self._subscription = self._subscription, None
        self._credit = 0
        if subscription is not None:
            await self._client.withdraw(subscription)

    async def release(self) -> None:
        """A lease has ended: its slot is free."""
        self._free += 1
        await self._pull()

    async def reconnected(self) -> None:
        """The server knows none of our pulls any more."""
        if self._subscription is not None:
            await self._restart()

    async def run(self) -> None:
        """Notice silence and pull again after a refusal, for as long as the worker lives."""
        while True:
            await asyncio.sleep(RETRY_S)
            if self._subscription is None or not self._client.is_connected:
                continue
            with contextlib.suppress(*BUS_ERRORS):  # the next round tries again
                if time.monotonic() - self._heard_at > SILENCE_S:
                    log.debug("pulls.lost", credit=self._credit)
                    await self._restart()
                elif self._credit == 0:
                    await self._pull()

    async def _restart(self) -> None:
        """Begin anew with an inbox of its own: that withdraws the pulls of the old one, wherever they are."""
        old, self._inbox = self._subscription, self._client.new_inbox()
        self._subscription = await self._client.subscribe_direct(self._inbox, self._on_message)
        self._credit = 0
        self._heard_at = time.monotonic()
        await self._pull()
        if old is not None:
            await self._client.withdraw(old)

    async def _pull(self) -> None:
        """Ask for the free slots that no pull covers; in halves, so that a busy worker sends few pulls."""
        wanted = self._free - self._credit
        if self._subscription is None or wanted <= 0 or (self._credit > 0 and wanted < self._slots // 2):
            return
        self._credit += wanted
        await publish(self._client, self._pull_subject, b'{"batch":%d,%b' % (wanted, self._expires), reply=self._inbox)

    async def _on_message(self, message: Delivery) -> None:
        now = time.monotonic()
        slept, self._heard_at = now - self._heard_at > SAFE_S, now
        if not message.data and message.headers and h.NATS_STATUS in message.headers:
            await self._on_status(message.headers)
            return
        self._credit = max(0, self._credit - 1)
        try:
            lease = Lease(self._client, message, self._clock.now())
        except (KeyError, IndexError, ValueError):
            log.exception("job.unreadable", subject=message.subject)
            await publish(self._client, message.reply, b"+TERM")
            await self._pull()
            return
        if self._free <= 0:
            await lease.nak()
            return
        lease.doubtful = slept
        self._free -= 1
        self._on_lease(lease)
        await self._pull()

    async def _on_status(self, headers: dict[str, str]) -> None:
        """A pull expired (408), was refused (404, 409, 503: `run` tries again), or the server is there (100).

        Descriptions are unreliable.
        """
        status = headers[h.NATS_STATUS]
        if status == "100":
            return
        pending = headers.get(h.NATS_PENDING)
        self._credit = max(0, self._credit - int(pending)) if pending else 0
        if status == "408":
            await self._pull()
        else:
            log.debug("pull.ended", status=status, description=headers.get("Description"))
