"""What needs attention, by one look at the fleet?

What a look can tell, and what monitors tell who keep looking: that a worker was lost, or a rate is wrong. Pure.
"""

from collections.abc import Collection, Iterator, Sequence

from golek_monitor.records import FleetNow, ReplicaRow, Service
from golek_wire.signals import Alert, AlertKind, Severity

COMING = ("starting", "loading")
_OF_WORKERS = ("worker_lost", "worker_failed")
"""Why nobody serves a model: told of the model by a look, of a worker by a monitor."""


def of(now: FleetNow, left: Collection[str] = ()) -> list[Alert]:
    """All of it, what is critical first; `left` are models whose workers all ended in order: nobody misses them."""
    if not now.connected:
        return []
    found = [*_nobody(now), *_models(now, left), *_workers(now)]
    return sorted(found, key=lambda one: one.severity)


def together(found: Sequence[Alert], firing: Sequence[Alert]) -> list[Alert]:
    """What a look found and what monitors say, what is critical first; of one cause a monitor knows more."""
    causes = {alert.id for alert in firing}
    lost = {alert.model for alert in firing if alert.worker_id and alert.severity == "critical"}
    own = [
        one
        for one in found
        if one.id not in causes and (one.worker_id or one.kind not in _OF_WORKERS or one.model not in lost)
    ]
    return sorted([*firing, *own], key=lambda one: one.severity)


def is_healthy(findings: Collection[Alert]) -> bool:
    """Whether every model that should takes requests, and nothing is critical."""
    return not any(one.severity == "critical" for one in findings)


def _nobody(now: FleetNow) -> Iterator[Alert]:
    if not any(one.presence == "here" for one in now.replicas) and not now.services:
        yield _alert(now, "worker_lost", "fleet", "critical", "no worker is there: `make start WORKER=name` starts one")


def _models(now: FleetNow, left: Collection[str]) -> Iterator[Alert]:
    for one in now.services:
        name = one.model_name
        if one.in_rotation:
            if one.backpressure_status.level == "critical" and not _is_stalled(now, name):
                yield _queue(now, one)
        elif _is_told(now, name):
            continue
        elif one.replicas == 0:
            if name not in left:
                yield _alert(
                    now, "worker_lost", name, "critical",
                    f"nobody serves {name}: its last worker was heard at {one.last_seen}; `golek load {name}` starts "
                    f"one or says what to type, `golek models forget {name}` lets go of it",
                    model=name,
                )  # fmt: skip
        elif one.status in COMING:
            yield _alert(
                now, "worker_failed", name, "critical", f"{name} takes no requests yet: it is {one.status}", model=name
            )
        else:
            yield _alert(
                now, "worker_failed", name, "critical", f"{name} takes no requests: it is {one.status}", model=name
            )


def _queue(now: FleetNow, one: Service) -> Alert:
    queue = one.queue_metrics
    held = queue.pending_messages + queue.active_processing
    return _alert(
        now, "queue_critical", one.model_name, "critical",
        f"the queue of {one.model_name} is critical: {held} of {queue.queue_capacity} places are taken, "
        f"{queue.pending_messages} wait; more replicas (REPLICAS=n) empty it sooner",
        model=one.model_name,
    )  # fmt: skip


def _workers(now: FleetNow) -> Iterator[Alert]:
    for one in now.replicas:
        why = f": {one.problem}" if one.problem else ""
        match one.status:
            case "stalled":
                age = (one.last_token_age_ms or 0) / 1000
                since = f"; its engine gave no sign for {age:.0f} s" if age >= 1 else ""
                yield _worker(now, one, "worker_stalled", "critical", f"{one.worker_id} is stalled{since}{why}")
            case "failed":
                severity: Severity = "warning" if _is_served(now, one.model_name) else "critical"
                yield _worker(now, one, "worker_failed", severity, f"{one.worker_id} failed{why}")
            case "silent" | "lost":
                yield _worker(
                    now,
                    one,
                    "worker_lost",
                    "critical",
                    f"{one.worker_id} does not answer; last heard at {one.last_seen}",
                )


def _is_told(now: FleetNow, model: str) -> bool:
    """Whether a worker that is wrong is why nobody serves the model: one cause is told once."""
    return any(
        one.model_name == model and one.status in ("stalled", "failed", "silent", "lost") for one in now.replicas
    )


def _is_stalled(now: FleetNow, model: str) -> bool:
    """Whether a stalled worker is why the model is critical: that is told of the worker."""
    return any(one.status == "stalled" and one.model_name == model for one in now.replicas)


def _is_served(now: FleetNow, model: str) -> bool:
    return any(one.in_rotation for one in now.services if one.model_name == model)


def _worker(now: FleetNow, one: ReplicaRow, kind: AlertKind, severity: Severity, message: str) -> Alert:
    return _alert(now, kind, one.worker_id, severity, message, model=one.model_name, worker_id=one.worker_id)


def _alert(
    now: FleetNow,
    kind: AlertKind,
    about: str,
    severity: Severity,
    message: str,
    *,
    model: str = "",
    worker_id: str = "",
) -> Alert:
    at = now.overview.timestamp
    return Alert(
        id=f"{kind}:{about}", kind=kind, severity=severity, state="firing", message=message, since=at, timestamp=at,
        model=model, worker_id=worker_id, monitor_id=now.monitor_id,
    )  # fmt: skip
