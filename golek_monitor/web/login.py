"""How does a browser come to be let in? With the key, once; then it has a cookie."""

from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_monitor.web.actions import Go
from golek_monitor.web.door import door, json, peer
from golek_program.web import body
from golek_program.web.described import describe
from golek_wire import codec
from golek_wire.errors import InferenceServiceError

BODY_LIMIT: Final = 4 * 1024


class Login(Struct, frozen=True):
    """Who wants to be let in."""

    key: str
    """MONITOR_KEY."""


class Rights(Struct, frozen=True):
    """What whoever asks may do here."""

    looks: bool
    acts: bool
    has_key: bool
    """Whether this monitor has a key, so that a login is of use."""


@describe(group="Who asks", summary="What may be done here by who asks this.", reply=Rights)
async def rights(request: Request) -> Response:
    """GET /api/access."""
    access = door(request).access
    try:
        known = access.is_known(request.headers, peer(request))
    except InferenceServiceError:  # a wrong key
        known = False
    looks = known or not access.public
    return json(Rights(looks=looks, acts=known or (looks and not access.has_key), has_key=access.has_key))


@describe(
    group="Who asks",
    summary="Lets a browser in that has the key: sets a cookie.",
    request=Login,
    example={"key": "the-key"},
    reply=Rights,
    errors=(401, 403, 409, 415, 429),
)
async def login(request: Request) -> Response:
    """POST /api/login. Raises UnauthorizedError, RateLimitedError, ConflictError where there is no key."""
    access = door(request).access
    access.check_order(request.headers)
    asked = codec.decode_body(await body.read(request, BODY_LIMIT), Login)
    response = json(Rights(looks=True, acts=True, has_key=True))
    response.headers["set-cookie"] = access.login(asked.key, peer(request), secure=request.url.scheme == "https")
    return response


@describe(group="Who asks", summary="Takes the cookie away.", request=Go, example={}, reply=Rights, errors=(403, 415))
async def logout(request: Request) -> Response:
    """POST /api/logout."""
    access = door(request).access
    access.check_order(request.headers)
    body.order(await body.read(request, BODY_LIMIT), Go)
    response = json(Rights(looks=not access.public, acts=not access.has_key, has_key=access.has_key))
    response.headers["set-cookie"] = access.logout(secure=request.url.scheme == "https")
    return response


ROUTES = [
    Route("/api/access", rights),
    Route("/api/login", login, methods=["POST"]),
    Route("/api/logout", logout, methods=["POST"]),
]
