"""Which routes are there, and what does every request pass?

    web = application(picture, golek, access)
    await server.serve(web, …)
    web.close()

`Web` is around all routes: it lets people in, and turns errors into responses.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from golek_client import Golek
from golek_monitor.picture import Picture
from golek_monitor.web import actions, api, health, login, metrics, pages
from golek_monitor.web.access import Access
from golek_monitor.web.configured import Configured
from golek_monitor.web.door import Door, Note, begin, told
from golek_monitor.web.events import Feed
from golek_monitor.web.frames import Frames
from golek_program.web import errors, openapi
from golek_program.web.errors import HttpError
from golek_program.web.leaving import GoneError
from golek_wire.errors import InferenceServiceError, InternalError, NotFoundError

log = structlog.get_logger("monitor")

OPEN: Final = frozenset({"/", "/favicon.ico", "/openapi.json", "/healthz", "/health/ready", "/api/access"})
"""Answered to everybody: they tell nothing of the fleet. Likewise what lies below these:"""
OPEN_BELOW: Final = ("/static/", "/api/login", "/api/logout")
WORK: Final = openapi.Work(
    "Golek monitor",
    "A fleet of language models, as it is: models, workers, alerts, figures, what happened; and orders to them.",
    "The monitor of the fleet.",
    (401, 403, 429),
)

Handler = Callable[[Request], Awaitable[Response]]
"""What answers a request."""


def application(
    picture: Picture,
    golek: Golek | None = None,
    access: Access | None = None,
    *,
    note: Note = told,
    more: Sequence[Route] = (),
) -> "Web":
    """The application that shows `picture`; orders go to `golek` and are noted, `more` are routes of other parts.

    Without `access` only this machine may ask, and anybody there.
    """
    frames = Frames(picture)
    door = Door(picture, frames, Feed(picture, frames), access or Access(), golek, note, Configured(golek))
    return Web(Router(routes_of(more), redirect_slashes=False), door)


def routes_of(more: Sequence[Route] = ()) -> list[BaseRoute]:
    """All routes."""
    routes = [*(route for file in (api, actions, login, health, metrics, pages) for route in file.ROUTES), *more]
    routes.append(openapi.route(routes, is_open, WORK))
    for route in routes:
        route.app = _answered_by(route.endpoint)
    return list(routes)


def is_open(path: str) -> bool:
    """Whether `path` is answered to everybody."""
    return path in OPEN or path.startswith(OPEN_BELOW)


def _answered_by(handler: Handler) -> ASGIApp:
    """The handler as an application, without what Starlette puts around it for exceptions: `Web` sees to them."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)

    return answer


class Web:
    """Around all routes. Pure ASGI, so that streams pass without a detour."""

    def __init__(self, inner: Router, door: Door) -> None:
        self.inner = inner
        self._door = door

    def close(self) -> None:
        """End the streams, which else would keep a server from ending."""
        self._door.feed.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        begin(scope, self._door)
        scope["app"] = self  # the router then raises what no route answers
        begun = False

        async def tell(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            if not is_open(scope["path"]):
                self._door.access.look(Headers(scope=scope), scope["client"][0] if scope.get("client") else "")
            await self.inner(scope, receive, tell)
        except GoneError:
            return
        except (InferenceServiceError, HTTPException, Exception) as error:
            if begun:
                raise
            await errors.respond(_shown(error, scope))(scope, receive, send)


def _shown(error: Exception, scope: Scope) -> InferenceServiceError:
    """What is told of `error`."""
    where = f"{scope['method']} {scope['path']}"
    if isinstance(error, InferenceServiceError):
        return error
    if isinstance(error, HTTPException) and error.status_code == 405:
        found = [one for one in scope["router"].routes if one.matches(scope)[0] is not Match.NONE]
        allowed = ", ".join(sorted({method for one in found for method in one.methods}))
        return HttpError(405, "METHOD_NOT_ALLOWED", f"{where}: this path takes {allowed}", allow=allowed)
    if isinstance(error, HTTPException):
        return NotFoundError(f"{where}: there is no such path; GET /openapi.json lists all")
    log.error("http.failed", method=scope["method"], path=scope["path"], exc_info=error)
    return InternalError("the request could not be answered; the monitor's log says how")
