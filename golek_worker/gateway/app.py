"""Which routes are there, and what does every request pass?

`application` joins the routes of all files. `Entrance` is around them: it gives a request its id, finds out who asks,
turns errors into responses, and tells what became of it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from golek_client.tracing import within
from golek_program.web import cors, errors, openapi
from golek_program.web.cors import Cors
from golek_program.web.errors import HttpError
from golek_program.web.leaving import GoneError
from golek_wire.errors import BusUnavailableError, InferenceServiceError, InternalError, NotFoundError
from golek_wire.keys import MICROS
from golek_wire.openai import routed
from golek_wire.orchestration import Orchestration
from golek_wire.replies import Allowance, Allowances
from golek_wire.routing import Route as Routing
from golek_worker.gateway import (
    advice,
    chat,
    completions,
    conversations,
    counting,
    dialect,
    embeddings,
    grammars,
    health,
    inference_sse,
    messages,
    metrics,
    models,
    pages,
    rerank,
    responses,
    routes,
    streams,
    vision,
    visits,
)
from golek_worker.gateway.callers import Callers
from golek_worker.gateway.door import Door, Visit, begin, request_id_of
from golek_worker.gateway.metrics import Meters
from golek_worker.gateway.sockets import Sockets

log = structlog.get_logger("gateway")

OPEN: Final = frozenset({"/", "/docs", "/openapi.json", "/ping", "/healthz", "/metrics", "/favicon.ico"})
"""Answered without a key, and what lies below these:"""
OPEN_BELOW: Final = ("/health", "/static/")
CLIENT_LEFT: Final = 499
WORK: Final = openapi.Work(
    "Golek",
    "A fleet of language models over HTTP. What is asked here goes over the bus, so that keys, limits, queues and logs "
    "are the same for all ways in.",
    "The gateway of the fleet, or a worker, which serves its own model.",
)
UNTRACED: Final = contextlib.nullcontext()
BUS_AWAY_S: Final = 2.0
"""A broker that is started again is back by then."""
AGAIN_MS: Final = 2000


Handler = Callable[[Request], Awaitable[Response]]
"""What answers a request."""


def application(door: Door, meters: Meters | None = None) -> ASGIApp:
    """The application; `meters` count what comes."""
    origins = cors.origins(door.settings.http_cors_origins)
    meters, callers = meters or Meters(door), Callers(door.golek, door.keys, door.admits, door.keyless, origins)
    entrance = Entrance(Router(routes_of(meters), redirect_slashes=False), door, callers, meters)
    return Sockets(Cors(entrance, origins) if origins else entrance, door, callers, meters)


def routes_of(meters: Meters) -> list[BaseRoute]:
    """All routes but Socket.IO's."""
    files = (
        health, chat, completions, responses, embeddings, rerank, vision, models, streams, counting, messages, grammars,
        conversations, inference_sse, pages, routes,
    )  # fmt: skip
    found = [*(route for file in files for route in file.ROUTES), *metrics.routes(meters)]
    found.append(openapi.route(found, is_open, WORK))
    for route in found:
        route.app = _answered_by(route.endpoint)
    return list(found)


