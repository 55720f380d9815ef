"""What do the router and its providers ask of each other?"""

from collections.abc import AsyncIterator
from typing import Protocol

from msgspec import Struct

from golek_wire.headers import HOPS
from golek_wire.replies import Delta, Reply
from golek_wire.requests import Request


class Call(Struct, frozen=True):
    """One request to one target."""

    model: str
    """As its server calls it."""
    request: Request
    """With `resume` set where a part of the text was already handed out: then only what follows is told as pieces, and
    the reply is the whole."""
    job_id: str
    """The router's job, which the target's server sees as the id of the request."""
    seconds: float
    """Until the answer is of no use."""
    hops: int = 0
    """Through how many routers it came, which another fleet wants to know."""

    @property
    def headers(self) -> dict[str, str]:
        """Of its request over HTTP."""
        return {"content-type": "application/json", "x-client-request-id": self.job_id, HOPS: str(self.hops)}


Piece = str | Delta


class Provider(Protocol):
    """A cloud, or another server behind HTTP."""

    name: str

    def answer(self, call: Call) -> AsyncIterator[Piece | Reply]:
        """Pieces as they come, then the reply, whose figures are the provider's own.

        Of a text that goes on with another one `text` is the whole, the tokens are those of this call alone.

        Ending the iteration early ends the request. Raises BadRequestError and its kin for what the provider says is
        the caller's fault, ProviderRefusedError for its key, RateLimitedError and ProviderFailedError, with
        `retry_after_ms` as the provider said it, DeadlineExceededError; each with `provider` among its details.
        """
        ...

    async def close(self) -> None:
        """Hang up."""
        ...
