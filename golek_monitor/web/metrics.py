"""GET /metrics: which figures does Prometheus read of the fleet?

Of models, replicas, gateways and alerts, as the newest frame has them. The lines are written here and not by the
library, which takes seven times as long for a thousand replicas.
"""

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final, Literal, get_args

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_monitor.records import FleetNow, ReplicaRow
from golek_monitor.web.door import HEADERS, Door, door
from golek_program.web.described import describe
from golek_wire import metrics as names
from golek_wire.metrics import Metric
from golek_wire.signals import AlertKind, Severity

MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"
Figure = tuple[Metric, str, Literal["", "ms"]]
"""A figure, the field of a row that it is, and that field's unit where it is not the figure's."""
_STATM: Final = Path("/proc/self/statm")
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@describe(group="Health", summary="Figures for Prometheus.", reply=str, media="text/plain")
async def metrics(request: Request) -> Response:
    """GET /metrics."""
    entered = door(request)
    return Response(written(entered), headers={**HEADERS, "content-type": MEDIA})


def written(entered: Door) -> bytes:
    """All metrics in Prometheus' text form."""
    lines: list[str] = []
    for about, samples in (*_of_fleet(entered.frames.newest().now), *_of_process(entered)):
        if told := [*samples]:
            name = _name(about)
            lines += (f"# HELP {name} {about.help}", f"# TYPE {name} {about.kind}", *told)
    return ("\n".join(lines) + "\n").encode()


def _of_fleet(now: FleetNow) -> Iterator[tuple[Metric, Iterable[str]]]:
    services = [(_labels(names.MODEL_UP, one.model_name), one) for one in now.services]
    up = names.MODEL_UP
    yield up, [_line(up, labels, one.in_rotation) for labels, one in services if not one.is_stopped]  # else it pages
    yield from _told(_OF_SERVICES, services)
    replicas = [(_labels(names.SLOTS, one.model_name, one.worker_id), one) for one in now.replicas]
    stay = [(labels, one) for labels, one in replicas if one.status != "offline"]  # who left in order is no loss
    yield names.WORKER_UP, [_line(names.WORKER_UP, labels, _is_here(one)) for labels, one in stay]
    yield names.STALLED, [_line(names.STALLED, labels, one.status == "stalled") for labels, one in stay]
    yield from _told(_OF_ALL_REPLICAS, stay)
    yield from _told(_OF_REPLICAS, [(labels, one) for labels, one in stay if _is_here(one)])
    yield names.WORKER_INFO, [_line(names.WORKER_INFO, _what(one), 1) for one in now.replicas]
    gateways = [(_labels(names.GATEWAY_READY, one.gateway_id), one) for one in now.gateways]
    yield names.GATEWAY_READY, [_line(names.GATEWAY_READY, labels, one.status == "ready") for labels, one in gateways]
    yield from _told(_OF_GATEWAYS, gateways)
    firing = [(alert.kind, alert.severity) for alert in now.alerts if alert.state == "firing"]
    kinds = [(kind, severity) for kind in get_args(AlertKind) for severity in get_args(Severity)]
    about = names.ALERTS_FIRING
    yield about, [_line(about, _labels(about, *kind), firing.count(kind)) for kind in kinds]
    yield names.BUS_CONNECTED, [_line(names.BUS_CONNECTED, "", now.connected)]


def _told(figures: Iterable[Figure], rows: Sequence[tuple[str, Struct]]) -> Iterator[tuple[Metric, Iterable[str]]]:
    """The lines of `rows`, each with its labels. What is not known of a row has none.

    A thousand replicas have some fifteen thousand lines, so that these are written without a call for each.
    """
    for about, field, unit in figures:
        name, of = _name(about), attrgetter(field)
        known = [(labels, value) for labels, one in rows if (value := of(one)) is not None]
        if unit == "ms":
            yield about, [f"{name}{labels} {value / 1000}" for labels, value in known]
        else:
            yield about, [f"{name}{labels} {+value}" for labels, value in known]  # + makes 1 of True


def _name(about: Metric) -> str:
    return f"{about.name}_total" if about.kind == "counter" else about.name


def _line(about: Metric, labels: str, value: float) -> str:
    return f"{_name(about)}{labels} {+value}"


