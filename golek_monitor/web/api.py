"""What can programs ask of the fleet?

Services (models), replicas, gateways, what happened and how figures went. Lists are written once for all who ask
within a moment (frames.py).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client import discovery
from golek_monitor.logs.asking import parse
from golek_monitor.records import Event, GatewayRow, History, ReplicaDetail, ReplicaRow, Service
from golek_monitor.web.door import HEADERS, door, frame, json, written
from golek_monitor.web.events import EventStream
from golek_program.web.described import describe
from golek_wire.errors import ModelNotFoundError, NotFoundError
from golek_wire.signals import Aggregate, Alert, ModelRecord

LONGEST_S: Final = 3 * 3600
"""Of a history."""
EVENTS_LIMIT: Final = 1000


class Span(Struct, frozen=True):
    """How far back."""

    seconds: Annotated[float, Meta(ge=1, le=LONGEST_S)] = 300.0
    """At most three hours."""


class After(Struct, frozen=True):
    """Which events."""

    after: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """The `seq` of the last one that is known."""
    limit: Annotated[int, Meta(ge=1, le=EVENTS_LIMIT)] = 200


@describe(group="Fleet", summary="Every model that is served or expected, by name.", reply=list[Service])
async def services(request: Request) -> Response:
    """GET /api/services."""
    return written(frame(request).services)


@describe(group="Fleet", summary="One model.", reply=Service, errors=(404,))
async def service(request: Request) -> Response:
    """GET /api/services/MODEL. Raises ModelNotFoundError."""
    known, name = frame(request).services_by_name, request.path_params["model"]
    if name not in known:
        raise unknown(name, known)
    return json(known[name])


@describe(
    group="Fleet",
    summary="Every worker, by id; for a quarter of an hour also those that left or are lost.",
    reply=list[ReplicaRow],
)
async def replicas(request: Request) -> Response:
    """GET /api/replicas."""
    return written(frame(request).replicas)


@describe(
    group="Fleet",
    summary="One worker, with its last heartbeat and its settings that differ from their defaults.",
    reply=ReplicaDetail,
    errors=(404,),
    values={"worker_id": "golek-tiny-host1-1"},
)
async def replica(request: Request) -> Response:
    """GET /api/replicas/WORKER_ID. Raises NotFoundError."""
    row = _row(frame(request).replicas_by_id, "worker_id", request.path_params["worker_id"])
    health = next((one.health for one in door(request).picture.view.everyone() if one.worker_id == row.worker_id), None)
    told = await door(request).configured.of(row.incarnation) if row.presence == "here" else None
    if told is None:
        return json(ReplicaDetail(row=row, health=health))
    left_out = told.settings_left_out
    return json(ReplicaDetail(row=row, health=health, settings=told.settings, settings_left_out=left_out))


@describe(group="Fleet", summary="Every process that serves HTTP, by id.", reply=list[GatewayRow])
async def gateways(request: Request) -> Response:
    """GET /api/gateways."""
    return written(frame(request).gateways)


@describe(group="Fleet", summary="The fleet as a whole.", reply=Aggregate)
async def overview(request: Request) -> Response:
    """GET /api/overview."""
    return json(frame(request).now.overview)


@describe(group="What happened", summary="Alerts that fire, then those that were resolved lately.", reply=list[Alert])
async def alerts(request: Request) -> Response:
    """GET /api/alerts."""
    return json(frame(request).now.alerts)


@describe(group="What happened", summary="What happened, the newest first.", query=After, reply=list[Event])
async def log_events(request: Request) -> Response:
    """GET /api/log-events. Raises BadRequestError."""
    asked = parse(request.query_params, After)
    return json(door(request).picture.events(asked.after, asked.limit))


@describe(group="What happened", summary="The fleet's figures over time.", query=Span, reply=History)
async def history(request: Request) -> Response:
    """GET /api/history. Raises BadRequestError."""
    return json(door(request).picture.history("", parse(request.query_params, Span).seconds))


@describe(group="What happened", summary="A model's figures over time.", query=Span, reply=History, errors=(404,))
async def history_of(request: Request) -> Response:
    """GET /api/history/MODEL. Raises ModelNotFoundError, BadRequestError."""
    known, name = frame(request).services_by_name, request.path_params["model"]
    if name not in known:
        raise unknown(name, known)
    return json(door(request).picture.history(name, parse(request.query_params, Span).seconds))


@describe(
    group="What happened",
    summary="The fleet as it is, then what changes: `snapshot` (a FleetNow) and `update` (FleetChanges).",
    events=True,
    errors=(503,),
)
async def events(request: Request) -> Response:
    """GET /api/events. Raises TemporaryResourceError when too many read."""
    door(request).feed.check()
    if request.method == "HEAD":  # which would be answered for ever
        return Response(headers={**HEADERS, "content-type": EventStream.media_type})
    return EventStream(door(request).feed)


def unknown(name: str, known: Mapping[str, Service]) -> ModelNotFoundError:
    """What to tell who asks for a model that nobody knows: what may have been meant, and what there is."""
    records = [
        ModelRecord(one.model_name, one.kinds, one.status, deployment="", last_seen=one.last_seen)
        for one in known.values()
    ]
    return discovery.unknown(name, records, datetime.now(UTC))


def _row(rows: Mapping[str, Any], field: str, name: str) -> Any:
    if name not in rows:
        raise NotFoundError(f"{field}: there is none that is called {name[:128]!r}, nor was one lately", param=field)
    return rows[name]


ROUTES = [
    Route("/api/services", services),
    Route("/api/services/{model:path}", service),
    Route("/api/replicas", replicas),
    Route("/api/replicas/{worker_id}", replica),
    Route("/api/gateways", gateways),
    Route("/api/overview", overview),
    Route("/api/alerts", alerts),
    Route("/api/log-events", log_events),
    Route("/api/history", history),
    Route("/api/history/{model:path}", history_of),
    Route("/api/events", events),
]
