"""What do workers say of themselves?

Health answers a question, a heartbeat is sent every 30 s, a load report every second under load, and the model record
lies in the bucket `GOLEK_MODELS`. The keys that every reader knows come first in each.
"""

import math
from typing import Final, Literal

from msgspec import Struct, field

from golek_wire.routing import Offer
from golek_wire.subjects import SERVED, Kind

WorkerStatus = Literal["starting", "loading", "online", "unloaded", "stalled", "draining", "offline", "failed"]
"""`unloaded` takes requests and loads its model for the next one, `draining` finishes its jobs, `offline` has left on
its own account, `failed` could not go on."""
TAKES_REQUESTS: Final = ("online", "unloaded")
"""Of them: a request is answered soon."""
Level = Literal["healthy", "warning", "critical"]


class ModelInfo(Struct, frozen=True):
    """What the loaded file says of itself."""

    architecture: str = ""
    modalities: list[str] = field(default_factory=list[str])
    parameter_count: str = ""
    """For people: `268M`, `4.0B`."""
    context_size: int = 0
    """Tokens of one sequence, prompt and answer together."""
    embedding_size: int = 0
    quantization: str = ""
    model_family: str = ""
    vocab_size: int = 0
    size_bytes: int = 0


class EngineStats(Struct, frozen=True, omit_defaults=True):
    """What a replica's engine does now, and how fast it was in the last minute.

    What is not known is absent: an engine may not measure itself, and in a minute nothing of a kind may happen.
    """

    window_s: float | None = None
    """Seconds that rates and shares are measured over: the last 60, less after a load."""
    running: int | None = None
    """Sequences that have a slot now."""
    waiting: int | None = None
    """Sequences inside the engine that have none yet."""
    tokens_per_s: float | None = None
    """Tokens written in a second, of all sequences together; idle time counts."""
    prompt_tokens_per_s: float | None = None
    """Tokens of prompts read in a second, those found in the cache included; idle time counts."""
    requests: int | None = None
    """Those that the percentiles are of: that ended well in the last minute, at most 1,000."""
    ttft_ms_p50: float | None = None
    """From the lease of a job to its first token: the median."""
    ttft_ms_p95: float | None = None
    itl_ms_p50: float | None = None
    """Between two tokens of a text, on average over it: the median of texts."""
    itl_ms_p95: float | None = None
    batch_occupancy: float | None = None
    """Slots that a decode step wrote for, of all slots: 0 to 1, on average over steps."""
    decode_share: float | None = None
    """Of the time with a running sequence: spent in the model, 0 to 1. The rest is the engine's own."""
    prefix_hit_rate: float | None = None
    """Of the tokens of prompts: found in the KV cache, 0 to 1."""
    kv_cells: int | None = None
    """Cells of the KV cache that running sequences hold now, each one token."""
    kv_kept: int | None = None
    """Cells that hold the beginning of prompts to come; freed when needed."""
    kv_capacity: int | None = None
    kv_use: float | None = None
    """kv_cells ÷ kv_capacity."""


class Refusals(Struct, frozen=True):
    """How often one principal was refused, since the process began."""

    principal: str
    """The `key_id`; `anonymous` where nobody said who asked, or with a key that nobody knows."""
    status: int
    """401, 403 or 429."""
    count: int


class Traffic(Struct, frozen=True, omit_defaults=True):
    """What came to a process and how it ended, counted since it began. Readers take differences.

    A request that is asked over HTTP is counted by the gateway and by the worker.
    """

    requests: int = 0
    """That ended: answers, errors and refusals."""
    errors: int = 0
    """Of them: that failed here, with a status from 500 on."""
    refused: int = 0
    """Of them: refused before they were queued, with a status below 500; by a gateway those alone of `refusals`."""
    answered_ms: float = 0.0
    """Of all answers together: from the lease to the last token; from the request to its end at a gateway."""
    answered: int = 0
    """How many these are of."""
    tokens_in: int = 0
    tokens_out: int = 0
    """A worker counts those of requests that still run, too."""
    cost_usd: float = 0.0
    """What clouds took."""
    refusals: list[Refusals] = field(default_factory=list[Refusals])
    """Those with a status of 401, 403 or 429, by who asked: the 32 that were refused most often."""
    cache_hits: int = 0
    """Answered from a cache, or by the run of an equal request."""
    cache_misses: int = 0
    """Looked up in a cache, and not there."""


