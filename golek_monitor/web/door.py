"""What do all handlers share?"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from golek_client import Golek
from golek_client.connection import shown
from golek_monitor.events import EventLevel
from golek_monitor.picture import Picture
from golek_monitor.web.access import Access
from golek_monitor.web.configured import Configured
from golek_monitor.web.events import Feed
from golek_monitor.web.frames import Frame, Frames
from golek_program.web.errors import JSON
from golek_wire import codec
from golek_wire.errors import BusUnavailableError

log = structlog.get_logger("monitor")

_DOOR: Final = "golek.monitor"
HEADERS: Final[Mapping[str, str]] = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


Note = Callable[[EventLevel, str, str, str, str], object]
"""Writes a line of the event log: level, code, message, model, worker id."""


def told(level: EventLevel, code: str, message: str, model: str = "", worker_id: str = "") -> None:
    """Tells it in the process' own log alone."""
    getattr(log, level)(code, message=message, model=model, worker_id=worker_id)


class Door(Struct, frozen=True):
    """What the application is made of."""

    picture: Picture
    frames: Frames
    feed: Feed
    access: Access
    golek: Golek | None
    """The bus, for orders; None where there are none to give."""
    note: Note
    configured: Configured


def begin(scope: Any, entered: Door) -> None:
    """Remember by which door the request in `scope` came."""
    scope[_DOOR] = entered


def door(request: Request) -> Door:
    """What the application is made of."""
    found: Door = request.scope[_DOOR]
    return found


def bus(request: Request, golek: Golek | None) -> Golek:
    """`golek`, which asks the bus. Raises BusUnavailableError where there is none, and while the broker is away."""
    if golek is None:
        raise BusUnavailableError(
            "this monitor has no way to the bus: it shows a fleet, asks nothing and gives no orders"
        )
    if not door(request).picture.connected:
        raise BusUnavailableError(
            f"the broker at {shown(golek.url)} is away: nothing can be ordered or looked up on the bus until it is back"
        )
    return golek


def frame(request: Request) -> Frame:
    """The fleet as it is."""
    return door(request).frames.newest()


def peer(request: Request) -> str:
    """The address that `request` came from."""
    return request.client.host if request.client is not None else ""


def written(body: bytes, status: int = 200) -> Response:
    """JSON that is written already."""
    return Response(body, status, HEADERS, JSON)


def json(said: Any, status: int = 200) -> Response:
    """`said` as JSON."""
    return written(codec.encode(said), status)
