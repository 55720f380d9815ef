"""/grammars: which grammars have a name, and what is in them?

One store for the fleet; whoever may ask may also list, read, store and remove. A request then gives the name as its
`grammar`.
"""

import contextlib
from collections.abc import Iterator

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_program.web.described import describe
from golek_program.web.errors import HttpError
from golek_wire import codec
from golek_wire.errors import BadRequestError, UnknownGrammarError
from golek_wire.grammars import Deleted, Draft, Grammar, Grammars
from golek_worker.gateway import asking, body
from golek_worker.gateway.door import caller

REFUSED = (503, 504)


class Change(Struct, frozen=True, omit_defaults=True):
    """The body that stores a grammar under the name of its path."""

    content: str
    """GBNF."""
    description: str = ""
    revision: int | None = None
    """As in `Draft`."""
    name: str = ""
    """Need not be given again."""


class Which(Struct, frozen=True):
    """What a deletion may ask."""

    revision: int | None = None
    """Only if the stored one still is this."""


@describe(group="Grammars", summary="The grammars that have a name.", reply=Grammars, errors=REFUSED)
async def listed(request: Request) -> Response:
    """All by name, without their contents."""
    return asking.json(Grammars(await caller(request).golek.grammars()))


@describe(
    group="Grammars",
    summary="Stores a grammar, over what had its name.",
    request=Draft,
    reply=Grammar,
    status=201,
    errors=(400, 403, 409, *REFUSED),
    example={"name": "answer", "description": "Yes or no", "content": 'root ::= "yes" | "no"'},
)
async def create(request: Request) -> Response:
    """Store it. Raises InvalidGrammarError with line and column."""
    draft = codec.decode_body(await body.read(request), Draft)
    return await _put(request, draft, 201)


@describe(group="Grammars", summary="One grammar with its content.", reply=Grammar, errors=(404, *REFUSED))
async def one(request: Request) -> Response:
    """Read it. Raises HttpError for one that nobody knows."""
    with _not_found():
        return asking.json(await caller(request).golek.grammar(_name(request)))


@describe(
    group="Grammars",
    summary="Stores a grammar under this name.",
    request=Change,
    reply=Grammar,
    errors=(400, 403, 409, *REFUSED),
    example={"content": 'root ::= "yes" | "no" | "maybe"'},
)
async def change(request: Request) -> Response:
    """Store it. Raises InvalidGrammarError, and BadRequestError for a body with another name."""
    said, name = codec.decode_body(await body.read(request), Change), _name(request)
    if said.name not in ("", name):
        raise BadRequestError(f"name: {said.name!r} in the body, and {name!r} in the path", param="name")
    return await _put(request, Draft(name, said.content, said.description, said.revision), 200)


@describe(
    group="Grammars", summary="Removes a grammar.", query=Which, reply=Deleted, errors=(400, 403, 404, 409, *REFUSED)
)
async def remove(request: Request) -> Response:
    """Remove it. Raises HttpError for one that nobody knows, ConflictError for another `revision` than is given."""
    try:
        which = msgspec.convert(dict(request.query_params), Which, strict=False)
    except msgspec.ValidationError:
        raise BadRequestError("revision: a number, as GET tells it", param="revision") from None
    with _not_found():
        await caller(request).golek.delete_grammar(_name(request), revision=which.revision)
    return asking.json(Deleted(_name(request)))


async def _put(request: Request, draft: Draft, status: int) -> Response:
    stored = await caller(request).golek.put_grammar(
        draft.name, draft.content, description=draft.description, revision=draft.revision
    )
    return Response(codec.encode(stored), status, media_type="application/json")


@contextlib.contextmanager
def _not_found() -> Iterator[None]:
    """A grammar that a path names and nobody knows is 404; in a request's body it is a wrong field, 400."""
    try:
        yield
    except UnknownGrammarError as error:
        raise HttpError(404, error.code, error.message, **error.details) from None


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


ROUTES = [
    Route("/grammars", listed, methods=["GET"]),
    Route("/grammars", create, methods=["POST"]),
    Route("/grammars/{name}", one, methods=["GET"]),
    Route("/grammars/{name}", change, methods=["PUT"]),
    Route("/grammars/{name}", remove, methods=["DELETE"]),
]