class Health(Struct, frozen=True):
    """The answer on `models.<model>.health`, and the body of a heartbeat."""

    model_name: str
    status: WorkerStatus
    last_activity: str
    """RFC 3339; when the last request ended, or the worker started."""
    capabilities: list[str]
    endpoint: str
    """HTTP address of this replica, empty when it serves none."""
    nats_topic: str
    version: str
    model_info: ModelInfo
    worker_id: str = ""
    engine: str = ""
    device: str = ""
    """`cpu`, or the GPUs with layers on them."""
    layers: int = 0
    """Those that could be on a GPU; 0 before the model is loaded, and for engines without any."""
    offloaded_layers: int = 0
    """Those that are."""
    device_problem: str | None = None
    """Why no GPU is used though one was expected."""
    adapters: list[str] = field(default_factory=list[str])
    """LoRA adapters that this replica has loaded."""
    adapter_problems: dict[str, str] = field(default_factory=dict[str, str])
    """By name, why those that it should have are not loaded."""
    slots: int = 0
    active: int = 0
    last_token_age_ms: int | None = None
    """Since the engine's last sign of progress; None when it never gave one."""
    monitor_subject: str = ""
    """Where this model's load reports are published."""
    problem: str | None = None
    """Why the engine is down; None while it is only stalled or loading."""
    results_lost: int = 0
    """Answers of this replica that were sent but could not be kept in `GOLEK_RESULTS`."""
    log_problem: str | None = None
    """Why the request log takes no rows at the moment; answers do not wait for it."""
    log_rows_lost: int = 0
    """Rows that found no place in the log since this worker started."""
    progress: float | None = None
    """The share of the model's load that is done, 0 to 1; None while none goes on."""
    engine_stats: EngineStats | None = None
    """None while there is no engine, and for one of which nothing is known."""
    session_store: str = ""
    """Where conversations are kept: `kv`, `redis`, or `memory`, this replica's own; empty where there are none."""
    sessions_lost: int = 0
    """Turns of this replica that were answered and could not be added to their session."""
    incarnation: str = ""
    """Changes when the worker restarts; under this id NATS micro answers for it."""
    started_at: str = ""
    """RFC 3339; when this incarnation began."""
    identity: str = ""
    """Its GOLEK_NATS_IDENTITY; empty of one of an earlier release."""


class Order(Struct, frozen=True, omit_defaults=True):
    """What an operator asks on `models.<model>.load`, `.unload` and `.drain`. An empty message is an order for all."""

    worker_id: str = ""
    """The replica that is meant; all of the model without it."""
    force: bool = False
    """Unload also while jobs run: they go back to the queue."""


class Residence(Struct, frozen=True, omit_defaults=True):
    """What is so at one replica once it has done what an operator asked; before that with the header `Golek-Status`."""

    model_name: str
    worker_id: str
    status: WorkerStatus
    seconds: float
    """Since the order came."""
    problem: str | None = None
    """Why it is not as it was asked for; None when it is."""
    progress: float | None = None
    """As in `Health`."""
    active: int = 0
    """Jobs that run there."""


class LoadReport(Struct, frozen=True):
    """Body of `monitoring.inference.<token>`.

    `pending_messages` and `queue_capacity` are the model's; the rest is this replica's. Readers take the newest model
    values and sum replica values.
    """

    model_name: str
    pending_messages: int
    active_processing: int
    timestamp: str
    worker_count: int
    """Slots of this replica."""
    queue_capacity: int
    status: Level
    worker_id: str = ""
    seq: int = 0
    """Counts this worker's reports."""
    incarnation: str = ""
    """Changes when the worker restarts, so a falling `seq` is not an old message."""
    last_token_age_ms: int | None = None
    utilization: float = 0.0
    """(pending + active) ÷ capacity."""
    engine_stats: EngineStats | None = None
    """As in `Health`."""
    state: WorkerStatus | None = None
    """As `status` of `Health`: a report comes sooner than a heartbeat. None from a release that does not say it."""
    traffic: Traffic | None = None
    log_lag_s: float | None = None
    """How old the oldest row is that waits to be written to the request log; None while none waits."""
    oldest_wait_s: float | None = None
    """How long the next job has waited in the model's queue, at least; None while none waits."""


class GatewayReport(Struct, frozen=True):
    """Body of `monitoring.gateway.<id>`: a process that serves the fleet over HTTP."""

    gateway_id: str
    endpoint: str
    """Its address."""
    timestamp: str
    """RFC 3339."""
    seq: int
    incarnation: str
    version: str
    ready: bool
    open_requests: int
    """Being answered now, streams among them."""
    open_streams: int
    traffic: Traffic


AlertKind = Literal[
    "worker_lost", "worker_stalled", "worker_failed", "queue_critical", "error_rate", "dead_letters", "slow_log",
    "clock_skew", "refusals", "bus_lost",
]  # fmt: skip
Severity = Literal["warning", "critical"]


