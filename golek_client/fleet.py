"""How is the fleet, by what its workers say?

A reducer: heartbeats, load reports and records of `GOLEK_MODELS` go in with the time they came, and what can be told of
each model and replica comes out. It asks nobody and has no clock of its own, so that the front doors, the router and
the monitor tell the same of the same messages.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

from golek_client.discovery import ALIVE_S, gone
from golek_wire import moments
from golek_wire.signals import TAKES_REQUESTS, EngineStats, Health, Level, LoadReport, ModelRecord, WorkerStatus
from golek_wire.subjects import is_model_name

LEFT: Final = ("offline", "failed")
"""Last words: such a replica reports no more, and a model of such replicas alone is not served."""
SILENT_S: Final = 35.0
"""Three load reports of an idle worker and a bit, or a heartbeat and a bit: who is silent for longer may be gone."""
KEPT: Final = 5000
"""Of more workers, or models, nothing is kept: names come from the bus, and memory must not grow with them."""
WORKER_ID_LIMIT: Final = 256
_PAST_KEPT: Final = 8
_ON_THE_WAY: Final = ("starting", "loading")
Presence = Literal["here", "silent", "gone"]
"""Whether a replica was heard: `silent` is overdue and does not answer, of a `gone` one the bus knows no connection."""


class Replica(Struct, frozen=True):
    """A process that serves a model, as it was when last heard of."""

    worker_id: str
    model: str
    status: WorkerStatus = "online"
    """Of its heartbeat. One that was only heard by its load reports has none yet, and pulls jobs: it is `online`."""
    slots: int = 0
    active: int = 0
    heard_at: float = 0.0
    """When its last message of either kind came, on the reader's clock."""
    told_at: float | None = None
    """When its last load report came; None without one."""
    incarnation: str = ""
    """Another one after a restart."""
    seq: int = 0
    level: Level | None = None
    last_token_age_ms: int | None = None
    """Since its engine's last sign of progress, as of the last message."""
    health: Health | None = None
    """Its last heartbeat."""
    stats: EngineStats | None = None
    is_busy: bool = False
    """Whether anything ran or waited by its last load report: then it reports every second."""
    presence: Presence = "here"
    """As whoever asks after overdue replicas found it (presence.py); any message of it makes it `here` again."""

    @property
    def in_rotation(self) -> bool:
        """Whether requests may be sent to it: it is here, and serves or loads the model for who asks."""
        return self.presence == "here" and self.status in TAKES_REQUESTS

    @property
    def is_stalled(self) -> bool:
        """Whether its engine makes no progress."""
        return self.status == "stalled"

    @property
    def problem(self) -> str | None:
        """Why it does not answer, in its own words."""
        return self.health.problem if self.health is not None else None


class ModelState(Struct, frozen=True):
    """A model, and all that is known of its replicas."""

    name: str
    record: ModelRecord | None
    replicas: list[Replica]
    """Those that are alive, by worker id."""
    pending: int = 0
    """Jobs that wait in its queue."""
    capacity: int = 0
    """Jobs that its queue holds; 0 while that is not known."""
    stopped: bool = False
    """Whether its last worker said that it leaves, so that nobody misses it."""

    @property
    def status(self) -> WorkerStatus:
        """The best of its replicas' states, where one that does not answer counts as stalled; what the record says
        where no replica was heard.
        """
        said: Collection[WorkerStatus] = {one.status if one.presence == "here" else "stalled" for one in self.replicas}
        return next(
            (status for status in _BEST_FIRST if status in said), self.record.state if self.record else "offline"
        )

    @property
    def in_rotation(self) -> bool:
        """Whether a replica is."""
        return any(one.in_rotation for one in self.replicas)

    @property
    def level(self) -> Level:
        """The worst that its replicas report; critical where none is in rotation, on its way, or stopped in order."""
        if self.stopped:
            return "healthy"
        if not self.in_rotation:
            return "warning" if self.is_coming else "critical"
        return worst(one.level for one in self.replicas if one.level is not None)

    @property
    def takes_requests(self) -> bool:
        """Whether a request is answered soon: a replica serves, or loads the model for whoever asks."""
        return self.status in TAKES_REQUESTS

    @property
    def is_loaded(self) -> bool:
        """Whether a replica has it in memory, and makes progress."""
        return self.status == "online"

    @property
    def is_coming(self) -> bool:
        """Whether it is on its way for the first time."""
        return self.status in _ON_THE_WAY

    @property
    def active(self) -> int:
        """Jobs that run."""
        return sum(one.active for one in self.replicas)

    @property
    def slots(self) -> int:
        """Jobs that may run at once."""
        return sum(one.slots for one in self.replicas if one.status not in LEFT)

    @property
    def utilization(self) -> float:
        """(pending + active) ÷ capacity."""
        return (self.pending + self.active) / self.capacity if self.capacity else 0.0


