"""How does a worker get its jobs where the most urgent come first?

A sweep asks the consumers one after the other, the most urgent first, for the slots that are free and only for what is
there. When nothing waits the worker rests: one pull lies at one consumer, and the server's word that a job of another
class was stored ends it. So there is one pull at any time, and never more credit than there are free slots. Why not a
pull at each: docs/decisions/0012. Where a replica has a lane (lanes.py), each class is at two consumers, which have
turns.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import structlog
from msgspec import Struct
from nats.aio.subscription import Subscription

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.errors import BusUnavailableError
from golek_worker.bus.consumer import PULL_PRIORITY, RETRY_S
from golek_worker.bus.jetstream import BUS_ERRORS, NS, ServerClock
from golek_worker.bus.lease import SAFE_S, Lease
from golek_worker.bus.streams import PRIORITY_GROUP

log = structlog.get_logger("consumer")

REST_S = 1
"""A pull at rest ends after this long, and a sweep follows: should word of a stored job be lost, it waits no longer."""
NOTHING_THERE = ("404", "408")
"""How a pull ends that was heard: no message now, none in time."""
ANSWER_S = 1.0
"""So long an answer may take before a pull counts as lost."""


class Source(Struct, frozen=True):
    """Jobs of one class, or those of it on one lane."""

    consumer: str
    stored: str = ""
    """Where is said that one was stored; empty where nobody says so: there the pull rests."""
    place: int = 0
    """The number of the class, 0 is the most urgent; sources of one class have turns."""
    priority: int = PULL_PRIORITY
    """Of pulls."""


def sources(token: str, kind: str) -> list[Source]:
    """The classes of a model's jobs, the most urgent first."""
    return [
        Source(subjects.consumer(token, kind, name), subjects.stored(token, kind, name), place)
        for place, name in enumerate(subjects.PRIORITIES.values())
    ]


class _Pull(Struct):
    """Credit that the server has."""

    inbox: str
    credit: int
    asked_at: float
    taken: int = 0
    refused: bool = False
    """The consumer is not there, or without a leader: who asks again at once is refused at once."""

    def end(self) -> None:
        """The server sends nothing more for it."""
        self.credit = 0