def _of_process(entered: Door) -> Iterator[tuple[Metric, Iterable[str]]]:
    figures = {
        names.EVENT_READERS: entered.feed.readers,
        names.CPU_SECONDS: time.process_time(),
        names.RSS_BYTES: _resident_bytes(),
    }
    for about, value in figures.items():
        yield about, [_line(about, "", value)] if value is not None else []


def _resident_bytes() -> int | None:
    """None where the system does not say it like Linux."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def _labels(about: Metric, *values: str) -> str:
    return _written(about.labels, values)


@functools.lru_cache(8192)
def _written(labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = [f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(labels, values, strict=True)]
    return f"{{{','.join(pairs)}}}"


def _is_here(one: ReplicaRow) -> bool:
    return one.presence == "here" and one.status not in ("offline", "failed", "lost")


def _what(one: ReplicaRow) -> str:
    return _labels(names.WORKER_INFO, one.model_name, one.worker_id, one.engine, one.device, one.version)


_OF_SERVICES: Final[tuple[Figure, ...]] = (
    (names.REPLICAS, "replicas", ""),
    (names.MODEL_REPLICAS_IN_ROTATION, "replicas_in_rotation", ""),
    (names.QUEUE_PENDING, "queue_metrics.pending_messages", ""),
    (names.QUEUE_CAPACITY, "queue_metrics.queue_capacity", ""),
    (names.QUEUE_USE, "backpressure_status.utilization", ""),
    (names.MODEL_REQUESTS_PER_SECOND, "requests_per_s", ""),
    (names.MODEL_ERRORS_PER_SECOND, "errors_per_s", ""),
    (names.MODEL_REFUSED_PER_SECOND, "refused_per_s", ""),
    (names.MODEL_TOKENS_PER_SECOND, "tokens_per_s", ""),
    (names.MODEL_COST_USD_PER_HOUR, "cost_usd_per_hour", ""),
    (names.MODEL_RESPONSE_SECONDS, "response_ms", "ms"),
    (names.MODEL_TTFT_SECONDS, "ttft_ms", "ms"),
    (names.DEAD_LETTERS, "dead_letters", ""),
)
_OF_ALL_REPLICAS: Final[tuple[Figure, ...]] = (
    (names.IN_ROTATION, "in_rotation", ""),
    (names.LAST_SEEN_AGE, "last_seen_s", ""),
)
_OF_REPLICAS: Final[tuple[Figure, ...]] = (
    (names.SLOTS, "slots", ""),
    (names.SLOTS_BUSY, "active", ""),
    (names.MODEL_COST_USD, "cost_usd", ""),
    (names.LAST_TOKEN_AGE, "last_token_age_ms", "ms"),
    (names.TOKENS_PER_SECOND, "tokens_per_s", ""),
    (names.ENGINE_TTFT_SECONDS, "ttft_ms", "ms"),
    (names.ENGINE_ITL_SECONDS, "itl_ms", "ms"),
    (names.KV_USE, "kv_use", ""),
    (names.CACHE_HIT_RATIO, "prefix_hit_rate", ""),
    (names.PING_SECONDS, "ping_ms", "ms"),
    (names.LOG_LAG_SECONDS, "log_lag_s", ""),
    (names.CLOCK_SKEW_SECONDS, "clock_skew_s", ""),
)
_OF_GATEWAYS: Final[tuple[Figure, ...]] = (
    (names.GATEWAY_OPEN_REQUESTS, "open_requests", ""),
    (names.GATEWAY_OPEN_STREAMS, "open_streams", ""),
    (names.GATEWAY_REQUESTS_PER_SECOND, "requests_per_s", ""),
    (names.GATEWAY_REFUSED_PER_SECOND, "refused_per_s", ""),
)
OF_MONITOR: Final = (
    *(about for about, _, _ in (*_OF_SERVICES, *_OF_ALL_REPLICAS, *_OF_REPLICAS, *_OF_GATEWAYS)),
    names.MODEL_UP, names.WORKER_UP, names.STALLED, names.WORKER_INFO, names.GATEWAY_READY,
    names.ALERTS_FIRING, names.BUS_CONNECTED,
    names.EVENT_READERS, names.CPU_SECONDS, names.RSS_BYTES,
)  # fmt: skip
"""All that may be told."""

ROUTES = [Route("/metrics", metrics)]
