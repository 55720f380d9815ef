"""How is it: does the process live, may requests come, how much is going on?

None of this asks an engine or counts as anybody's activity. Whether the process lives is answered without a look at the
bus; the rest is told from what workers say unasked.
"""

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client.fleet import ModelState, Replica
from golek_program.web.described import describe
from golek_wire import codec
from golek_wire.signals import Level, WorkerStatus
from golek_worker.gateway.door import caller, door
from golek_worker.gateway.readiness import NotReady, Ready

_OK = b'{"status":"ok"}'


class Alive(Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


class ReplicaLoad(Struct, frozen=True):
    """How busy one replica is."""

    worker_id: str
    status: WorkerStatus
    slots: int
    active: int
    last_token_age_ms: int | None
    """Since its engine's last sign of progress."""


class ModelLoad(Struct, frozen=True):
    """How busy a model is."""

    model: str
    status: WorkerStatus
    level: Level
    active: int
    """Requests that run."""
    waiting: int
    """Requests that wait in its queue."""
    slots: int
    """Requests that may run at once."""
    capacity: int
    """Requests that the queue holds, running ones among them; 0 while that is not known."""
    utilization: float
    replicas: list[ReplicaLoad]


class Load(Struct, frozen=True):
    """How busy the models are that the caller may ask; the sums first."""

    active: int
    waiting: int
    slots: int
    capacity: int
    models: list[ModelLoad]


@describe(group="Health", summary="The process lives.", reply=Alive)
async def alive(request: Request) -> Response:  # noqa: ARG001
    """GET /ping, /health, /healthz: the process answers."""
    return Response(_OK, media_type="application/json")


@describe(group="Health", summary="Requests may be sent here.", reply=Ready, others={503: NotReady})
async def ready(request: Request) -> Response:
    """GET /health/ready: requests may come, or 503 with the reason."""
    found = door(request).ready()
    return Response(codec.encode(found), 200 if isinstance(found, Ready) else 503, media_type="application/json")


@describe(group="Health", summary="How much runs and waits, of each model.", reply=Load)
async def status(request: Request) -> Response:
    """GET /v1/status: how much runs and waits."""
    may = caller(request).models
    models = [_load(one) for one in door(request).watch.models() if not may or one.name in may]
    return Response(codec.encode(_sum(models)), media_type="application/json")


def _sum(models: list[ModelLoad]) -> Load:
    return Load(
        sum(one.active for one in models),
        sum(one.waiting for one in models),
        sum(one.slots for one in models),
        sum(one.capacity for one in models),
        models,
    )


def _load(model: ModelState) -> ModelLoad:
    return ModelLoad(
        model.name,
        model.status,
        model.level,
        model.active,
        model.pending,
        model.slots,
        model.capacity,
        round(model.utilization, 4),
        [_replica(one) for one in model.replicas],
    )


def _replica(one: Replica) -> ReplicaLoad:
    return ReplicaLoad(one.worker_id, one.status, one.slots, one.active, one.last_token_age_ms)


ROUTES = [
    *(Route(path, alive, methods=["GET", "HEAD"]) for path in ("/ping", "/health", "/healthz")),
    Route("/health/ready", ready, methods=["GET", "HEAD"]),
    Route("/v1/status", status, methods=["GET"]),
]