class PriorityConsumer:
    """Pulls leases of several durable consumers in strict order, never more than there are free slots."""

    def __init__(
        self,
        client: BusClient,
        stream: str,
        sources: Sequence[Source],
        slots: int,
        on_lease: Callable[[Lease], None],
        clock: ServerClock,
    ) -> None:
        """`sources` with the most urgent first; at most one is without word of what is stored."""
        self._client = client
        self._pull_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}"
        self._sources = sources
        backwards = list(reversed(sources))
        self._orders = (list(sources), sorted(backwards, key=lambda source: source.place))
        self._sweeps = 0
        self._untold = next((source for source in sources if not source.stored), None)
        self._likely = self._untold or sources[len(sources) // 2]
        """Where the last job came from: there the pull rests."""
        self._left: list[Source] = []
        """Where the next sweep looks as well, after all others."""
        self._free = slots
        self._on_lease = on_lease
        self._clock = clock
        self._serving = False
        self._subscription: Subscription | None = None
        """Below its subject each pull of a sweep has its inbox."""
        self._inbox = ""
        self._number = 0
        self._pull: _Pull | None = None
        """The one that was asked last."""
        self._called: Source | None = None
        """Where a job was stored while the worker rests elsewhere."""
        self._news = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._expires = b'"expires":%d' % (REST_S * NS)

    @property
    def free(self) -> int:
        """Slots without a job."""
        return self._free

    def visit(self, left: Sequence[Source]) -> None:
        """Look there once, too, when the own sources are empty: somebody left jobs lying."""
        self._left = list(left)
        self._news.set()

    async def resume(self) -> None:
        """Start pulling: an engine is ready."""
        self._serving = True
        self._news.set()

    async def pause(self) -> None:
        """Stop pulling; returns once no pull is left. What was on its way has arrived then."""
        self._serving = False
        self._news.set()
        await self._quiet.wait()

    async def release(self) -> None:
        """A lease has ended: its slot is free."""
        self._free += 1
        self._news.set()

    async def reconnected(self) -> None:
        """What the server knows of our pulls is not known: begin anew with other inboxes."""
        self._inbox = ""
        if self._pull is not None:
            self._pull.end()
        self._news.set()

    async def run(self) -> None:
        """Pull while there is a free slot and an engine, for as long as the worker lives."""
        while True:
            self._news.clear()
            if not self._may_pull:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S if self._serving and self._free > 0 else None):
                        await self._news.wait()
                continue
            self._quiet.clear()
            try:
                await self._round()
            except BUS_ERRORS as error:
                log.debug("pulls.lost", problem=str(error) or type(error).__name__)
                self._inbox = ""
                await asyncio.sleep(RETRY_S)
            finally:
                self._quiet.set()

    @property
    def _may_pull(self) -> bool:
        return self._serving and self._free > 0 and self._client.is_connected

    async def _round(self) -> None:
        """Take what waits; where nothing does, rest until something comes.

        The second sweep finds what was stored before the server knew that we listen for word of it.
        """
        if not self._inbox:
            await self._listen()
        if await self._sweep():
            return
        self._called = None
        others = [source for source in self._sources if source is not self._likely and source.stored]
        calls = [await self._client.subscribe_direct(other.stored, self._on_stored) for other in others]
        try:
            if not await self._sweep():
                await self._rest()
        finally:
            for call in calls:
                await call.unsubscribe()

    async def _sweep(self) -> bool:
        """Take what there is, the most urgent first. True when that was something, or there is no more to ask.

        A slot that becomes free meanwhile waits for the next sweep: it belongs to the most urgent job first.
        """
        room, taken, left = self._free, 0, self._left
        self._left = []
        self._sweeps += 1
        for source in [*self._orders[self._sweeps % 2], *left]:
            inbox = f"{self._inbox}.{self._number}"
            self._number += 1
            pull = await self._ask(source, room - taken, inbox, b'"no_wait":true')
            await self._over(pull, ANSWER_S)
            if pull.credit:
                raise BusUnavailableError("a pull was not answered")
            if pull.taken:
                self._likely = self._untold or (self._likely if source in left else source)
                taken += pull.taken
            if taken >= room or not self._may_pull or not self._inbox:
                return True
        return taken > 0

    async def _rest(self) -> None:
        """Lie in wait where the last job came from, until that gives one, or one of another class is stored."""
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe_direct(inbox, self._on_message)
        pull = await self._ask(self._likely, self._free, inbox, self._expires)
        try:
            await self._over(pull, REST_S + ANSWER_S, until_called=True)
        finally:
            if self._called is not None:
                self._likely = self._untold or self._called
            if pull.credit and self._client.is_connected:
                await self._client.withdraw(subscription)
            else:
                await subscription.unsubscribe()

    async def _ask(self, source: Source, batch: int, inbox: str, how: bytes) -> _Pull:
        pull = self._pull = _Pull(inbox, batch, time.monotonic())
        body = b'{"batch":%d,%b,"group":"%b","priority":%d}' % (batch, how, PRIORITY_GROUP.encode(), source.priority)
        await publish(self._client, f"{self._pull_subject}.{source.consumer}", body, reply=inbox)
        return pull

    async def _over(self, pull: _Pull, patience_s: float, *, until_called: bool = False) -> None:
        """Wait until `pull` has ended, at most so long; a rest also by a pause, by word of a stored job, or to visit.

        Raises BusUnavailableError when it was refused.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while pull.credit:
                    if until_called and (self._called is not None or self._left or not self._serving):
                        return
                    self._news.clear()
                    await self._news.wait()
        if pull.refused:
            raise BusUnavailableError("a pull was refused")

    async def _listen(self) -> None:
        """An inbox for the pulls of sweeps; the old one and what was asked through it are given up."""
        if self._subscription is not None:
            await self._client.withdraw(self._subscription)
        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe_direct(f"{self._inbox}.*", self._on_message)

    async def _on_stored(self, message: Delivery) -> None:
        """The server stored a job where no pull of ours lies."""
        if self._called is None:
            self._called = next((source for source in self._sources if source.stored == message.subject), None)
            self._news.set()

    async def _on_message(self, message: Delivery) -> None:
        """A job, or the server's word that a pull has ended."""
        now, pull = time.monotonic(), self._pull
        if not message.data and message.headers and h.NATS_STATUS in message.headers:
            if pull is not None and pull.inbox == message.subject and message.headers[h.NATS_STATUS] != "100":
                pull.refused = message.headers[h.NATS_STATUS] not in NOTHING_THERE
                pull.end()
                self._news.set()
            return
        # A job comes under its own subject, so that it cannot be told which pull it answers: there is but one.
        if pull is not None and pull.credit:
            pull.credit -= 1
            pull.taken += 1
            self._news.set()
        try:
            lease = Lease(self._client, message, self._clock.now())
        except (KeyError, IndexError, ValueError):
            log.exception("job.unreadable", subject=message.subject)
            await publish(self._client, message.reply, b"+TERM")
            return
        if self._free <= 0:
            await lease.nak()
            return
        # Nobody knows how long a job lay here when this process slept; the pull it came by tells.
        lease.doubtful = pull is None or now - pull.asked_at > SAFE_S
        self._free -= 1
        self._on_lease(lease)
