"""What does a route say of itself?

`describe` puts an `About` on a handler; GET /openapi.json, /docs and docs/API.md are made of these. It changes nothing
of what the handler does.

    @describe(group="Models", summary="Lists the models.", reply=ModelList)
    async def models(request: Request) -> Response: ...
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from msgspec import Struct, field
from starlette.requests import Request
from starlette.responses import Response

from golek_wire.openai.errors import Problem

JSON: Final = "application/json"
_ABOUT: Final = "golek_about"

Handler = TypeVar("Handler", bound=Callable[[Request], Awaitable[Response]])


class Refusal(Struct, frozen=True):
    """What every error looks like."""

    error: Problem


class About(Struct, frozen=True, kw_only=True):
    """One operation, for people and for programs that read OpenAPI."""

    group: str
    """Under which heading it stands."""
    summary: str
    """One sentence: what it does."""
    request: Any = None
    """Type of the JSON body; None for no body."""
    body_needed: bool = True
    """False where the body may be left out."""
    query: type[Struct] | None = None
    """A struct whose fields are the query's parameters."""
    reply: Any = None
    """Type of the body of an answer that is no error."""
    media: str = JSON
    """What that body is."""
    status: int = 200
    """Of an answer that is no error."""
    events: bool = False
    """The answer may come as server-sent events: always where `reply` is None, else when the request says `stream`."""
    asks: bool = False
    """A model is asked, so that whatever may befall a job may be the answer."""
    errors: tuple[int, ...] = ()
    """Statuses besides those that follow from the above."""
    others: Mapping[int, Any] = field(default_factory=dict[int, Any])
    """Types of answers with another status and a body of their own."""
    refusal: Any = Refusal
    """Type of its errors."""
    example: Mapping[str, Any] | None = None
    """A body to try."""
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    """Values to try, of parameters in the path and in the query."""


def describe(**fields: Any) -> Callable[[Handler], Handler]:
    """Say what a handler does, with the fields of `About`."""
    about = About(**fields)

    def put(handler: Handler) -> Handler:
        setattr(handler, _ABOUT, about)
        return handler

    return put


def about(handler: Any) -> About | None:
    """What the handler of a route says of itself; None where it says nothing."""
    found: About | None = getattr(handler, _ABOUT, None)
    return found