def _answered_by(handler: Handler) -> ASGIApp:
    """The handler as an application, without what Starlette puts around it for exceptions: `Entrance` sees to them."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)

    return answer


def is_open(path: str) -> bool:
    """Whether `path` is answered without a key."""
    return path in OPEN or path.startswith(OPEN_BELOW)


def _no_route(visit: Visit, scope: Scope, error: HTTPException) -> InferenceServiceError:
    """What the router says of a path or a method that no route has."""
    where = f"{visit.method} {visit.path}"
    if error.status_code == 405:
        found = [one for one in scope["router"].routes if one.matches(scope)[0] is not Match.NONE]
        allowed = ", ".join(sorted({method for one in found for method in one.methods}))
        return HttpError(405, "METHOD_NOT_ALLOWED", f"{where}: this path takes {allowed}", allow=allowed)
    if visit.path.startswith("/v1/v1/"):
        return NotFoundError(
            f"{where}: there is no such path; your client adds /v1 by itself, as Anthropic's does: "
            "leave it out of its base URL"
        )
    return NotFoundError(f"{where}: there is no such path; GET /docs lists all")


class Entrance:
    """Around all routes. Pure ASGI, so that streams pass without a detour."""

    def __init__(self, inner: ASGIApp, door: Door, callers: Callers, meters: Meters) -> None:
        self._inner = inner
        self._door = door
        self._callers = callers
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = Headers(scope=scope)
        peer = scope.get("client")
        visit = Visit(request_id_of(headers), scope["method"], scope["path"], peer[0] if peer else "")
        visit.speaks_anthropic = dialect.is_anthropic(headers, visit.path)
        begin(scope, self._door, visit)
        scope["app"] = self  # the router then raises what no route answers

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message["headers"] = [*message["headers"], *_headers(visit)]
            else:
                body = message.get("body", b"")
                visit.bytes_out += len(body)
                if visit.streamed and not visit.first_at and body[:1] not in (b"", b":"):
                    visit.first_at = time.perf_counter()
            await send(message)

        with self._meters.open(visit):
            try:
                with self._traced(scope, visit):
                    await self._answer(scope, receive, tell, headers, visit)
            finally:
                self._door.told(visit)

    def _traced(self, scope: Scope, visit: Visit) -> contextlib.AbstractContextManager[None]:
        """What the fleet is asked meanwhile belongs to the caller's trace, or to one that begins here."""
        carried, traces = visits.carried_in(scope["headers"]), self._door.tracing
        if traces is not None and not is_open(visit.path):
            return visits.traced(traces, visit, scope.get("scheme", "http"), carried)
        return within(**carried) if carried else UNTRACED

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers, visit: Visit) -> None:
        """To its end; what is known of it then is in `visit`."""
        try:
            await self._routed(scope, receive, send, headers, visit)
        except GoneError:
            visit.status = visit.status or CLIENT_LEFT
        finally:
            visit.route = getattr(scope.get("route"), "path", "")

    async def _routed(self, scope: Scope, receive: Receive, send: Send, headers: Headers, visit: Visit) -> None:
        """By the route that there is for it; errors become responses. Raises GoneError."""
        try:
            if not is_open(visit.path):
                await self._wait_for_bus()
                visit.caller = await self._callers.find(headers)
            await self._inner(scope, receive, send)
        except InferenceServiceError as error:
            await self._refuse(error, scope, receive, send, visit)
        except GoneError:
            raise
        except asyncio.CancelledError:  # by who ends the server; it waits a moment for this
            await self._refuse(errors.stopping(), scope, receive, send, visit)
        except HTTPException as error:
            await self._refuse(_no_route(visit, scope, error), scope, receive, send, visit)
        except Exception:
            log.exception("http.failed", method=visit.method, path=visit.path, request_id=visit.request_id)
            failed = InternalError("the request could not be answered; the gateway's log says how", id=visit.request_id)
            await self._refuse(failed, scope, receive, send, visit)

    async def _wait_for_bus(self) -> None:
        """A request that begins while the bus is away waits a moment, not its deadline. Raises BusUnavailableError."""
        watch = self._door.watch
        if not (watch.is_connected or await watch.connected(BUS_AWAY_S)):
            raise BusUnavailableError("The broker is away; nobody can be asked until it is back", AGAIN_MS)

    async def _refuse(
        self, error: InferenceServiceError, scope: Scope, receive: Receive, send: Send, visit: Visit
    ) -> None:
        visit.fail(error)
        with contextlib.suppress(KeyError, msgspec.ValidationError):
            visit.routed = msgspec.convert(error.details["route"], Routing)
        with contextlib.suppress(KeyError, msgspec.ValidationError):
            visit.allowances = msgspec.convert(error.details["allowances"], Allowances)
        with contextlib.suppress(KeyError, msgspec.ValidationError):
            visit.orchestrated = msgspec.convert(error.details["orchestration"], Orchestration)
        if not visit.status:  # else the response has begun, and its end is all that can be told
            await advice.over_http(error, self._door.offers)
            await self._told(error, visit)(scope, receive, send)

    def _told(self, error: InferenceServiceError, visit: Visit) -> Response:
        if visit.speaks_anthropic:
            return errors.respond_as_anthropic(error, visit.request_id)
        return errors.respond(error, strict=self._door.settings.golek_strict_openai)


def _headers(visit: Visit) -> list[tuple[bytes, bytes]]:
    """What every response tells of its request."""
    found = [
        (b"x-request-id", visit.request_id.encode()),
        (b"openai-processing-ms", b"%d" % round((time.perf_counter() - visit.started) * 1000)),
    ]
    if visit.speaks_anthropic:
        found.append((b"request-id", visit.request_id.encode()))
    if visit.job_id:
        found.append((b"x-golek-job", visit.job_id.encode()))
    if visit.worker:
        found.append((b"x-golek-worker", visit.worker.encode()))
    if visit.routed is not None:
        found += [(name.encode(), value.encode()) for name, value in routed.headers(visit.routed)]
    if visit.orchestrated is not None:
        found.append((routed.ORCHESTRATION.encode(), routed.orchestration_header(visit.orchestrated).encode()))
    if visit.cost_usd is not None:
        found.append((routed.COST_USD.encode(), _dollars(visit.cost_usd)))
    if visit.cache:
        found.append((b"x-golek-cache", visit.cache.encode()))
    if visit.allowances is not None:
        budget = {visit.allowances.budget_unit: visit.allowances.budget}
        found += _allowed(b"requests", visit.allowances.requests or budget.get("requests"))
        found += _allowed(b"tokens", visit.allowances.tokens or budget.get("tokens"))
        found += _budget(budget.get("usd"))
    return found


def _dollars(usd: float) -> bytes:
    """A plain decimal: small sums have no exponent either."""
    return (b"%.9f" % usd).rstrip(b"0").rstrip(b".")


def _budget(allowance: Allowance | None) -> list[tuple[bytes, bytes]]:
    """A budget in money, in dollars."""
    if allowance is None:
        return []
    return [
        (b"x-golek-budget-limit-usd", b"%.6f" % (allowance.limit / MICROS)),
        (b"x-golek-budget-remaining-usd", b"%.6f" % (allowance.remaining / MICROS)),
        (b"x-golek-budget-reset", b"%.3fs" % allowance.reset_s),
    ]


def _allowed(what: bytes, allowance: Allowance | None) -> list[tuple[bytes, bytes]]:
    if allowance is None:
        return []
    return [
        (b"x-ratelimit-limit-" + what, b"%d" % allowance.limit),
        (b"x-ratelimit-remaining-" + what, b"%d" % allowance.remaining),
        (b"x-ratelimit-reset-" + what, b"%.3fs" % allowance.reset_s),
    ]
