"""What does this worker say of itself?

Health, heartbeat, load report, the fleet's record and NATS micro's answers, all from the same few parts.
"""

import itertools
import time
import uuid
from collections.abc import Callable
from importlib.metadata import version

from msgspec import Struct

from golek_wire import moments, subjects
from golek_wire.routing import Offer
from golek_wire.signals import (
    EngineStats,
    Health,
    LoadReport,
    ModelInfo,
    ModelRecord,
    Residence,
    WorkerStatus,
    load_level,
)
from golek_wire.subjects import Kind
from golek_worker.bus.endpoints import ServiceCounts, ServiceIdentity
from golek_worker.bus.results import Results
from golek_worker.engine.base import Ready
from golek_worker.engine.host import EngineHost
from golek_worker.remembering import Sessions
from golek_worker.serving import Serving
from golek_worker.settings import Settings
from golek_worker.store.writer import LogWriter

VERSION = version("golek")


class Identity(Struct, frozen=True):
    """Which replica this is."""

    deployment: str
    replica: int
    worker_id: str
    incarnation: str = uuid.uuid4().hex[:12]
    started_at: float = time.time()
    endpoint: str = ""
    """Its HTTP address; empty when it serves none."""
    log: str = ""
    """Where its own log lies."""
    engine_log: str = ""
    """Where what its engine writes to stderr lies."""