_LEVELS: Final[tuple[Level, ...]] = ("healthy", "warning", "critical")


def worst(levels: Iterable[Level]) -> Level:
    """The worst of them; healthy without any."""
    return max(levels, key=_LEVELS.index, default="healthy")


_BEST_FIRST: Final[tuple[WorkerStatus, ...]] = (
    "online", "unloaded", "loading", "starting", "stalled", "draining", "failed", "offline",
)  # fmt: skip


class _Queue(Struct, frozen=True):
    """The newest word on a model's queue."""

    pending: int
    capacity: int
    at: float


class FleetView:
    """What is known of the fleet. Times are seconds on any clock that does not go back."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[ModelRecord, float]] = {}
        self._replicas: dict[str, Replica] = {}
        self._queues: dict[str, _Queue] = {}
        self._past: dict[str, tuple[str, ...]] = {}
        """Incarnations that a worker had before, the last ones."""

    def heartbeat(self, health: Health, now: float) -> None:
        """A worker said how it is. A message of a release that names no worker is passed over."""
        if not self._has_room(health.worker_id, health.model_name):
            return
        if self._is_late(health.worker_id, health.incarnation, health.status):
            return
        before = self._of(health.worker_id, health.model_name, health.incarnation)
        self._replicas[health.worker_id] = msgspec.structs.replace(
            before,
            status=health.status,
            slots=health.slots or before.slots,
            active=health.active,
            heard_at=now,
            incarnation=health.incarnation or before.incarnation,
            last_token_age_ms=health.last_token_age_ms,
            health=health,
            stats=health.engine_stats or before.stats,
            presence="here",
        )

    def report(self, report: LoadReport, now: float) -> None:
        """A worker said how busy it is. One that is older than what is known of the same process, or that comes from an
        earlier one, changes nothing.
        """
        queue = _Queue(report.pending_messages, report.queue_capacity, now)
        if not report.worker_id:
            self._queued(report.model_name, queue)
            return
        if not self._has_room(report.worker_id, report.model_name):
            return
        if self._is_late(report.worker_id, report.incarnation, report.state):
            return
        before = self._of(report.worker_id, report.model_name, report.incarnation)
        if report.seq < before.seq:
            return
        self._queued(report.model_name, queue)
        self._replicas[report.worker_id] = msgspec.structs.replace(
            before,
            status=report.state or before.status,
            slots=report.worker_count,
            active=report.active_processing,
            heard_at=now,
            told_at=now,
            incarnation=report.incarnation or before.incarnation,
            seq=report.seq,
            is_busy=report.active_processing > 0 or report.pending_messages > 0,
            level=report.status,
            last_token_age_ms=report.last_token_age_ms,
            stats=report.engine_stats or before.stats,
            presence="here",
        )

    def missed(self, worker_id: str, presence: Presence) -> None:
        """A replica that should have been heard was asked after, with this outcome. One that is unknown stays so."""
        if (known := self._replicas.get(worker_id)) is not None:
            self._replicas[worker_id] = msgspec.structs.replace(known, presence=presence)

    def answered(self, worker_id: str, now: float) -> None:
        """It was asked after, and answered: it is here, though nothing more is known of it than before."""
        if (known := self._replicas.get(worker_id)) is not None and known.status not in LEFT:
            self._replicas[worker_id] = msgspec.structs.replace(known, presence="here", heard_at=now)

    def know(self, records: Collection[ModelRecord], now: float) -> None:
        """These are all the records that the bucket has."""
        named = [record for record in records if is_model_name(record.name)]
        self._records = {record.name: (record, now) for record in named[:KEPT]}

    def learn(self, record: ModelRecord, now: float) -> None:
        """One record was looked up: it may be newer than what `know` was told last."""
        if is_model_name(record.name) and (record.name in self._records or len(self._records) < KEPT):
            self._records[record.name] = record, now

    def models(self, now: float, wall: datetime | None = None) -> list[ModelState]:
        """Every model that is served or expected, by name; with those whose workers are gone, as their records say.

        `wall` is the time by which records are dated; the system's without it.
        """
        wall, alive = wall or datetime.now(UTC), self._alive(now)
        return [self._state(name, alive, now, wall) for name in sorted(alive.keys() | self._records.keys())]

    def model(self, name: str, now: float, wall: datetime | None = None) -> ModelState | None:
        """One model; None when nothing is known of it."""
        alive = self._alive(now)
        if name not in self._records and name not in alive:
            return None
        return self._state(name, alive, now, wall or datetime.now(UTC))

    def left(self) -> list[str]:
        """Models whose last worker said that it leaves, so that nobody misses them."""
        return [name for name, (record, _) in self._records.items() if record.state == "offline"]

    def knows(self, name: str) -> bool:
        """Whether there is, or lately was, a model of this name."""
        return name in self._records or name in self._queues

    def replicas(self, now: float) -> list[Replica]:
        """Those that were heard lately and neither left nor are gone, by worker id."""
        alive = [
            one
            for one in self._replicas.values()
            if one.status not in LEFT and one.presence != "gone" and now - one.heard_at <= ALIVE_S
        ]
        return sorted(alive, key=lambda one: one.worker_id)

    def replica(self, worker_id: str) -> Replica | None:
        """One of those that were heard and not forgotten."""
        return self._replicas.get(worker_id)

    def everyone(self) -> list[Replica]:
        """All that were heard and not forgotten, also those that left or are gone, by worker id."""
        return sorted(self._replicas.values(), key=lambda one: one.worker_id)

    def forget(self, now: float, keep_s: float = ALIVE_S) -> None:
        """Let go of replicas that were not heard for `keep_s`, and of queues of which nothing is told any more."""
        self._replicas = {key: one for key, one in self._replicas.items() if now - one.heard_at <= keep_s}
        self._queues = {name: one for name, one in self._queues.items() if now - one.at <= ALIVE_S}
        self._past = {key: ids for key, ids in self._past.items() if key in self._replicas}

    def is_silent(self, replica: Replica, now: float) -> bool:
        """Whether a replica that is counted as alive should have been heard of by now."""
        return now - replica.heard_at > SILENT_S

    def _alive(self, now: float) -> dict[str, list[Replica]]:
        """`replicas` by model."""
        found: dict[str, list[Replica]] = {}
        for one in self.replicas(now):
            found.setdefault(one.model, []).append(one)
        return found

    def _state(self, name: str, by_model: dict[str, list[Replica]], now: float, wall: datetime) -> ModelState:
        alive = by_model.get(name, [])
        queue = self._queues.get(name)
        if queue is None or now - queue.at > ALIVE_S:
            queue = _Queue(0, 0, now)
        record, read_at = self._records.get(name, (None, 0.0))
        stopped = record is not None and not alive and record.state == "offline"
        if record is not None and not alive and record.state not in LEFT:
            left = any(one.model == name and one.heard_at >= read_at for one in self._replicas.values())
            writer = self._replicas.get(record.worker_id)
            left = left or (writer is not None and writer.presence == "gone")  # nobody takes back what it wrote
            if left or gone(record, wall) is not None:
                record = msgspec.structs.replace(record, state="offline", last_seen=self._last_seen(record, now, wall))
        return ModelState(name, record, alive, queue.pending, queue.capacity, stopped)

    def _last_seen(self, record: ModelRecord, now: float, wall: datetime) -> str:
        """A worker may have been heard since it renewed its record."""
        heard = max((one.heard_at for one in self._replicas.values() if one.model == record.name), default=None)
        said = record.last_seen
        return said if heard is None else max(said, moments.stamp(wall.timestamp() - now + heard))

    def _has_room(self, worker_id: str, model: str) -> bool:
        """Whether a worker is known, or can be: these may be names, and there are not too many yet."""
        known = self._replicas.get(worker_id)
        if known is not None and known.model == model:
            return True
        named = 0 < len(worker_id) <= WORKER_ID_LIMIT and worker_id.isprintable() and is_model_name(model)
        return named and (known is not None or len(self._replicas) < KEPT)

    def _queued(self, model: str, queue: _Queue) -> None:
        if model in self._queues or (is_model_name(model) and len(self._queues) < KEPT):
            self._queues[model] = queue

    def _is_late(self, worker_id: str, incarnation: str, state: WorkerStatus | None) -> bool:
        """Whether a message is of a process that is known to have ended.

        1. of an incarnation that another one followed
        2. of one that said that it leaves, unless it says so once more; who leaves does not come back as the same
        """
        if not incarnation:
            return False
        if incarnation in self._past.get(worker_id, ()):  # 1
            return True
        known = self._replicas.get(worker_id)
        if known is None or known.incarnation != incarnation:
            return False
        return known.status in LEFT and state not in LEFT  # 2

    def _of(self, worker_id: str, model: str, incarnation: str) -> Replica:
        """What is known of the process that speaks: nothing, where it is another one than before."""
        known = self._replicas.get(worker_id)
        if known is None or known.model != model:
            return Replica(worker_id, model)
        if incarnation and known.incarnation and incarnation != known.incarnation:
            self._past[worker_id] = (*self._past.get(worker_id, ()), known.incarnation)[-_PAST_KEPT:]
            return Replica(worker_id, model)
        if incarnation and not known.incarnation and known.status in LEFT:
            return Replica(worker_id, model)
        return known
