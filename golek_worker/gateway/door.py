"""What do all handlers share, and what is known of one request while it is answered?"""

import functools
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from msgspec import Struct, field
from starlette.requests import Request

from golek_client import Golek
from golek_client.watching import Watch
from golek_program.settings.http import Http
from golek_program.web import errors
from golek_wire.errors import InferenceServiceError
from golek_wire.keys import Key
from golek_wire.orchestration import Orchestration
from golek_wire.replies import Allowances
from golek_wire.routing import Route
from golek_wire.signals import Health
from golek_worker.gateway.lingering import Lingering
from golek_worker.gateway.offers import Offers
from golek_worker.gateway.readiness import Judge

if TYPE_CHECKING:
    from golek_program.spans import Tracing

_DOOR: Final = "golek.door"
_VISIT: Final = "golek.visit"
_IDS: Final = f"req_{secrets.token_hex(8)}"
"""Begins the ids that this process gives."""
_COUNT: Final = itertools.count()
_REQUEST_ID = re.compile(r"[!-~]{1,128}")

Keyless = Literal["nobody", "here", "everybody"]
"""Who may ask without a key while the fleet knows none. `here`: programs of this machine."""

Closing = Callable[[float], Awaitable[None]]
"""Called, perhaps twice, with the seconds that what runs may take to end."""


class KeyRing(Protocol):
    """The keys that the fleet knows."""

    @property
    def known(self) -> Mapping[str, Key]:
        """By the SHA-256 of their text, in hex."""

    async def find(self, digest: str) -> Key | None:
        """The key of this digest; None for one that is unknown, revoked or expired."""


class Caller(Struct, frozen=True):
    """Who asks."""

    principal: str
    golek: Golek
    """The bus, asked on this caller's behalf."""
    models: list[str] = field(default_factory=list[str])
    """Names of the models it may ask; empty is all."""


class Admission(Protocol):
    """Lets callers in by their headers."""

    async def find(self, headers: Mapping[str, str]) -> Caller:
        """Who sent `headers`. Raises UnauthorizedError."""


class Visit(Struct):
    """One request over HTTP, as far as it has come. Handlers fill in what they learn; headers, access log and metrics
    tell it.
    """

    request_id: str
    method: str
    path: str
    peer: str = ""
    """The address that the connection came from."""
    route: str = ""
    """The pattern of the path that was found; empty where none was."""
    started: float = field(default_factory=time.perf_counter)
    caller: Caller | None = None
    """None on open routes."""
    model: str = ""
    job_id: str = ""
    worker: str = ""
    allowances: Allowances | None = None
    cache: str = ""
    """What part a cache had in the answer; empty where nobody asked for one."""
    status: int = 0
    """0 until the response begins; 499 where the client left before that."""
    code: str = ""
    """Of the error it ended in."""
    tokens_in: int = 0
    tokens_out: int = 0
    routed: Route | None = None
    """How the answer came about, or the error; None where no router had to do with it."""
    orchestrated: Orchestration | None = None
    """How several models came to it; None where one answered."""
    cost_usd: float | None = None
    """What clouds took; None where nothing had a price."""
    provider: str = ""
    """Who answered, where a router chose: `local`, or a cloud."""
    bytes_out: int = 0
    streamed: bool = False
    first_at: float = 0.0
    """When the first event of a stream went out that is no comment; 0 while none did."""
    speaks_anthropic: bool = False
    """The client speaks Anthropic's API, errors included."""

    def fail(self, error: InferenceServiceError) -> None:
        """It ended in this, which may have cost something."""
        self.code = errors.code_of(error)
        self.pay(error.details.get("cost_usd"))

    def pay(self, cost_usd: object) -> None:
        """Clouds took so much, where that is a number."""
        if isinstance(cost_usd, int | float):
            self.cost_usd = round((self.cost_usd or 0.0) + cost_usd, 9)


class Door(Struct, frozen=True, dict=True):
    """What the application is made of."""

    golek: Golek
    """The bus, asked as whoever this process is."""
    settings: Http
    keys: KeyRing
    served: str = ""
    """The model of the worker that serves this; empty at the fleet's gateway, and at a router."""
    told: Callable[[Visit], None] = lambda _: None
    """Called when a request is done with."""
    offers: Offers | None = None
    """What the machines of the fleet could start; None where one model is served."""
    seconds: float = 120.0
    """Deadline of requests that bring none."""
    own: Callable[[], Health] | None = None
    """How the worker that serves this is; None at the fleet's gateway."""
    admits: Admission | None = None
    """Who says who asks, instead of the keys; None without GOLEK_AUTH."""
    keyless: Keyless = "nobody"
    closing: list[Closing] = field(default_factory=list[Closing])
    """What is to be closed before the door is; who needs that adds to it."""
    tracing: "Tracing | None" = None
    """Makes the spans of requests; None where nobody traces."""
    lingering: Lingering = field(default_factory=Lingering)
    """Streams whose readers left a moment ago."""
    auto: bool = False
    """Whether a request that names no model asks for `auto`."""

    @functools.cached_property
    def watch(self) -> Watch:
        """The fleet as it is, or the model of the worker that serves this. Who opens the door keeps it up to date."""
        return self.golek.watch(self.served)

    @functools.cached_property
    def ready(self) -> Judge:
        """Whether requests may come."""
        return Judge(self.watch, self.own)


def visit(request: Request) -> Visit:
    """What is known of `request`."""
    found: Visit = request.scope[_VISIT]
    return found


def caller(request: Request) -> Caller:
    """Who sent `request`, to a route that is keyed."""
    found = visit(request).caller
    assert found is not None
    return found


def request_id_of(headers: Mapping[str, str]) -> str:
    """The caller's, where it can stand in a header; else one that no other request has."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"{_IDS}{next(_COUNT):08x}"


def begin(scope: Any, entered: Door, made: Visit) -> None:
    """Remember what is known of the request in `scope`."""
    scope[_DOOR], scope[_VISIT] = entered, made


def door(request: Request) -> Door:
    """What the application is made of."""
    found: Door = request.scope[_DOOR]
    return found
