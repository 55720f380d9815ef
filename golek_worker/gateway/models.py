"""GET /v1/models: which models there are; POST …/load and …/unload: bring one into memory, or take it out."""

from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client import discovery
from golek_client.operating import LOAD_S
from golek_program.web import body as bodies
from golek_program.web.described import describe
from golek_program.web.leaving import watched
from golek_wire import codec
from golek_wire.anthropic import models as anthropic
from golek_wire.errors import BadRequestError, ConflictError
from golek_wire.openai import models as form
from golek_wire.signals import ModelRecord, Residence
from golek_worker.gateway import asking, body, door
from golek_worker.gateway.callers import check_model


class Wanted(Struct, frozen=True):
    """The body of an order."""

    model: str = ""
    """Where the path does not name it."""
    worker_id: str = ""
    """The replica that is meant; all of the model without it."""
    force: bool = False
    """Unload also while jobs run: they go back to the queue."""


NARROWING: Final = ("worker_id", "force")
"""Without these an order means more, or less, than was said."""


class Done(Struct, frozen=True):
    """What an order came to."""

    id: str
    status: str
    """As in the list of models."""
    workers: list[Residence]
    """What is so at each replica."""
    success: bool = True
    object: str = "model"


@describe(
    group="Models",
    summary="The models that can be asked, and those that can be loaded.",
    reply=form.ModelList,
    errors=(503,),
)
async def models(request: Request) -> Response:
    """The models of the fleet; at a worker its own. Who speaks Anthropic's API gets them in that form."""
    served = door.door(request).served
    records = await _records(request)
    known = await _known(request, records)
    config, mode = discovery.usual(records if not served else (), datetime.now(UTC))
    found = form.listed((one for one in known.values() if served in ("", one.id)), config, mode)
    return asking.json(anthropic.listed(found.data) if door.visit(request).speaks_anthropic else found)


@describe(group="Models", summary="One model.", reply=form.Model, errors=(404, 503))
async def one(request: Request) -> Response:
    """One model, also when nobody serves it at the moment. Raises ModelNotFoundError."""
    name = form.plain(request.path_params["model"])
    records = await _records(request)
    known = await _known(request, records)
    if name in known:
        speaks_anthropic = door.visit(request).speaks_anthropic
        return asking.json(anthropic.shown(known[name]) if speaks_anthropic else known[name])
    raise discovery.unknown(name, records, datetime.now(UTC))


@describe(
    group="Models",
    summary="Brings a model into memory.",
    request=Wanted,
    body_needed=False,
    reply=Done,
    asks=True,
    example={"model": "golek-tiny"},
)
async def load(request: Request) -> Response:
    """Bring a model into memory, and wait until it is there."""
    return await _order(request, "load")


@describe(
    group="Models",
    summary="Takes a model out of memory once its jobs have ended.",
    request=Wanted,
    body_needed=False,
    reply=Done,
    asks=True,
    example={"model": "golek-tiny"},
)
async def unload(request: Request) -> Response:
    """Take a model out of memory once its jobs have ended; the next request loads it again."""
    return await _order(request, "unload")


async def _records(request: Request) -> list[ModelRecord]:
    """What the fleet knows of the models that the caller may ask."""
    caller = door.caller(request)
    known = await caller.golek.models()
    return [one for one in known if not caller.models or one.offers or one.name in caller.models]


async def _known(request: Request, records: list[ModelRecord]) -> dict[str, form.Model]:
    """By name, the models that the caller may ask: those of workers, and those that a machine could start."""
    entered, caller, now = door.door(request), door.caller(request), datetime.now(UTC)
    offers = await entered.offers.all() if entered.offers is not None else []
    found = {one.name: form.offered(one) for one in offers}
    for record in records:
        if record.offers:  # a router is no model; what it offers stands below
            found.pop(record.name, None)
            continue
        gone = discovery.gone(record, now) is not None
        if not gone or record.name not in found:
            roles = found[record.name].roles if record.name in found else ()
            found[record.name] = form.shown(record, gone=gone, roles=roles)
    if not entered.served:
        found = {one.name: form.virtual(one) for one in discovery.offers(records, now)} | found
    return {name: found[name] for name in sorted(found) if not caller.models or name in caller.models}


async def _order(request: Request, verb: str) -> Response:
    """Raises as `order`, and BadRequestError where no model is named."""
    wanted = await read_order(request)
    model = form.plain(request.path_params.get("model") or wanted.model or door.door(request).served)
    if not model:
        raise BadRequestError(
            'model: is missing; as {"model": "golek-tiny"}, a name from GET /v1/models', param="model"
        )
    return await order(request, verb, wanted, model)


async def read_order(request: Request) -> Wanted:
    """The body of an order. Raises BadRequestError."""
    payload = await body.read(request)
    wanted = codec.decode_order(payload, Wanted)
    bodies.refuse_misspelt(payload, Wanted, NARROWING)
    return wanted


async def order(request: Request, verb: str, wanted: Wanted, model: str) -> Response:
    """Have it done. Raises what the fleet answers, and ConflictError where a replica could not do it."""
    visit, caller = door.visit(request), door.caller(request)
    check_model(caller, model)
    visit.model = model
    seconds = asking.seconds_for(request, None) if asking.names_deadline(request) else LOAD_S
    options: dict[str, Any] = {"worker_id": wanted.worker_id, "timeout": seconds}
    async with watched(request.scope):
        if verb == "load":
            found = await caller.golek.load(model, **options)
        else:
            found = await caller.golek.unload(model, force=wanted.force, **options)
    problems = [f"{each.worker_id}: {each.problem}" for each in found if each.problem is not None]
    if problems:
        raise ConflictError(f"{verb} of {model}: {'; '.join(problems)}", model=model, workers=len(found))
    return asking.json(Done(model, form.STATUS[found[0].status] if found else "offline", found))


ROUTES = [
    *(Route(path, models) for path in ("/v1/models", "/models")),
    *(Route(f"{top}/load", load, methods=["POST"]) for top in ("/v1/models", "/models")),
    *(Route(f"{top}/unload", unload, methods=["POST"]) for top in ("/v1/models", "/models")),
    *(Route(f"{top}/{{model:path}}/load", load, methods=["POST"]) for top in ("/v1/models", "/models")),
    *(Route(f"{top}/{{model:path}}/unload", unload, methods=["POST"]) for top in ("/v1/models", "/models")),
    *(Route(f"{top}/{{model:path}}", one) for top in ("/v1/models", "/models")),
]
