"""Does the monitor live, and does it hear its fleet?"""

from typing import Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_monitor.web.door import door, json
from golek_program.web.described import describe


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Hears(Struct, frozen=True):
    """The bus is heard, so that what is told is true."""

    status: Literal["ready"] = "ready"


class Deaf(Struct, frozen=True):
    """It is not."""

    problem: str
    status: Literal["not ready"] = "not ready"


@describe(group="Health", summary="The process lives.", reply=Alive)
async def alive(request: Request) -> Response:  # noqa: ARG001
    """GET /healthz."""
    return json(Alive())


@describe(group="Health", summary="The bus is heard.", reply=Hears, others={503: Deaf})
async def ready(request: Request) -> Response:
    """GET /health/ready: what is told is true, or 503 with the reason."""
    if door(request).picture.connected:
        return json(Hears())
    return json(Deaf("The broker is away; what is told of the fleet is as it was before"), 503)


ROUTES = [Route("/healthz", alive), Route("/health/ready", ready)]
