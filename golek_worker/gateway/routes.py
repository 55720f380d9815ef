"""POST /v1/route/explain, GET /v1/routes: who would answer a request, and which names routers serve."""

from typing import Any

from msgspec import Struct, field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_program.web.described import describe
from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.openai import chat
from golek_wire.routing import Decision, Offer, RouteQuestion, RouteTable
from golek_wire.subjects import Kind
from golek_worker.gateway import asking, body, door

NOBODY = (503, 504)


class Question(Struct, frozen=True, omit_defaults=True):
    """How would this request be routed? A body of POST /v1/chat/completions is a question, too."""

    model: str = "auto"
    kind: Kind = "inference"
    request: dict[str, Any] = field(default_factory=dict[str, Any])
    """As it would be sent on the bus; without it the rest of the body is read as a chat completion's."""
    draw: float | None = None
    """Where targets with weights fall, from 0 to below 1; else at random."""
    messages: list[dict[str, Any]] | None = None
    """As in a chat completion, whose other fields may stand here as well."""


class _Whole(Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of a question that is no chat completion: a wish beside `request` would count for nothing."""

    model: Any = None
    kind: Any = None
    request: Any = None
    draw: Any = None
    messages: None = None


@describe(
    group="Routing",
    summary="Who would answer a request, in which order, and why; nobody is asked for an answer.",
    request=Question,
    reply=Decision,
    errors=(400, 403, *NOBODY),
    example={"model": "auto", "request": {"input": "Sort a list", "task_type": "code"}},
)
async def explain(request: Request) -> Response:
    """Ask a router. Raises NoWorkersError where none runs, ForbiddenError for a model that the key is not for."""
    payload = await body.read(request)
    asked = codec.decode_body(payload, Question)
    said = asked.request
    if asked.messages is None:
        codec.decode_body(payload, _Whole)
    else:
        if said:
            raise BadRequestError("request: goes without `messages`; give one of both", param="request")
        sent = chat.to_wire(chat.read(payload), asking.deadline_ms(request))
        said = codec.decode_body(codec.encode(sent), dict[str, Any])
    caller = door.caller(request)
    asking.check(caller, asked.model)
    allowed = list(caller.models) or None
    question = RouteQuestion(asked.model, asked.kind, said, asked.draw, allowed)
    return asking.json(await caller.golek.explained(codec.decode_body(codec.encode(question), RouteQuestion)))


@describe(
    group="Routing",
    summary="The names that routers serve beside the fleet's own models, and what of that is in trouble.",
    reply=RouteTable,
    errors=NOBODY,
)
async def routes(request: Request) -> Response:
    """What a router says; to a key that is for some models of these alone. Raises NoWorkersError where none runs."""
    caller = door.caller(request)
    found = await caller.golek.routes()
    if not caller.models:
        return asking.json(found)
    offers: list[Offer] = [one for one in found.offers if one.name in caller.models]
    return asking.json(RouteTable(found.router, offers))


ROUTES = [
    Route("/v1/route/explain", explain, methods=["POST"]),
    Route("/v1/routes", routes),
]
