"""How does a replica take jobs that are meant for it, and those that others leave lying?

A router may store a job on one replica's lane, because what the job begins with is in that replica's KV cache. Nothing
of this happens before a router asks who has a lane: until then a worker pulls as if there were none. From then on it
sweeps (priorities.py), over its own lane and what is for everybody, in turns; so it never has more jobs than slots. Why
not a credit at each: docs/decisions/0055.

A lane is a preference, never a trap. Once a second each replica looks at all lanes of its model. Where there were jobs
a second ago as well, their replica may be full, gone, frozen or draining: whoever has a slot takes what waits there,
with a pull that gives way to the owner's.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog
from msgspec import Struct

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire.lanes import LaneReport
from golek_worker.bus import queue, streams
from golek_worker.bus.consumer import Consumer
from golek_worker.bus.jetstream import BUS_ERRORS, ServerClock, api
from golek_worker.bus.lease import Lease
from golek_worker.bus.priorities import PriorityConsumer, Source, sources
from golek_worker.bus.queue import OnLanes

log = structlog.get_logger("lanes")

LOOK_S = 1.0
"""Between two looks at all lanes: what lay there at both is left behind."""
LANES_LOOKED_AT = 16
"""Where there are more lanes, each replica looks more seldom."""
UNUSED_S = 60.0
"""No router asked for so long, and nothing lies on lanes: nobody looks any more."""
MOST_ASKING = 64
LEFT_PRIORITY = 9
"""Of pulls from others' lanes: the owner comes first."""


class Seen(Struct, frozen=True):
    """What the server says of one lane's consumer."""

    name: str
    pending: int
    unacked: int
    """Given to a replica, and not ended: they run, or wait for their next attempt, which is told by asking for one."""


class Pulls(Protocol):
    """How a worker takes jobs."""

    @property
    def free(self) -> int: ...
    async def resume(self) -> None: ...
    async def pause(self) -> None: ...
    async def release(self) -> None: ...
    async def reconnected(self) -> None: ...
    async def run(self) -> None: ...