class Status:
    """The worker as others see it."""

    def __init__(
        self,
        identity: Identity,
        settings: Settings,
        kind: Kind,
        host: EngineHost,
        serving: Serving,
        results: Results,
        digest: str,
        capabilities: Callable[[], list[str]],
        log: LogWriter,
        *,
        sessions: Sessions | None,
        offers: Callable[[], list[Offer]] | None = None,
        usual: Callable[[], tuple[str, str]] | None = None,
    ) -> None:
        """`offers` has what a router serves beside the fleet's own models, `usual` the preset that `auto` stands for
        and the mode in which it is answered.
        """
        self._usual = usual
        self._offers = offers
        self._identity = identity
        self._settings = settings
        self._kind: Kind = kind
        self._host = host
        self._serving = serving
        self._results = results
        self._digest = digest
        self._capabilities = capabilities
        self._log = log
        self._sessions = sessions
        self._reports = itertools.count(1)
        self.leaving: WorkerStatus | None = None
        """`draining`, `offline` or `failed`, once the worker is on its way out."""

    @property
    def model_name(self) -> str:
        return self._settings.model_name

    @property
    def worker_id(self) -> str:
        return self._identity.worker_id

    @property
    def served(self) -> list[str]:
        """Where requests are taken."""
        if self._offers is not None:
            return [subjects.request(">", kind) for kind in subjects.SERVED]
        return list(self._settings.request_subjects(self._kind))

    @property
    def state(self) -> WorkerStatus:
        if self.leaving is not None:
            return self.leaving
        if self._host.stalled:
            return "stalled"
        if self._host.serving or self._host.is_unloading:
            return "online"
        return "unloaded" if self._host.unloaded else "loading"

    def health(self) -> Health:
        """The answer on `models.<model>.health`, and the heartbeat."""
        ready = self._host.ready
        return Health(
            model_name=self._settings.model_name,
            status=self.state,
            last_activity=moments.stamp(self._serving.last_activity),
            capabilities=self._capabilities(),
            endpoint=self._identity.endpoint,
            nats_topic=self._settings.request_subjects(self._kind)[0],
            version=VERSION,
            model_info=ready.info if ready is not None else ModelInfo(),
            worker_id=self._identity.worker_id,
            engine=self._settings.engine,
            device=ready.device if ready is not None else "",
            layers=ready.layers if ready is not None else 0,
            offloaded_layers=ready.offloaded_layers if ready is not None else 0,
            device_problem=(ready.device_problem or None) if ready is not None else None,
            adapters=self._host.adapters.loaded,
            adapter_problems=self._host.adapters.problems,
            slots=self._settings.worker_concurrency,
            active=self._serving.busy,
            last_token_age_ms=self._progress_age_ms(),
            monitor_subject=subjects.load_report(self._settings.token),
            problem=self._host.problem,
            results_lost=self._results.lost,
            log_problem=self._log.problem,
            log_rows_lost=self._log.dropped,
            progress=self._host.loading,
            engine_stats=self.engine_stats(),
            session_store=self._sessions.place if self._sessions is not None else "",
            sessions_lost=self._sessions.lost if self._sessions is not None else 0,
            incarnation=self._identity.incarnation,
            started_at=moments.stamp(self._identity.started_at),
            identity=self._settings.golek_nats_identity,
        )

    def remarks(self) -> list[str]:
        """What whoever started it should know though it serves; a sentence each."""
        ready = self._host.ready
        said = [f"0 layers on a GPU: {ready.device_problem}"] if ready is not None and ready.device_problem else []
        if self._sessions is not None and self._sessions.place == "memory" and self._identity.replica > 1:
            said.append("GOLEK_SESSION_STORE=memory: the other replicas do not know this one's conversations")
        return said + [f"adapter {name} is not loaded: {why}" for name, why in self._host.adapters.problems.items()]

    def engine_stats(self) -> EngineStats | None:
        """How fast the engine is; None while there is none."""
        return self._serving.figures.of(self._host, self._settings.worker_concurrency)

    def residence(self, seconds: float, problem: str | None) -> Residence:
        """What an operator hears."""
        return Residence(
            model_name=self.model_name,
            worker_id=self.worker_id,
            status=self.state,
            seconds=round(seconds, 3),
            problem=problem,
            progress=self._host.loading,
            active=self._serving.active,
        )

    def load_report(self, pending: int, wait_s: float | None = None) -> LoadReport:
        """This replica's part and the model's queue, whose next job has waited for `wait_s`."""
        active, capacity = self._serving.busy, self._settings.queue_capacity
        return LoadReport(
            model_name=self._settings.model_name,
            pending_messages=pending,
            active_processing=active,
            timestamp=moments.stamp(),
            worker_count=self._settings.worker_concurrency,
            queue_capacity=capacity,
            status=load_level(
                pending,
                active,
                capacity,
                stalled=self._host.stalled,
                wait_s=wait_s or 0.0,
                critical_utilization=self._settings.golek_critical_utilization,
                critical_wait_s=self._settings.critical_wait_s,
            ),
            worker_id=self._identity.worker_id,
            seq=next(self._reports),
            incarnation=self._identity.incarnation,
            last_token_age_ms=self._progress_age_ms(),
            utilization=round((pending + active) / capacity, 4),
            engine_stats=self.engine_stats(),
            state=self.state,
            traffic=self._serving.tally.told(self._serving.writing),
            log_lag_s=self._log.lag_s,
            oldest_wait_s=None if wait_s is None else round(wait_s, 1),
        )

    def _progress_age_ms(self) -> int | None:
        """Since the engine's last sign; None while there is no engine that could give one."""
        has_engine = self._host.ready is not None and not self._host.unloaded
        return round(self._host.progress_age_s * 1000) if has_engine else None

    def record(self) -> ModelRecord:
        """The model's entry in GOLEK_MODELS."""
        ready = self._host.ready
        config, mode = self._usual() if self._usual is not None else ("", "")
        return ModelRecord(
            name=self._settings.model_name,
            kinds=self._kinds if self._offers is None else [],  # its name is asked for none: its offers are
            state=self.state,
            deployment=self._identity.deployment,
            last_seen=moments.stamp(),
            context_size=ready.ctx_size if ready is not None else 0,
            digest=self._digest,
            worker_id=self._identity.worker_id,
            subjects=list(self._settings.request_subjects(self._kind)),
            capabilities=self._capabilities(),
            memory_mb=ready.info.size_bytes // 2**20 if ready is not None else 0,
            offers=self._offers() if self._offers is not None else [],
            config=config,
            orchestration_mode=mode,
            identity=self._settings.golek_nats_identity,
            reject_when_full=self._settings.inference_reject_when_full,
        )

    @property
    def _kinds(self) -> list[str]:
        """Its own; one that writes and sees says what images show, too."""
        sees = self._kind == "inference" and "vision" in self._capabilities()
        return [self._kind, "vision"] if sees else [self._kind]

    def micro_identity(self) -> ServiceIdentity:
        """Who answers on `$SRV`."""
        return ServiceIdentity(
            id=self._identity.incarnation,
            version=VERSION,
            description=f"Golek worker {self._identity.worker_id} serving {self._settings.model_name}",
            started=moments.stamp(self._identity.started_at),
            endpoint=self._kind,
            endpoint_subject=self._settings.request_subjects(self._kind)[0],
        )

    def micro_metadata(self) -> dict[str, str]:
        """What `nats micro info` shows of the model."""
        health = self.health()
        return {
            "model": health.model_name,
            "worker_id": health.worker_id,
            "status": health.status,
            "engine": health.engine,
            "device": health.device,
            "quantization": health.model_info.quantization,
            "context_size": str(health.model_info.context_size),
            "slots": str(health.slots),
        }

    def micro_counts(self) -> ServiceCounts:
        """The figures of `nats micro stats`."""
        serving, tally = self._serving, self._serving.tally
        return ServiceCounts(
            tally.requests, tally.unanswered, serving.busy_ns, serving.last_error, self.engine_stats()
        )  # fmt: skip


def loaded(ready: Ready) -> str:
    """What the event of a load tells."""
    return f"the model is ready: {ready.placement}" if ready.placement else "the model is ready"
