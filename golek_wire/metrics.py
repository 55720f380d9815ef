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
OPEN_STREAMS: Final = Metric("golek_open_streams", "gauge", "Streams that are being sent.")
OPEN_REQUESTS: Final = Metric("golek_open_requests", "gauge", "Requests that are being answered.")
RSS_BYTES: Final = Metric("golek_process_resident_memory_bytes", "gauge", "Memory of this process.")
READY: Final = Metric("golek_ready", "gauge", "1 while requests may be sent here.")

QUEUE_PENDING: Final = Metric("golek_queue_pending", "gauge", "Jobs that wait in a model's queue.", ("model",))
QUEUE_CAPACITY: Final = Metric("golek_queue_capacity", "gauge", "Jobs that a model's queue holds.", ("model",))
MODEL_UP: Final = Metric("golek_model_up", "gauge", "1 while a model takes requests.", ("model",))
REPLICAS: Final = Metric("golek_replicas", "gauge", "Replicas of a model that are alive.", ("model",))
SLOTS: Final = Metric("golek_slots", "gauge", "Requests that a replica runs at once.", ("model", "worker"))
SLOTS_BUSY: Final = Metric("golek_slots_busy", "gauge", "Requests that a replica runs.", ("model", "worker"))
STALLED: Final = Metric("golek_stalled", "gauge", "1 while a replica's engine makes no progress.", ("model", "worker"))
CACHE_HIT_RATIO: Final = Metric(
    "golek_cache_hit_ratio", "gauge", "Of the tokens of prompts: found in the KV cache.", ("model", "worker")
)
KV_USE: Final = Metric("golek_kv_use", "gauge", "Of the KV cache: held by running sequences.", ("model", "worker"))
TOKENS_PER_SECOND: Final = Metric(
    "golek_engine_tokens_per_second", "gauge", "Tokens written in the last minute, per second.", ("model", "worker")
)
ENGINE_TTFT_SECONDS: Final = Metric(
    "golek_engine_ttft_seconds", "gauge", "From lease to first token in the last minute: the median.",
    ("model", "worker"),
)  # fmt: skip
ENGINE_ITL_SECONDS: Final = Metric(
    "golek_engine_inter_token_seconds", "gauge", "Between two tokens in the last minute: the median.",
    ("model", "worker"),
)  # fmt: skip

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
