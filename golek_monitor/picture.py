"""What does the monitor know of the fleet?

Messages go in, with the moment they came; records come out. It asks nobody: `observer` hears the bus and feeds it, the
terminal, the page, REST, figures and alerts read it.
"""

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Final

from golek_client.fleet import FleetView, ModelState, Presence, Replica
from golek_monitor.records import (
    BackpressureStatus,
    Event,
    FleetNow,
    GatewayRow,
    History,
    QueueMetrics,
    ReplicaRow,
    Service,
)
from golek_wire.signals import (
    Aggregate,
    Alert,
    GatewayReport,
    Health,
    Level,
    LoadReport,
    ModelInfo,
    ModelRecord,
)

KEEP_S: Final = 900.0
"""So long a replica that left or is gone is still shown."""
GATEWAY_SILENT_S: Final = 25.0
"""Two of its reports and a bit."""


class Picture:
    """The fleet as this monitor sees it. `clock` never goes back, `wall` is the time of day; both in seconds."""

    def __init__(
        self,
        monitor_id: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._id = monitor_id
        self._clock = clock
        self._wall = wall
        self.view = FleetView()
        self.connected = True
        self._gateways: dict[str, tuple[GatewayReport, float]] = {}
        self._first_seen: dict[str, float] = {}
        self._dead_letters: dict[str, int] = {}

    # -- what is heard -----------------------------------------------------------------------------------------

    def heartbeat(self, health: Health) -> None:
        """A worker said how it is."""
        self.view.heartbeat(health, self._clock())

    def report(self, report: LoadReport) -> None:
        """A worker said how busy it is."""
        self.view.report(report, self._clock())

    def gateway(self, report: GatewayReport) -> None:
        """A gateway said how busy it is."""
        self._gateways[report.gateway_id] = (report, self._clock())

    def missed(self, worker_id: str, presence: Presence) -> None:
        """A worker that is overdue was asked after."""
        self.view.missed(worker_id, presence)

    def know(self, records: Collection[ModelRecord]) -> None:
        """These are all the records of models."""
        self.view.know(records, self._clock())

    def first_seen(self, seen: Mapping[str, float]) -> None:
        """When models were first seen, as the broker has it: seconds since 1970 by name."""
        self._first_seen |= seen

    def letters(self, by_model: Mapping[str, int]) -> None:
        """How many dead letters are kept of each model."""
        self._dead_letters = dict(by_model)

    # -- what is told ------------------------------------------------------------------------------------------

    def now(self) -> FleetNow:
        """Everything at once."""
        return FleetNow(
            self.overview(), self.services(), self.replicas(), self.gateways(), self.alerts(), self.events(),
            self.connected, self._id,
        )  # fmt: skip

    def services(self) -> list[Service]:
        """Every model that is served or expected, by name."""
        return [self._service(model) for model in self._models()]

    def service(self, name: str) -> Service | None:
        """One of them."""
        found = self.view.model(name, self._clock(), self._date())
        return self._service(found) if found is not None else None

    def replicas(self) -> list[ReplicaRow]:
        """Every worker, by id; those that left or are gone for KEEP_S, too."""
        pending = {model.name: model.pending for model in self._models()}
        return [self._row(one, pending.get(one.model, 0)) for one in self.view.everyone()]

    def gateways(self) -> list[GatewayRow]:
        """Every process that serves HTTP, by id."""
        return [self._gateway(report, heard_at) for _, (report, heard_at) in sorted(self._gateways.items())]

    def alerts(self) -> list[Alert]:
        """Those that fire, the newest first, then those that were resolved lately."""
        return []

    def events(self, after: int = 0, limit: int = 200) -> list[Event]:  # noqa: ARG002
        """What happened, the newest first; `after` is the `seq` of the last one that is known."""
        return []

    def history(self, model: str = "", seconds: float = 300.0) -> History:  # noqa: ARG002
        """The figures of the last `seconds`, of one model or of the fleet."""
        return History(model, 1.0, [], {})

    def overview(self) -> Aggregate:
        """The fleet as a whole."""
        models, replicas = self._models(), self.view.replicas(self._clock())
        pending, active = sum(one.pending for one in models), sum(one.active for one in models)
        capacity = sum(one.capacity for one in models)
        return Aggregate(
            timestamp=self._stamp(self._wall()),
            status=_worst([_level(model) for model in models]),
            models=len(models),
            models_online=sum(model.in_rotation for model in models),
            workers=len(replicas),
            workers_online=sum(one.in_rotation for one in replicas),
            gateways=sum(gateway.status != "silent" for gateway in self.gateways()),
            slots=sum(model.slots for model in models),
            active_processing=active,
            pending_messages=pending,
            queue_capacity=capacity,
            utilization=round((pending + active) / capacity, 4) if capacity else 0.0,
            requests_per_s=0.0,
            tokens_per_s=round(sum(_tokens_per_s(one) or 0.0 for one in replicas), 1),
            errors_per_s=0.0,
            dead_letters=sum(self._dead_letters.values()),
            alerts=sum(alert.state == "firing" for alert in self.alerts()),
            monitor_id=self._id,
        )

    # ----------------------------------------------------------------------------------------------------------

    def _models(self) -> list[ModelState]:
        return self.view.models(self._clock(), self._date())

    def _service(self, model: ModelState) -> Service:
        alive = model.replicas
        healths = [one.health for one in alive if one.health is not None]
        heard_at = max((self._at(one.heard_at) for one in alive), default=None)
        last_seen = self._stamp(heard_at) if heard_at is not None else (model.record.last_seen if model.record else "")
        since = self._first_seen.setdefault(model.name, self._wall())
        uptime = max(0.0, self._wall() - since)
        capabilities = healths[0].capabilities if healths else (model.record.capabilities if model.record else [])
        rates = [rate for one in alive if (rate := _tokens_per_s(one)) is not None]
        return Service(
            model_name=model.name,
            status=model.status,
            capabilities=capabilities,
            model_info=next((health.model_info for health in healths), ModelInfo()),
            queue_metrics=QueueMetrics(model.pending, model.active, model.capacity),
            backpressure_status=BackpressureStatus(_level(model), round(model.utilization, 4)),
            first_seen=self._stamp(since),
            uptime=round(uptime * 1e9),
            uptime_seconds=round(uptime, 3),
            last_seen=last_seen,
            in_rotation=model.in_rotation,
            kinds=model.record.kinds if model.record else [],
            endpoints=[health.endpoint for health in healths if health.endpoint],
            nats_topic=next((health.nats_topic for health in healths), ""),
            replicas=len(alive),
            replicas_in_rotation=sum(one.in_rotation for one in alive),
            worker_ids=[one.worker_id for one in alive],
            engines=sorted({health.engine for health in healths}),
            adapters=sorted({name for health in healths for name in health.adapters}),
            slots=model.slots,
            tokens_per_s=round(sum(rates), 1) if rates else None,
            dead_letters=self._dead_letters.get(model.name, 0),
            problem=next((one.problem for one in alive if one.problem), None),
        )

    def _row(self, one: Replica, pending: int) -> ReplicaRow:
        health, stats = one.health, one.stats
        heard_at = self._at(one.heard_at)
        return ReplicaRow(
            worker_id=one.worker_id,
            model_name=one.model,
            status={"silent": "silent", "gone": "lost", "here": one.status}[one.presence],  # type: ignore[arg-type]
            presence=one.presence,
            in_rotation=one.in_rotation,
            last_seen=self._stamp(heard_at),
            last_seen_s=round(self._wall() - heard_at, 1),
            slots=one.slots,
            active=one.active,
            pending=pending,
            engine=health.engine if health else "",
            device=health.device if health else "",
            endpoint=health.endpoint if health else "",
            version=health.version if health else "",
            incarnation=one.incarnation,
            started_at=health.started_at if health else "",
            level=one.level,
            tokens_per_s=_tokens_per_s(one),
            ttft_ms=stats.ttft_ms_p50 if stats else None,
            itl_ms=stats.itl_ms_p50 if stats else None,
            kv_use=stats.kv_use if stats else None,
            prefix_hit_rate=stats.prefix_hit_rate if stats else None,
            last_token_age_ms=one.last_token_age_ms,
            progress=health.progress if health else None,
            problem=one.problem,
        )

    def _gateway(self, report: GatewayReport, heard_at: float) -> GatewayRow:
        silent = self._clock() - heard_at > GATEWAY_SILENT_S
        return GatewayRow(
            gateway_id=report.gateway_id,
            endpoint=report.endpoint,
            status="silent" if silent else "ready" if report.ready else "not ready",
            last_seen=self._stamp(self._at(heard_at)),
            last_seen_s=round(self._clock() - heard_at, 1),
            version=report.version,
            open_requests=report.open_requests,
            open_streams=report.open_streams,
        )

    def _at(self, moment: float) -> float:
        """A moment of the clock as time of day."""
        return self._wall() - (self._clock() - moment)

    def _date(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)

    def _stamp(self, epoch_s: float) -> str:
        return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _tokens_per_s(one: Replica) -> float | None:
    return one.stats.tokens_per_s if one.stats is not None else None


def _level(model: ModelState) -> Level:
    """The worst that its replicas report; critical where none is in rotation."""
    if not model.in_rotation:
        return "critical"
    return _worst([one.level for one in model.replicas if one.level is not None])


def _worst(levels: list[Level]) -> Level:
    ranks: tuple[Level, ...] = ("healthy", "warning", "critical")
    return max(levels, key=ranks.index, default="healthy")
