"""How is the fleet as a whole?

Sums over the records of models, workers and gateways. Pure.
"""

from collections.abc import Sequence

from golek_client.fleet import LEFT, worst
from golek_monitor.history import Figures
from golek_monitor.rates import Rate
from golek_monitor.records import GatewayRow, ReplicaRow, Service
from golek_wire.signals import Aggregate, Alert


def aggregate(
    services: Sequence[Service],
    replicas: Sequence[ReplicaRow],
    gateways: Sequence[GatewayRow],
    firing: Sequence[Alert],
    dead_letters: int,
    timestamp: str,
) -> Aggregate:
    """All together, still without a word on who says it."""
    served = [one for one in services if one.replicas or one.status not in LEFT]
    expected = [one for one in replicas if one.status != "offline"]
    pending = sum(one.queue_metrics.pending_messages for one in services)
    active = sum(one.queue_metrics.active_processing for one in services)
    capacity = sum(one.queue_metrics.queue_capacity for one in services)
    refused = [one.refused_per_s or 0.0 for one in services] + [one.refused_per_s or 0.0 for one in gateways]
    is_critical = any(alert.severity == "critical" for alert in firing)
    return Aggregate(
        timestamp=timestamp,
        status="critical" if is_critical else worst([one.backpressure_status.level for one in served]),
        models=sum(not one.is_stopped for one in services),
        models_online=sum(one.in_rotation for one in services),
        workers=len(expected),
        workers_online=sum(one.in_rotation for one in expected),
        gateways=sum(one.status != "silent" for one in gateways),
        slots=sum(one.slots for one in services),
        active_processing=active,
        pending_messages=pending,
        queue_capacity=capacity,
        utilization=round((pending + active) / capacity, 4) if capacity else 0.0,
        requests_per_s=round(sum(one.requests_per_s or 0.0 for one in services), 2),
        tokens_per_s=round(sum(one.tokens_per_s or 0.0 for one in services), 1),
        errors_per_s=round(sum(one.errors_per_s or 0.0 for one in services), 2),
        refused_per_s=round(sum(refused), 2),
        dead_letters=dead_letters,
        alerts=len(firing),
    )


def figures_of_fleet(whole: Aggregate, services: Sequence[Service], rate: Rate | None) -> Figures:
    """What is remembered of the fleet; `rate` is of all workers."""
    ttfts = sorted(one.ttft_ms for one in services if one.ttft_ms is not None)
    return (
        whole.requests_per_s, whole.tokens_per_s, whole.errors_per_s, whole.refused_per_s,
        rate.response_ms if rate else None, ttfts[len(ttfts) // 2] if ttfts else None, whole.pending_messages,
        whole.active_processing, whole.slots,
    )  # fmt: skip


def figures_of_model(one: Service) -> Figures:
    """What is remembered of a model."""
    queue = one.queue_metrics
    return (
        one.requests_per_s, one.tokens_per_s, one.errors_per_s, one.refused_per_s, one.response_ms, one.ttft_ms,
        queue.pending_messages, queue.active_processing, one.slots,
    )  # fmt: skip