class LanedConsumer:
    """Pulls leases of what is for everybody, and once routers use lanes of the own lane and of what others leave."""

    def __init__(
        self,
        client: BusClient,
        token: str,
        kind: str,
        strategy: str,
        slots: int,
        on_lease: Callable[[Lease], None],
        clock: ServerClock,
        worker_id: str,
        *,
        offers_lane: bool = True,
        tell: Callable[[OnLanes], None] = lambda _: None,
    ) -> None:
        """Without `offers_lane` it has none, and still takes what others leave. `tell` hears what lies on lanes."""
        self._client = client
        self._token = token
        self._kind = kind
        self._classes = queue.classes(strategy)
        self._slots = slots
        self._on_lease = on_lease
        self._clock = clock
        self._worker_id = worker_id
        self._lane = subjects.lane(worker_id) if offers_lane else ""
        self._tell = tell
        self._stream = subjects.job_stream(token)
        self._now: Pulls = self._without_lanes(strategy)
        self._sweeping: PriorityConsumer | None = None
        """None until lanes are used."""
        self._serving = False
        self._changing = False
        self._wanted = asyncio.Event()
        self._called_at = 0.0
        self._asking: set[str] = set()
        """Inboxes of routers that asked before there was a lane."""
        self._waited: frozenset[str] = frozenset()
        """Consumers of lanes that had jobs at the last look."""

    @property
    def free(self) -> int:
        """Slots without a job."""
        return self._now.free

    async def start(self) -> None:
        """Listen for routers that ask who has a lane."""
        await self._client.subscribe_direct(subjects.lanes_called(self._token), self._on_call)

    async def resume(self) -> None:
        """Start pulling: an engine is ready."""
        self._serving = True
        if not self._changing:
            await self._now.resume()

    async def pause(self) -> None:
        """Stop pulling; returns once no pull is left. What was on its way has arrived then."""
        self._serving = False
        await self._now.pause()

    async def release(self) -> None:
        """A lease has ended: its slot is free."""
        await self._now.release()

    async def reconnected(self) -> None:
        """The server knows none of our pulls any more."""
        await self._now.reconnected()

    async def run(self) -> None:
        """Pull for as long as the worker lives, and look after lanes once there are any."""
        async with asyncio.TaskGroup() as group:
            pulling = group.create_task(self._now.run())
            await self._until_wanted()
            sweeping = await self._change()
            pulling.cancel()
            group.create_task(sweeping.run())
            await self._look_after(sweeping)

    # -- until there are lanes ---------------------------------------------------------------------------------

    def _without_lanes(self, strategy: str) -> Pulls:
        if strategy != streams.FIFO:
            return PriorityConsumer(
                self._client, self._stream, sources(self._token, self._kind), self._slots, self._on_lease, self._clock
            )
        consumer = subjects.consumer(self._token, self._kind)
        return Consumer(self._client, self._stream, consumer, self._slots, self._on_lease, self._clock)

    async def _until_wanted(self) -> None:
        """Wait for a router that uses lanes, unless jobs lie there from before: then all who knew of them are gone."""
        while True:
            try:
                if await self._found_left():
                    return
                break
            except BUS_ERRORS as error:
                log.debug("lanes.unseen", problem=str(error) or type(error).__name__)
                await asyncio.sleep(LOOK_S)
        await self._wanted.wait()

    async def _found_left(self) -> bool:
        """Whether jobs lie on lanes; each of these has a consumer then."""
        wanted = f"{self._kind}.job.{self._token}.>"
        info = await api(self._client, f"STREAM.INFO.{self._stream}", {"subjects_filter": wanted})
        found = [subject.split(".")[-2:] for subject in info["state"].get("subjects") or {}]
        left = [(name, lane) for name, lane in found if lane != subjects.ANY_LANE]
        for name, lane in left:
            await self._ensure(name, lane)
        return bool(left)

    async def _ensure(self, name: str, lane: str) -> None:
        config = streams.consumer_config(self._token, self._kind, name, lane)
        await streams.ensure_consumer(self._client, self._stream, config)

    async def _change(self) -> PriorityConsumer:
        """From now on sweep: the old consumer's pulls end before the first sweep begins, so that none is too much."""
        await self._make_lane()
        old = self._now
        self._changing = True
        if self._serving:
            await _patiently(old.pause)
        sweeping = PriorityConsumer(
            self._client, self._stream, self._laned_sources(), old.free, self._on_lease, self._clock
        )
        self._now, self._changing = sweeping, False
        if self._serving:
            await sweeping.resume()
        self._sweeping = sweeping
        log.info("lanes.used", lane=self._lane)
        asking, self._asking = self._asking, set()
        for inbox in asking:
            await _patiently(lambda inbox=inbox: self._report(inbox))  # type: ignore[misc]
        return sweeping

    async def _make_lane(self) -> None:
        """A consumer for each class of the own lane. One that exists otherwise is nobody's: then there is no lane."""
        try:
            for name in self._classes if self._lane else ():
                await _patiently(lambda name=name: self._ensure(name, self._lane))  # type: ignore[misc]
        except streams.MismatchError as error:
            log.warning("lane.unusable", problem=str(error))
            self._lane = ""

    def _laned_sources(self) -> list[Source]:
        """Each class twice, the own lane first. In `fifo` nobody says that a job for everybody was stored."""
        listed = []
        for place, name in enumerate(self._classes):
            if self._lane:
                consumer = subjects.consumer(self._token, self._kind, name, self._lane)
                told = subjects.stored(self._token, self._kind, name, self._lane)
                listed.append(Source(consumer, told, place))
            told = subjects.stored(self._token, self._kind, name) if len(self._classes) > 1 else ""
            listed.append(Source(subjects.consumer(self._token, self._kind, name), told, place))
        return listed

    # -- while there are ---------------------------------------------------------------------------------------

    async def _on_call(self, message: Delivery) -> None:
        """A router uses lanes, and asks for this one."""
        self._called_at = time.monotonic()
        self._wanted.set()
        if not message.reply:
            return
        if self._sweeping is None:
            if len(self._asking) < MOST_ASKING:
                self._asking.add(message.reply)
            return
        await self._report(message.reply)

    async def _report(self, inbox: str) -> None:
        """Say that the lane is there, while jobs are taken."""
        if self._serving and self._lane:
            report = LaneReport(self._worker_id, self._lane, max(0, self.free), self._slots)
            await publish(self._client, inbox, codec.encode(report))

    async def _look_after(self, sweeping: PriorityConsumer) -> None:
        """Find what was left, for as long as lanes are used or something lies there."""
        self._called_at = self._called_at or time.monotonic()
        on_lanes, pause_s = OnLanes(), LOOK_S
        while True:
            await asyncio.sleep(pause_s)
            if time.monotonic() - self._called_at > UNUSED_S and on_lanes == OnLanes():
                continue
            try:
                listed = await self._lanes()
            except BUS_ERRORS as error:
                log.debug("lanes.unseen", problem=str(error) or type(error).__name__)
                continue
            on_lanes = OnLanes(sum(lane.pending for lane in listed), sum(lane.unacked for lane in listed))
            self._tell(on_lanes)
            pause_s = pause(len(listed), follows=self._visit(sweeping, listed))

    def _visit(self, sweeping: PriorityConsumer, listed: Sequence[Seen]) -> bool:
        """Ask others' lanes that had jobs at the last look, too; whether a second look must follow this one."""
        own = {subjects.consumer(self._token, self._kind, name, self._lane) for name in self._classes}
        there = frozenset(lane.name for lane in listed if lane.pending or lane.unacked) - own
        left, first = there & self._waited, not self._waited
        self._waited = there if first or len(listed) <= LANES_LOOKED_AT else frozenset()
        if sweeping.free > 0 and left:
            sweeping.visit([Source(name, priority=LEFT_PRIORITY) for name in sorted(left)])
        return first and bool(there)

    async def _lanes(self) -> list[Seen]:
        """All lanes of this model and kind. Raises as `api` does."""
        everybody = {subjects.consumer(self._token, self._kind, name) for name in subjects.PRIORITIES.values()}
        found: list[dict[str, Any]] = []
        total = 1
        while len(found) < total:
            page = await api(self._client, f"CONSUMER.LIST.{self._stream}", {"offset": len(found)})
            found += page["consumers"] or []
            total = page["total"] if page["consumers"] else 0
        return [
            Seen(one["name"], one["num_pending"], one["num_ack_pending"])
            for one in found
            if one["name"] not in everybody and one["config"].get("filter_subject", "").startswith(f"{self._kind}.")
        ]


def pause(lanes: int, *, follows: bool) -> float:
    """Seconds until the next look. Of many replicas each looks seldom, so that together they ask the server no more
    often than LANES_LOOKED_AT of them would; the second of two looks follows the first after LOOK_S.
    """
    return LOOK_S if follows else LOOK_S * max(1.0, lanes / LANES_LOOKED_AT * random.uniform(0.5, 1.5))


async def _patiently(step: Callable[[], Any]) -> None:
    """Do `step` until the bus lets it happen."""
    while True:
        try:
            await step()
            return
        except BUS_ERRORS as error:
            log.debug("lanes.delayed", problem=str(error) or type(error).__name__)
            await asyncio.sleep(LOOK_S)
