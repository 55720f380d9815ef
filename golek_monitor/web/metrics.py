"""GET /metrics: which figures does Prometheus read of the fleet?

Of models, replicas, gateways and alerts, as the newest frame has them. The lines are written here and not by the
library, which takes three times as long for a thousand replicas.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_monitor.records import FleetNow, GatewayRow, ReplicaRow, Service
from golek_monitor.web.door import HEADERS, Door, door
from golek_program.web.described import describe
from golek_wire import metrics as names
from golek_wire.metrics import Metric
from golek_wire.signals import AlertKind, Severity

MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"
Figure = float | int | bool | None
Sample = tuple[str, Figure]
"""Labels as they are written, and the value; without one it is left out."""
_STATM: Final = Path("/proc/self/statm")
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@describe(group="Health", summary="Figures for Prometheus.", reply=str, media="text/plain")
async def metrics(request: Request) -> Response:
    """GET /metrics."""
    entered = door(request)
    return Response(written(entered), headers={**HEADERS, "content-type": MEDIA})


def written(entered: Door) -> bytes:
    """All metrics in Prometheus' text form."""
    now = entered.frames.newest().now
    lines: list[str] = []
    for about, samples in (*_of_fleet(now), *_of_process(entered)):
        name = f"{about.name}_total" if about.kind == "counter" else about.name
        told = [f"{name}{labels} {float(value)!r}" for labels, value in samples if value is not None]
        if told:
            lines += (f"# HELP {name} {about.help}", f"# TYPE {name} {about.kind}", *told)
    return ("\n".join(lines) + "\n").encode()


def _of_fleet(now: FleetNow) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    services = [(_labels(names.MODEL_UP, one.model_name), one) for one in now.services]
    for about, of_service in _OF_SERVICES:
        yield about, [(labels, of_service(one)) for labels, one in services]
    replicas = [(_labels(names.SLOTS, one.model_name, one.worker_id), one) for one in now.replicas]
    for about, of_replica in _ALWAYS:  # but for those that left in order, which are no loss
        yield about, [(labels, of_replica(one)) for labels, one in replicas if one.status != "offline"]
    here = [(labels, one) for labels, one in replicas if _is_here(one)]
    for about, of_replica in _WHILE_HERE:
        yield about, [(labels, of_replica(one)) for labels, one in here]
    info = names.WORKER_INFO
    yield (
        info,
        [
            (_labels(info, one.model_name, one.worker_id, one.engine, one.device, one.version), 1)
            for one in now.replicas
        ],
    )
    gateways = [(_labels(names.GATEWAY_READY, one.gateway_id), one) for one in now.gateways]
    for about, of_gateway in _OF_GATEWAYS:
        yield about, [(labels, of_gateway(one)) for labels, one in gateways]
    firing = [(alert.kind, alert.severity) for alert in now.alerts if alert.state == "firing"]
    kinds = [(kind, severity) for kind in get_args(AlertKind) for severity in get_args(Severity)]
    yield names.ALERTS_FIRING, [(_labels(names.ALERTS_FIRING, *kind), firing.count(kind)) for kind in kinds]
    yield names.BUS_CONNECTED, [("", now.connected)]


def _of_process(entered: Door) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    yield names.EVENT_READERS, [("", entered.feed.readers)]
    yield names.CPU_SECONDS, [("", time.process_time())]
    yield names.RSS_BYTES, [("", _resident_bytes())]


def _resident_bytes() -> int | None:
    """None where the system does not say it like Linux."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def _labels(about: Metric, *values: str) -> str:
    pairs = [f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(about.labels, values, strict=True)]
    return f"{{{','.join(pairs)}}}"


def _is_here(one: ReplicaRow) -> bool:
    return one.presence == "here" and one.status not in ("offline", "failed", "lost")


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


_OF_SERVICES: Final[tuple[tuple[Metric, Callable[[Service], Figure]], ...]] = (
    (names.MODEL_UP, lambda one: one.in_rotation),
    (names.REPLICAS, lambda one: one.replicas),
    (names.MODEL_REPLICAS_IN_ROTATION, lambda one: one.replicas_in_rotation),
    (names.QUEUE_PENDING, lambda one: one.queue_metrics.pending_messages),
    (names.QUEUE_CAPACITY, lambda one: one.queue_metrics.queue_capacity),
    (names.QUEUE_USE, lambda one: one.backpressure_status.utilization),
    (names.MODEL_REQUESTS_PER_SECOND, lambda one: one.requests_per_s),
    (names.MODEL_ERRORS_PER_SECOND, lambda one: one.errors_per_s),
    (names.MODEL_TOKENS_PER_SECOND, lambda one: one.tokens_per_s),
    (names.MODEL_RESPONSE_SECONDS, lambda one: _seconds(one.response_ms)),
    (names.MODEL_TTFT_SECONDS, lambda one: _seconds(one.ttft_ms)),
    (names.DEAD_LETTERS, lambda one: one.dead_letters),
)
_ALWAYS: Final[tuple[tuple[Metric, Callable[[ReplicaRow], Figure]], ...]] = (
    (names.WORKER_UP, _is_here),
    (names.IN_ROTATION, lambda one: one.in_rotation),
    (names.STALLED, lambda one: one.status == "stalled"),
    (names.LAST_SEEN_AGE, lambda one: one.last_seen_s),
)
_WHILE_HERE: Final[tuple[tuple[Metric, Callable[[ReplicaRow], Figure]], ...]] = (
    (names.SLOTS, lambda one: one.slots),
    (names.SLOTS_BUSY, lambda one: one.active),
    (names.LAST_TOKEN_AGE, lambda one: _seconds(one.last_token_age_ms)),
    (names.TOKENS_PER_SECOND, lambda one: one.tokens_per_s),
    (names.ENGINE_TTFT_SECONDS, lambda one: _seconds(one.ttft_ms)),
    (names.ENGINE_ITL_SECONDS, lambda one: _seconds(one.itl_ms)),
    (names.KV_USE, lambda one: one.kv_use),
    (names.CACHE_HIT_RATIO, lambda one: one.prefix_hit_rate),
    (names.PING_SECONDS, lambda one: _seconds(one.ping_ms)),
    (names.LOG_LAG_SECONDS, lambda one: one.log_lag_s),
    (names.CLOCK_SKEW_SECONDS, lambda one: one.clock_skew_s),
)
_OF_GATEWAYS: Final[tuple[tuple[Metric, Callable[[GatewayRow], Figure]], ...]] = (
    (names.GATEWAY_READY, lambda one: one.status == "ready"),
    (names.GATEWAY_OPEN_REQUESTS, lambda one: one.open_requests),
    (names.GATEWAY_OPEN_STREAMS, lambda one: one.open_streams),
    (names.GATEWAY_REQUESTS_PER_SECOND, lambda one: one.requests_per_s),
)
OF_MONITOR: Final = (
    *(about for about, _ in (*_OF_SERVICES, *_ALWAYS, *_WHILE_HERE, *_OF_GATEWAYS)),
    names.WORKER_INFO, names.ALERTS_FIRING, names.BUS_CONNECTED, names.EVENT_READERS, names.CPU_SECONDS,
    names.RSS_BYTES,
)  # fmt: skip
"""All that may be told."""

ROUTES = [Route("/metrics", metrics)]
