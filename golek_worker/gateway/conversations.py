"""/v1/sessions/{id}: what does the fleet keep of the caller's conversation?

What requests with a `session_id` said and were answered, over HTTP or the bus: to be exported, and to be forgotten.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_program.web.described import describe
from golek_wire.sessions import Session, SessionDeleted
from golek_worker.gateway import asking
from golek_worker.gateway.door import caller

REFUSED = (400, 404, 503, 504)


@describe(group="Sessions", summary="A conversation, as it is kept.", reply=Session, errors=REFUSED)
async def export(request: Request) -> Response:
    """The whole of it. Raises NotFoundError for one that there is not, or that is another caller's."""
    return asking.json(await caller(request).golek.session(_id(request)))


@describe(group="Sessions", summary="Forgets a conversation.", reply=SessionDeleted, errors=REFUSED)
async def forget(request: Request) -> Response:
    """Forget it; what runs of it meanwhile adds nothing. Raises as `export` does."""
    await caller(request).golek.delete_session(_id(request))
    return asking.json(SessionDeleted(_id(request)))


def _id(request: Request) -> str:
    session_id: str = request.path_params["session_id"]
    return session_id


ROUTES = [
    Route("/v1/sessions/{session_id:path}", export, methods=["GET"]),
    Route("/v1/sessions/{session_id:path}", forget, methods=["DELETE"]),
]
