"""How are the fleet's figures called?

The names of all metrics that Prometheus reads from Golek, whoever serves them: a gateway, a worker, the monitor.
"""

from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric. Counters are read with `_total` at their end, histograms with `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_GAPS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0)

REQUESTS: Final = Metric("golek_requests", "counter", "Requests over HTTP.", ("model", "route", "status", "key"))
ERRORS: Final = Metric("golek_errors", "counter", "Requests that ended in an error, by its code.", ("code",))
REQUEST_SECONDS: Final = Metric(
    "golek_request_seconds", "histogram", "From a request to the end of its response.", ("route",), _SECONDS
)
TTFT_SECONDS: Final = Metric(
    "golek_ttft_seconds", "histogram", "From a request to the first event of its stream.", ("model",), _SECONDS
)
INTER_TOKEN_SECONDS: Final = Metric(
    "golek_inter_token_seconds", "histogram", "Between two tokens of a stream, on average over it.", ("model",), _GAPS
)
TOKENS: Final = Metric("golek_tokens", "counter", "Tokens read (`in`) and written (`out`).", ("model", "direction"))
CACHED: Final = Metric(
    "golek_cached_requests", "counter", "Requests by what part a cache had: hit, miss, bypass.", ("model", "cache")
)
COST_USD: Final = Metric("golek_cost_usd", "counter", "Dollars that clouds took.", ("model", "provider"))
OPEN_STREAMS: Final = Metric("golek_open_streams", "gauge", "Streams that are being sent.")
OPEN_REQUESTS: Final = Metric("golek_open_requests", "gauge", "Requests that are being answered.")
RSS_BYTES: Final = Metric("golek_process_resident_memory_bytes", "gauge", "Memory of this process.")
READY: Final = Metric("golek_ready", "gauge", "1 while requests may be sent here.")

QUEUE_PENDING: Final = Metric("golek_queue_pending", "gauge", "Jobs that wait in a model's queue.", ("model",))
QUEUE_CAPACITY: Final = Metric("golek_queue_capacity", "gauge", "Jobs that a model's queue holds.", ("model",))
MODEL_UP: Final = Metric(
    "golek_model_up", "gauge", "1 while a model takes requests, else 0; not told of one that was stopped.", ("model",)
)
REPLICAS: Final = Metric("golek_replicas", "gauge", "Replicas of a model that are alive.", ("model",))
SLOTS: Final = Metric("golek_slots", "gauge", "Requests that a replica runs at once.", ("model", "worker"))
SLOTS_BUSY: Final = Metric("golek_slots_busy", "gauge", "Requests that a replica runs.", ("model", "worker"))
STALLED: Final = Metric("golek_stalled", "gauge", "1 while a replica's engine makes no progress.", ("model", "worker"))
CACHE_HIT_RATIO: Final = Metric(
    "golek_cache_hit_ratio", "gauge", "Of the tokens of prompts: found in the KV cache.", ("model", "worker")
)
KV_USE: Final = Metric("golek_kv_use", "gauge", "Of the KV cache: held by running sequences.", ("model", "worker"))
TOKENS_PER_SECOND: Final = Metric(
    "golek_engine_tokens_per_second",
    "gauge",
    "Tokens that a replica writes, over the last ten seconds.",
    ("model", "worker"),
)
ENGINE_TTFT_SECONDS: Final = Metric(
    "golek_engine_ttft_seconds", "gauge", "From lease to first token in the last minute: the median.",
    ("model", "worker"),
)  # fmt: skip
ENGINE_ITL_SECONDS: Final = Metric(
    "golek_engine_inter_token_seconds", "gauge", "Between two tokens in the last minute: the median.",
    ("model", "worker"),
)  # fmt: skip

WORKER_INFO: Final = Metric(
    "golek_worker_info", "gauge", "What a replica is; always 1.", ("model", "worker", "engine", "device", "version")
)
WORKER_UP: Final = Metric(
    "golek_worker_up", "gauge", "1 while a replica is heard, 0 once it is silent, lost or failed.", ("model", "worker")
)
IN_ROTATION: Final = Metric("golek_in_rotation", "gauge", "1 while requests may go to a replica.", ("model", "worker"))
LAST_SEEN_AGE: Final = Metric(
    "golek_last_seen_age_seconds", "gauge", "Since a replica was last heard.", ("model", "worker")
)
LAST_TOKEN_AGE: Final = Metric(
    "golek_last_token_age_seconds", "gauge", "Since a replica's engine last made progress, when it last said so.",
    ("model", "worker"),
)  # fmt: skip
PING_SECONDS: Final = Metric("golek_ping_seconds", "gauge", "To a replica over the bus and back.", ("model", "worker"))
LOG_LAG_SECONDS: Final = Metric(
    "golek_log_lag_seconds", "gauge", "Age of the oldest row that waits for a replica's request log.",
    ("model", "worker"),
)  # fmt: skip
CLOCK_SKEW_SECONDS: Final = Metric(
    "golek_clock_skew_seconds", "gauge", "A replica's clock less the monitor's.", ("model", "worker")
)
MODEL_REPLICAS_IN_ROTATION: Final = Metric(
    "golek_model_replicas_in_rotation", "gauge", "Replicas of a model that requests may go to.", ("model",)
)
MODEL_REQUESTS_PER_SECOND: Final = Metric(
    "golek_model_requests_per_second", "gauge", "Requests to a model that ended, over the last ten seconds.", ("model",)
)
MODEL_ERRORS_PER_SECOND: Final = Metric(
    "golek_model_errors_per_second", "gauge", "Of them: that failed in the fleet.", ("model",)
)
MODEL_REFUSED_PER_SECOND: Final = Metric(
    "golek_model_refused_per_second", "gauge", "Of them: that were refused before they were queued.", ("model",)
)
MODEL_TOKENS_PER_SECOND: Final = Metric(
    "golek_model_tokens_per_second", "gauge", "Tokens that a model writes, over the last ten seconds.", ("model",)
)
MODEL_COST_USD_PER_HOUR: Final = Metric(
    "golek_model_cost_usd_per_hour",
    "gauge",
    "Dollars that clouds take for what is asked of a model, as over the last ten seconds; of routers.",
    ("model",),
)
MODEL_COST_USD: Final = Metric(
    "golek_model_cost_usd",
    "counter",
    "Dollars that clouds took since the worker began, over NATS and HTTP; of routers.",
    ("model", "worker"),
)
MODEL_RESPONSE_SECONDS: Final = Metric(
    "golek_model_response_seconds",
    "gauge",
    "From lease to last token, on average over the last ten seconds.",
    ("model",),
)
MODEL_TTFT_SECONDS: Final = Metric(
    "golek_model_ttft_seconds", "gauge", "From lease to first token in the last minute: the median replica's median.",
    ("model",),
)  # fmt: skip
QUEUE_USE: Final = Metric("golek_queue_use", "gauge", "Of a model's queue: taken by jobs that wait or run.", ("model",))
DEAD_LETTERS: Final = Metric("golek_dead_letters", "gauge", "Dead letters of a model that are kept.", ("model",))
GATEWAY_READY: Final = Metric("golek_gateway_ready", "gauge", "1 while a gateway takes requests.", ("gateway",))
GATEWAY_OPEN_REQUESTS: Final = Metric(
    "golek_gateway_open_requests", "gauge", "Requests that a gateway is answering, streams among them.", ("gateway",)
)
GATEWAY_OPEN_STREAMS: Final = Metric("golek_gateway_open_streams", "gauge", "Streams that it is sending.", ("gateway",))
GATEWAY_REQUESTS_PER_SECOND: Final = Metric(
    "golek_gateway_requests_per_second", "gauge", "Requests to a gateway that ended, over the last ten seconds.",
    ("gateway",),
)  # fmt: skip
GATEWAY_REFUSED_PER_SECOND: Final = Metric(
    "golek_gateway_refused_per_second", "gauge", "Of them: that it refused before a model was asked.", ("gateway",)
)
ALERTS_FIRING: Final = Metric("golek_alerts_firing", "gauge", "Alerts that fire.", ("kind", "severity"))
BUS_CONNECTED: Final = Metric(
    "golek_bus_connected", "gauge", "1 while the monitor hears the bus; what it tells of the fleet is old else."
)
EVENT_READERS: Final = Metric("golek_event_readers", "gauge", "Browsers and programs that read the monitor's events.")
CPU_SECONDS: Final = Metric("golek_process_cpu_seconds", "counter", "Time that this process has computed.")

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