class Alert(Struct, frozen=True):
    """Body of `monitoring.alerts`: a cause that needs attention, once when it does and once when it does no longer."""

    id: str
    """The cause: its kind and what it is about. Both messages have it."""
    kind: AlertKind
    severity: Severity
    state: Literal["firing", "resolved"]
    message: str
    """A sentence for people, with what was measured and the limit, as of `timestamp`."""
    since: str
    """RFC 3339; when the cause began to count."""
    timestamp: str
    """RFC 3339; when this message was made."""
    model: str = ""
    worker_id: str = ""
    principal: str = ""
    value: float | None = None
    """What was measured, in the unit that the message names: seconds, a count, or a share from 0 to 1 of what it gives
    in percent.
    """
    limit: float | None = None
    """From where on it counts; in the same unit."""
    resolved_at: str = ""
    monitor_id: str = ""


class Aggregate(Struct, frozen=True):
    """Body of `monitoring.aggregate`: the fleet as a whole, every second."""

    timestamp: str
    """RFC 3339."""
    status: Level
    """The worst level of a model that is served; critical also while a critical alert fires."""
    models: int
    """Those that were stopped in order are left out."""
    models_online: int
    """That take requests."""
    workers: int
    """That did not leave in order; those that are lost or failed count until they come back or are forgotten."""
    workers_online: int
    """That are in rotation."""
    gateways: int
    slots: int
    active_processing: int
    pending_messages: int
    queue_capacity: int
    utilization: float
    """(pending + active) ÷ capacity of all queues together."""
    requests_per_s: float
    """Of workers, over the last ten seconds, as are the others."""
    tokens_per_s: float
    errors_per_s: float
    dead_letters: int
    """That are kept."""
    alerts: int
    """That fire."""
    monitor_id: str = ""
    seq: int = 0
    monitor_started_at: str = ""
    """RFC 3339. Of several monitors the one that began first speaks."""
    refused_per_s: float = 0.0
    """Of requests, by workers and gateways: with a status below 500, before they were queued."""


class ModelRecord(Struct, frozen=True):
    """What the fleet knows of a model, under its token in the bucket `GOLEK_MODELS`."""

    name: str
    kinds: list[str]
    """What it can be asked; the first one is its own, under which its jobs are queued. Empty while that is not known.
    """
    state: WorkerStatus
    deployment: str
    last_seen: str
    """RFC 3339."""
    context_size: int = 0
    digest: str = ""
    """Fingerprint of the model's file; two under one name are refused."""
    worker_id: str = ""
    """The replica that wrote the record last."""
    subjects: list[str] = field(default_factory=list[str])
    """Where its requests are taken; empty while that is not known."""
    capabilities: list[str] = field(default_factory=list[str])
    """What the loaded model was found able to do."""
    memory_mb: int = 0
    """Size of the model's file."""
    offers: list[Offer] = field(default_factory=list[Offer])
    """Of a router: the names it serves beside those of other workers."""
    config: str = ""
    """Of a router: the preset that `auto` stands for; empty without one."""
    orchestration_mode: str = ""
    """Of a router: how several models answer together where nobody says it."""
    identity: str = ""
    """GOLEK_NATS_IDENTITY of its workers: a router must not be laxer. Empty of one of an earlier release."""
    reject_when_full: bool | None = None
    """INFERENCE_REJECT_WHEN_FULL of its workers, which a router follows; None of one of an earlier release."""

    @property
    def own_kind(self) -> Kind | None:
        """The kind of all its jobs in the queue, whatever else it can be asked; None while that is not known."""
        return next((kind for kind in SERVED if kind in self.kinds[:1]), None)


class DeadLetter(Struct, frozen=True):
    """A job that crashed the engine each time it ran, on `golek.dlq.<token>`."""

    job_id: str
    req_id: str
    model: str
    worker_id: str
    at: str
    """RFC 3339."""
    crashes: int
    input_sha256: str
    log_tail: list[str]
    """The last lines of the engine's stderr."""
    payload: str | None = None
    """The request, when the audit setting allows bodies."""
    kind: str = "inference"
    seed: int = 0
    """The job was run with this seed each time."""
    replay: str = ""
    """The command that runs it once more."""
    subject: str = ""
    """Where its model took requests."""
    withheld: str = ""
    """Why there is no `payload`, in a sentence; empty where there is one."""


CRITICAL_UTILIZATION: Final = 0.8


def load_level(
    pending: int,
    active: int,
    capacity: int,
    *,
    stalled: bool,
    wait_s: float = 0.0,
    critical_utilization: float = CRITICAL_UTILIZATION,
    critical_wait_s: float = math.inf,
) -> Level:
    """How busy a replica is: critical when stalled, when so large a share of the queue is taken, or when the next job
    has waited so long; warning when anything waits.

    Anything waiting is a warning, because that is also when reports come every second.
    """
    if stalled or pending + active >= critical_utilization * capacity or wait_s >= critical_wait_s:
        return "critical"
    return "warning" if pending > 0 else "healthy"
