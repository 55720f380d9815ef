"""Does this process live?

Answers without asking the bus or the engine, and counts as nobody's activity.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_worker.gateway.described import describe

_OK = b'{"status":"ok"}'


@describe(group="Health", summary="Says that the process lives; asks nobody.", reply=dict[str, str])
async def alive(request: Request) -> Response:  # noqa: ARG001
    """GET /ping, /health, /healthz: the process answers."""
    return Response(_OK, media_type="application/json")


ROUTES = [Route(path, alive, methods=["GET", "HEAD"]) for path in ("/ping", "/health", "/healthz")]
