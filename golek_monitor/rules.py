"""What is wrong in the fleet?

Rules over what the picture shows: each names the troubles of the moment, in a sentence with value and limit that says
what to do next. Alerts.py decides which of them count.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, TypedDict

from msgspec import Struct, field

from golek_client.fleet import LEFT
from golek_monitor.alerts import Trouble
from golek_monitor.records import ReplicaRow, Service
from golek_program.settings.monitor import Monitor
from golek_wire.signals import Alert, Severity

SILENT_HOLD_S: Final = 5.0
"""A worker that does not answer for a moment, as while its machine swaps, is no alert."""
BUS_HOLD_S: Final = 5.0
QUEUE_HOLD_S: Final = 5.0
CLEAR_S: Final = 10.0
LOG_CLEAR_S: Final = 1.0
"""A log that is so little behind is not slow any more."""
LETTERS_S: Final = 600.0
"""Dead letters are counted over this time."""
_END_SHARE: Final = 0.5
"""Of a limit: below it rates have calmed down."""
_QUEUE_END: Final = 0.75
"""Of a queue's limit: below it there is room again."""


LEARN_S: Final = 15.0
"""So long a monitor that has just begun does not say that something is over: idle workers report every ten seconds."""
WORKER_KINDS: Final = ("worker_lost", "worker_stalled", "worker_failed")
_HELD_S: Final = dict.fromkeys(WORKER_KINDS, 900.0) | {"dead_letters": LETTERS_S, "error_rate": 60.0, "refusals": 60.0}
"""So long after it fired an alert may hold, though a monitor that began meanwhile cannot see it."""


class Limits(Struct, frozen=True):
    """From where on figures count."""

    queue: float = 0.8
    """Share of a model's queue that is taken."""
    error_share: float = 0.05
    """Share of a model's requests that failed in the last minute."""
    error_requests: int = 20
    """Of fewer requests no share is told."""
    dead_letters: int = 1
    """New ones of a model in ten minutes."""
    log_lag_s: float = 5.0
    clock_skew_s: float = 2.0
    refusals: int = 60
    """Of one principal in a minute."""

    @classmethod
    def of(cls, chosen: Monitor) -> "Limits":
        """As the settings say."""
        return cls(
            chosen.monitor_queue_critical, chosen.monitor_error_rate, chosen.monitor_error_requests,
            chosen.monitor_dead_letters, chosen.monitor_log_lag_s, chosen.monitor_clock_skew_s,
            chosen.monitor_refusals,
        )  # fmt: skip


