"""What is told of the fleet, whoever tells it?

The records that REST, events, `monitor status --json`, the terminal and the page have in common. Times are RFC 3339
with a zone, ages and durations name their unit. What is not known is absent; a zero that is known is
there, which is why those have no default that msgspec would omit.
"""

from typing import Literal

from msgspec import Struct, field

from golek_client.fleet import Presence
from golek_wire.signals import Aggregate, Alert, Health, Level, ModelInfo, WorkerStatus

RowStatus = WorkerStatus | Literal["silent", "lost"]
"""As the replica says, unless it does not answer (`silent`) or its connection is gone (`lost`)."""


RowPresence = Presence | Literal["left"]
"""`here`; `silent`, which does not answer; `gone` without a word; `left` with its last word, `offline` or `failed`."""


class QueueMetrics(Struct, frozen=True):
    """A model's queue and what runs of it."""

    pending_messages: int
    active_processing: int
    queue_capacity: int


class BackpressureStatus(Struct, frozen=True):
    """How full a model is."""

    level: Level
    """The worst of its replicas'; `critical` where none takes requests, unless all were stopped in order."""
    utilization: float
    """(pending + active) ÷ capacity."""


class Service(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A model that is served or expected: one of `GET /api/services`. The first nine keys are those of seed 001."""

    model_name: str
    status: WorkerStatus
    """The best of its replicas'."""
    capabilities: list[str] = field(default_factory=list[str])
    model_info: ModelInfo
    queue_metrics: QueueMetrics
    backpressure_status: BackpressureStatus
    first_seen: str
    """When a monitor first saw it; kept in the broker."""
    uptime: int
    """Nanoseconds since `first_seen`."""
    uptime_seconds: float
    last_seen: str
    """When a replica was last heard, or its record last renewed."""
    in_rotation: bool
    """Whether a replica takes requests."""
    kinds: list[str] = field(default_factory=list[str])
    endpoints: list[str] = field(default_factory=list[str])
    """HTTP addresses of its replicas."""
    nats_topic: str = ""
    replicas: int = field(default_factory=int)
    """That are alive."""
    replicas_in_rotation: int = field(default_factory=int)
    worker_ids: list[str] = field(default_factory=list[str])
    engines: list[str] = field(default_factory=list[str])
    adapters: list[str] = field(default_factory=list[str])
    slots: int = field(default_factory=int)
    requests_per_s: float | None = None
    """That ended, refused ones too. Rates are over the last ten seconds; less where the monitor has just begun."""
    tokens_per_s: float | None = None
    """Written. Of workers that count none, as their engines say, over the last minute."""
    errors_per_s: float | None = None
    """Requests that failed in the fleet, with a status from 500 on."""
    refused_per_s: float | None = None
    """Requests that were refused before they were queued, with a status below 500: for a full queue, limits, a key."""
    cost_usd_per_hour: float | None = None
    """What clouds take, of a router; absent where they take nothing just now."""
    response_ms: float | None = None
    """From the lease to the last token, on average over the last ten seconds."""
    ttft_ms: float | None = None
    """The median replica's median of the last minute."""
    ping_ms: float | None = None
    """Until a replica answered `$SRV.PING`, over the bus and back; the quickest's."""
    dead_letters: int = field(default_factory=int)
    problem: str | None = None
    """Of a replica, or that all are gone; absent where they were stopped in order."""

    @property
    def is_stopped(self) -> bool:
        """Whether its workers all left in order: nobody misses it."""
        return self.replicas == 0 and self.status == "offline" and self.backpressure_status.level == "healthy"


class ReplicaRow(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A worker: one of `GET /api/replicas`, a row of the tables. It is shown for a while after it left."""

    worker_id: str
    model_name: str
    status: RowStatus
    presence: RowPresence
    in_rotation: bool
    last_seen: str
    last_seen_s: float
    """Seconds since."""
    slots: int = field(default_factory=int)
    active: int = field(default_factory=int)
    pending: int = field(default_factory=int)
    """In its model's queue."""
    engine: str = ""
    device: str = ""
    endpoint: str = ""
    version: str = ""
    incarnation: str = ""
    started_at: str = ""
    level: Level | None = None
    tokens_per_s: float | None = None
    """As in `Service`, like the other rates."""
    requests_per_s: float | None = None
    errors_per_s: float | None = None
    refused_per_s: float | None = None
    response_ms: float | None = None
    ttft_ms: float | None = None
    itl_ms: float | None = None
    """Between two tokens."""
    kv_use: float | None = None
    prefix_hit_rate: float | None = None
    last_token_age_ms: int | None = None
    ping_ms: float | None = None
    progress: float | None = None
    """Of its model's load."""
    log_lag_s: float | None = None
    clock_skew_s: float | None = None
    """Its clock less the monitor's, at the least that its last reports showed."""
    cost_usd: float | None = None
    """What clouds took since it began; absent where they took nothing."""
    problem: str | None = None


class ReplicaDetail(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`GET /api/replicas/{worker_id}`: all that is known of a worker."""

    row: ReplicaRow
    health: Health | None = None
    """Its last heartbeat."""
    settings: dict[str, str] | None = None
    """Those that differ from their defaults, without secrets; absent where it does not say."""
    settings_left_out: list[str] = field(default_factory=list[str])
    """Further ones that differ, whose values are too long."""


class GatewayRow(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A process that serves HTTP."""

    gateway_id: str
    endpoint: str
    status: Literal["ready", "not ready", "silent"]
    last_seen: str
    last_seen_s: float
    version: str = ""
    open_requests: int = field(default_factory=int)
    open_streams: int = field(default_factory=int)
    requests_per_s: float | None = None
    """That ended, over the last ten seconds."""
    errors_per_s: float | None = None
    refused_per_s: float | None = None
    """By the gateway itself, before a model was asked."""
    response_ms: float | None = None


class Event(Struct, frozen=True, omit_defaults=True):
    """Something that happened: a line of the event log."""

    seq: int
    """Counts this monitor's events."""
    timestamp: str
    level: Literal["info", "warning", "error"]
    code: str
    """Stable and dotted: `worker.joined`, `worker.lost`, `alert.firing`, `stream.leader_elected`, …"""
    message: str
    model_name: str = ""
    worker_id: str = ""


class History(Struct, frozen=True):
    """Figures over time, of one model or, without a name, of the fleet. Lists run side by side, oldest first."""

    model_name: str
    step_s: float
    at: list[float]
    """Seconds since 1970."""
    series: dict[str, list[float | None]]
    """`requests_per_s`, `tokens_per_s`, `errors_per_s`, `refused_per_s`, `response_ms`, `ttft_ms`, `pending`, `active`,
    `slots`.
    """


class FleetNow(Struct, frozen=True):
    """Everything at once: the first event of `GET /api/events`, and `monitor status --json`."""

    overview: Aggregate
    services: list[Service]
    replicas: list[ReplicaRow]
    gateways: list[GatewayRow]
    alerts: list[Alert]
    """Those that fire, the newest first, then those that were resolved lately."""
    events: list[Event]
    """The newest first."""
    connected: bool
    """Whether the bus is heard at the moment; what stands here is as it was before where it is not."""
    monitor_id: str = ""
    broker: str = ""
    """The bus that is, or should be, heard: its address without a login."""
    unheard_since: str = ""
    """Since when it is not; empty while it is."""


class FleetChanges(Struct, frozen=True, omit_defaults=True):
    """What changed since the last one, at most every 0.8 s: the other events of `GET /api/events`."""

    overview: Aggregate
    connected: bool
    unheard_since: str = ""
    services: list[Service] = field(default_factory=list[Service])
    replicas: list[ReplicaRow] = field(default_factory=list[ReplicaRow])
    gateways: list[GatewayRow] = field(default_factory=list[GatewayRow])
    alerts: list[Alert] = field(default_factory=list[Alert])
    events: list[Event] = field(default_factory=list[Event])
    gone_services: list[str] = field(default_factory=list[str])
    gone_replicas: list[str] = field(default_factory=list[str])
    gone_gateways: list[str] = field(default_factory=list[str])
