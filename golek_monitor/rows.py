"""What is told of a worker, a model, a gateway, given what is known of it?

Pure: from the messages, with rates and times beside them, to records.
"""

import statistics
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from golek_client.fleet import LEFT, ModelState, Presence, Replica
from golek_monitor.rates import STALE_S, Rate, joined
from golek_monitor.records import BackpressureStatus, GatewayRow, QueueMetrics, ReplicaRow, RowStatus, Service
from golek_wire.moments import stamp
from golek_wire.signals import GatewayReport, Health, ModelInfo

HOUR_S: Final = 3600
GATEWAY_SILENT_S: Final = 25.0
"""Two of its reports and a bit."""


class Beside(Struct, frozen=True):
    """What is known of a worker beside its messages."""

    presence: Presence
    pending: int = 0
    """In its model's queue."""
    rate: Rate | None = None
    ping_ms: float | None = None
    log_lag_s: float | None = None
    clock_skew_s: float | None = None
    cost_usd: float | None = None


class Past(Struct, frozen=True):
    """What stays known of a model when its workers are gone."""

    first_seen: float
    """Seconds since 1970."""
    word: Health | None = None
    """The last heartbeat of any of them."""
    stopped: bool = False
    """Whether all of them left in order, so that nobody misses it."""


def replica_row(one: Replica, beside: Beside, heard_at: float, wall: float) -> ReplicaRow:
    """A worker that was last heard at `heard_at`, seconds since 1970 as `wall` is."""
    health, left = one.health, one.status in LEFT
    stats, rate = (None, None) if left else (one.stats, beside.rate)  # who left does nothing any more
    return ReplicaRow(
        worker_id=one.worker_id,
        model_name=one.model,
        status=_status(one, beside.presence),
        presence="left" if left else beside.presence,
        in_rotation=one.in_rotation and beside.presence == "here",
        last_seen=stamp(heard_at),
        last_seen_s=round(max(0.0, wall - heard_at), 1),
        slots=one.slots,
        active=0 if left else one.active,
        pending=beside.pending,
        engine=health.engine if health else "",
        device=health.device if health else "",
        endpoint=health.endpoint if health else "",
        version=health.version if health else "",
        incarnation=one.incarnation,
        started_at=health.started_at if health else "",
        level=None if left else one.level,
        tokens_per_s=None if left else tokens_per_s(one, rate, wall - heard_at),
        requests_per_s=round(rate.requests, 2) if rate else None,
        errors_per_s=round(rate.errors, 2) if rate else None,
        refused_per_s=round(rate.refused, 2) if rate else None,
        response_ms=rate.response_ms if rate else None,
        ttft_ms=stats.ttft_ms_p50 if stats else None,
        itl_ms=stats.itl_ms_p50 if stats else None,
        kv_use=stats.kv_use if stats else None,
        prefix_hit_rate=stats.prefix_hit_rate if stats else None,
        last_token_age_ms=None if left else one.last_token_age_ms,
        ping_ms=beside.ping_ms,
        progress=health.progress if health else None,
        log_lag_s=beside.log_lag_s,
        clock_skew_s=beside.clock_skew_s,
        cost_usd=beside.cost_usd,
        problem=one.problem,
    )