class Seen(Struct, frozen=True):
    """What the rules look at."""

    replicas: Sequence[ReplicaRow]
    services: Sequence[Service]
    log_problems: Mapping[str, str] = field(default_factory=dict[str, str])
    """By worker, why its request log takes no rows."""
    ended: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """By model, how many requests ended in the last minute and how many of them failed; refused ones left out."""
    new_letters: Mapping[str, int] = field(default_factory=dict[str, int])
    """By model, how many dead letters came in the last ten minutes."""
    refusals: Mapping[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    """By principal and status, how often in the last minute."""


class _About(TypedDict):
    """Whom a trouble is about."""

    model: str
    worker_id: str


def bus_lost(seconds: float) -> Trouble:
    """The bus has not been heard for so long."""
    return Trouble(
        "bus_lost", "bus_lost", "critical",
        f"the monitor has not heard the bus for {seconds:.0f} s (limit {BUS_HOLD_S:.0f} s): what it shows "
        "is as it was; look whether the broker runs and NATS_URL leads to it",
        over=seconds >= BUS_HOLD_S, value=round(seconds, 1), limit=BUS_HOLD_S,
    )  # fmt: skip


def troubles(seen: Seen, limits: Limits) -> Iterator[Trouble]:
    """All that is wrong."""
    serving = {service.model_name: service.replicas_in_rotation for service in seen.services}
    skewed = []
    for row in seen.replicas:
        yield from _worker(row, serving.get(row.model_name, 0))
        if row.presence == "here":
            yield from _log(row, seen.log_problems.get(row.worker_id), limits)
            if row.clock_skew_s is not None and abs(row.clock_skew_s) >= _END_SHARE * limits.clock_skew_s:
                skewed.append(row)
    yield from _clocks(skewed, len(seen.replicas), limits)
    for service in seen.services:
        yield from _queue(service, limits)
    for model, (requests, errors) in seen.ended.items():
        yield from _errors(model, requests, errors, limits)
    for model, count in seen.new_letters.items():
        yield from _letters(model, count, limits)
    for (principal, status), count in seen.refusals.items():
        yield from _refused(principal, status, count, limits)


def hold_s(alert: Alert, now: float) -> float:
    """For how long an alert of a former monitor is believed, unless more is known; `now` is in seconds since 1970."""
    try:
        age_s = now - datetime.fromisoformat(alert.timestamp).timestamp()
    except (ValueError, OverflowError):
        return LEARN_S
    return max(LEARN_S, min(_HELD_S.get(alert.kind, 0.0), _HELD_S.get(alert.kind, 0.0) - age_s))


def ended(alert: Alert, seen: Seen) -> str:
    """The sentence for a cause that is over."""
    if alert.kind in WORKER_KINDS:
        return _worker_ended(alert, next((row for row in seen.replicas if row.worker_id == alert.worker_id), None))
    room = _QUEUE_END * (alert.limit or 0.0)
    return {
        "queue_critical": f"the queue of {alert.model} has room again: less than {room:.0%} of it is taken",
        "error_rate": f"requests to {alert.model} hardly fail any more",
        "dead_letters": f"no new dead letters of {alert.model} for ten minutes",
        "slow_log": f"the request log of {alert.worker_id} keeps up again",
        "clock_skew": f"the clock of {alert.worker_id or 'this monitor'} is right again",
        "refusals": f"{alert.principal} is hardly refused any more",
        "bus_lost": "the bus is heard again",
    }[alert.kind]


def _worker_ended(alert: Alert, row: ReplicaRow | None) -> str:
    if row is None:
        return f"worker {alert.worker_id} was not heard for 15 min and is not counted any more"
    if row.presence != "here" or row.status in LEFT:
        return f"worker {alert.worker_id} is {row.status} now"
    if alert.kind == "worker_lost":
        return f"worker {alert.worker_id} is back: {row.status}"
    return f"worker {alert.worker_id} is {row.status} {'again' if row.status == 'online' else 'now'}"


def _worker(row: ReplicaRow, serving: int) -> Iterator[Trouble]:
    """1. left in order 2. failed 3. gone 4. silent 5. stalled"""
    severity: Severity = "warning" if serving else "critical"
    about = _About(model=row.model_name, worker_id=row.worker_id)
    name = f"worker {row.worker_id} of {row.model_name}"
    left = _others(serving)
    if row.status == "offline":  # 1
        return
    if row.status == "failed":  # 2
        why = f": {row.problem}" if row.problem else ""
        yield Trouble(
            f"worker_failed:{row.worker_id}", "worker_failed", severity,
            f"{name} could not go on{why}; {left}. Its log says more; start it again once that is mended",
            **about,
        )  # fmt: skip
    elif row.presence == "gone":  # 3
        yield Trouble(
            f"worker_lost:{row.worker_id}", "worker_lost", severity,
            f"{name} is gone without a word, last heard {row.last_seen_s:.0f} s ago; {left}. "
            f"{_jobs(serving)}; look whether its machine runs, then start it again",
            value=row.last_seen_s, **about,
        )  # fmt: skip
    elif row.presence == "silent":  # 4
        yield Trouble(
            f"worker_lost:{row.worker_id}", "worker_lost", severity,
            f"{name} does not answer, last heard {row.last_seen_s:.0f} s ago; {left}. It or its machine is frozen or "
            "cut off; look there, and restart it if it does not come back",
            hold_s=SILENT_HOLD_S, value=row.last_seen_s, **about,
        )  # fmt: skip
    elif row.status == "stalled":  # 5
        age_s = None if row.last_token_age_ms is None else round(row.last_token_age_ms / 1000, 1)
        age = f" for {age_s:.0f} s" if age_s is not None else ""
        yield Trouble(
            f"worker_stalled:{row.worker_id}", "worker_stalled", severity,
            f"the engine of {name} makes no progress{age}; {left}. It is restarted by itself after a while; if it "
            "stalls again, look at its log and its machine's memory",
            clear_s=2.0, value=age_s, **about,
        )  # fmt: skip


def _others(serving: int) -> str:
    """How many replicas of the model take requests, for the middle of a sentence."""
    if not serving:
        return "no other replica serves its model"
    return "another replica serves its model" if serving == 1 else f"{serving} other replicas serve its model"


def _jobs(serving: int) -> str:
    return "Its jobs go to other replicas" if serving else "Its jobs wait for a replica that comes"


def _log(row: ReplicaRow, problem: str | None, limits: Limits) -> Iterator[Trouble]:
    cause, about = f"slow_log:{row.worker_id}", _About(model=row.model_name, worker_id=row.worker_id)
    if problem:
        yield Trouble(
            cause, "slow_log", "warning",
            f"the request log of {row.worker_id} takes no rows: {problem}. Answers do not wait for it, but rows are "
            "lost once its queue is full; free its disk",
            hold_s=2.0, clear_s=2.0, **about,
        )  # fmt: skip
    elif row.log_lag_s is not None and row.log_lag_s > min(LOG_CLEAR_S, limits.log_lag_s):
        yield Trouble(
            cause, "slow_log", "warning",
            f"the request log of {row.worker_id} is {row.log_lag_s:.1f} s behind (limit {limits.log_lag_s:g} s); its "
            "disk is slow or busy",
            over=row.log_lag_s >= limits.log_lag_s, hold_s=2.0, clear_s=2.0, value=row.log_lag_s,
            limit=limits.log_lag_s, **about,
        )  # fmt: skip


def _clocks(skewed: list[ReplicaRow], workers: int, limits: Limits) -> Iterator[Trouble]:
    """Each worker whose clock is wrong; this monitor's own where most are wrong alike."""
    ahead = sum((row.clock_skew_s or 0.0) > 0 for row in skewed)
    if len(skewed) >= 3 and max(ahead, len(skewed) - ahead) > workers / 2:
        value = min((abs(row.clock_skew_s or 0.0) for row in skewed), default=0.0)
        yield Trouble(
            "clock_skew:monitor", "clock_skew", "warning",
            f"the clock of this monitor differs from most workers' by {value:.1f} s or more (limit "
            f"{limits.clock_skew_s:g} s); let its machine keep time by NTP",
            over=value >= limits.clock_skew_s, hold_s=10.0, clear_s=CLEAR_S, value=value, limit=limits.clock_skew_s,
        )  # fmt: skip
        return
    for row in skewed:
        skew = row.clock_skew_s or 0.0
        yield Trouble(
            f"clock_skew:{row.worker_id}", "clock_skew", "warning",
            f"the clock of {row.worker_id} is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'} (limit "
            f"{limits.clock_skew_s:g} s); let its machine keep time by NTP",
            over=abs(skew) >= limits.clock_skew_s, hold_s=10.0, clear_s=CLEAR_S, value=skew,
            limit=limits.clock_skew_s, model=row.model_name, worker_id=row.worker_id,
        )  # fmt: skip


def _queue(service: Service, limits: Limits) -> Iterator[Trouble]:
    use, queue = service.backpressure_status.utilization, service.queue_metrics
    if queue.queue_capacity and use >= _QUEUE_END * limits.queue:
        yield Trouble(
            f"queue_critical:{service.model_name}", "queue_critical", "critical",
            f"the queue of {service.model_name} is {use:.0%} full (limit {limits.queue:.0%}): "
            f"{queue.pending_messages} wait and {queue.active_processing} run of {queue.queue_capacity}; a full queue "
            "refuses requests. Start more replicas, or let callers send less",
            over=use >= limits.queue, hold_s=QUEUE_HOLD_S, clear_s=CLEAR_S, value=use, limit=limits.queue,
            model=service.model_name,
        )  # fmt: skip


def _errors(model: str, requests: int, errors: int, limits: Limits) -> Iterator[Trouble]:
    share = errors / requests if requests else 0.0
    if errors and share >= _END_SHARE * limits.error_share:
        yield Trouble(
            f"error_rate:{model}", "error_rate", "critical" if share >= 0.5 else "warning",
            f"{errors} of {requests} requests to {model} failed in the last minute, {share:.0%} (limit "
            f"{limits.error_share:.0%}); the request log and the workers' logs say why",
            over=share >= limits.error_share and requests >= limits.error_requests, clear_s=CLEAR_S,
            value=round(share, 4), limit=limits.error_share, model=model,
        )  # fmt: skip


def _letters(model: str, count: int, limits: Limits) -> Iterator[Trouble]:
    if count > 0:
        jobs = "job" if count == 1 else "jobs"
        yield Trouble(
            f"dead_letters:{model}", "dead_letters", "warning",
            f"{count} {jobs} of {model} crashed the engine each time and became dead letters within ten minutes "
            f"(limit {limits.dead_letters}); `golek dlq list` shows them",
            over=count >= limits.dead_letters, value=count, limit=limits.dead_letters, model=model,
        )  # fmt: skip


def _refused(principal: str, status: int, count: int, limits: Limits) -> Iterator[Trouble]:
    if count >= _END_SHARE * limits.refusals:
        why = (
            "its limits are too low, or it asks too often" if status == 429 else "its key is wrong, or somebody guesses"
        )
        yield Trouble(
            f"refusals:{principal}:{status}", "refusals", "warning",
            f"{principal} was refused {count} times with {status} in the last minute (limit {limits.refusals}): {why}",
            over=count >= limits.refusals, clear_s=CLEAR_S, value=count, limit=limits.refusals, principal=principal,
        )  # fmt: skip