def service(
    model: ModelState, rows: Sequence[ReplicaRow], rates: Sequence[Rate], past: Past, letters: int, wall: float
) -> Service:
    """A model, with the rows of those of its replicas that are alive, and rates also of those that left lately."""
    healths = [one.health for one in model.replicas if one.health is not None]
    uptime, word = max(0.0, wall - past.first_seen), past.word
    rate, record = joined(rates), model.record
    ttfts = [row.ttft_ms for row in rows if row.ttft_ms is not None]
    pings = [row.ping_ms for row in rows if row.ping_ms is not None]
    last_seen = max((row.last_seen for row in rows), default=record.last_seen if record else "")
    return Service(
        model_name=model.name,
        status=model.status,
        capabilities=healths[0].capabilities if healths else record.capabilities if record else [],
        model_info=next((health.model_info for health in healths), word.model_info if word else ModelInfo()),
        queue_metrics=QueueMetrics(model.pending, model.active, model.capacity),
        backpressure_status=BackpressureStatus("healthy" if past.stopped else model.level, round(model.utilization, 4)),
        first_seen=stamp(past.first_seen),
        uptime=round(uptime * 1e9),
        uptime_seconds=round(uptime, 3),
        last_seen=last_seen,
        in_rotation=any(row.in_rotation for row in rows),
        kinds=record.kinds if record else [],
        endpoints=[health.endpoint for health in healths if health.endpoint],
        nats_topic=next((health.nats_topic for health in healths), ""),
        replicas=len(rows),
        replicas_in_rotation=sum(row.in_rotation for row in rows),
        worker_ids=[row.worker_id for row in rows],
        engines=sorted({health.engine for health in healths}),
        adapters=sorted({name for health in healths for name in health.adapters}),
        slots=model.slots,
        requests_per_s=round(rate.requests, 2) if rate else None,
        tokens_per_s=_tokens(rows, rate),
        errors_per_s=round(rate.errors, 2) if rate else None,
        refused_per_s=round(rate.refused, 2) if rate else None,
        cost_usd_per_hour=round(rate.cost_usd * HOUR_S, 6) or None if rate else None,
        response_ms=rate.response_ms if rate else None,
        ttft_ms=round(statistics.median_low(ttfts), 1) if ttfts else None,
        ping_ms=min(pings, default=None),
        dead_letters=letters,
        problem=next((row.problem for row in rows if row.problem), _lost(model, past, last_seen)),
    )


def gateway_row(
    report: GatewayReport, rate: Rate | None, heard_for_s: float, heard_at: float, wall: float
) -> GatewayRow:
    """A gateway that has said nothing for `heard_for_s` seconds in which it could have been heard."""
    return GatewayRow(
        gateway_id=report.gateway_id,
        endpoint=report.endpoint,
        status="silent" if heard_for_s > GATEWAY_SILENT_S else "ready" if report.ready else "not ready",
        last_seen=stamp(heard_at),
        last_seen_s=round(max(0.0, wall - heard_at), 1),
        version=report.version,
        open_requests=report.open_requests,
        open_streams=report.open_streams,
        requests_per_s=round(rate.requests, 2) if rate else None,
        errors_per_s=round(rate.errors, 2) if rate else None,
        refused_per_s=round(rate.refused, 2) if rate else None,
        response_ms=rate.response_ms if rate else None,
    )


def tokens_per_s(one: Replica, rate: Rate | None, heard_for_s: float) -> float | None:
    """What it writes in a second: as it counts, or where that is not known what its engine says of the last minute."""
    if rate is not None:
        return round(rate.tokens, 1)
    return one.stats.tokens_per_s if one.stats is not None and heard_for_s <= STALE_S else None


def _lost(model: ModelState, past: Past, last_seen: str) -> str | None:
    """Why a model is not served, where none of its workers says it."""
    if model.replicas or past.stopped:
        return None
    return f"its workers are gone without a word, or failed; last heard at {last_seen}"


def _tokens(rows: Sequence[ReplicaRow], rate: Rate | None) -> float | None:
    """Of a model: what its replicas counted, and of those that do not count what their engines say."""
    said = [row.tokens_per_s for row in rows if row.tokens_per_s is not None]
    if rate is not None:
        return round(rate.tokens + sum(row.tokens_per_s or 0.0 for row in rows if row.requests_per_s is None), 1)
    return round(sum(said), 1) if said else None


def _status(one: Replica, presence: Presence) -> RowStatus:
    if one.status in LEFT or presence == "here":
        return one.status
    return "silent" if presence == "silent" else "lost"
