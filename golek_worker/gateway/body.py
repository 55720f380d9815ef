"""How is a request's body read? Whole, up to GOLEK_MAX_BODY."""

from starlette.requests import Request

from golek_program.web import body
from golek_worker.gateway.door import door


async def read(request: Request) -> bytes:
    """The body. Raises PayloadTooLargeError, HttpError 408 when it comes too slowly, GoneError when the client left."""
    return await body.read(request, door(request).settings.golek_max_body * 2**20, "GOLEK_MAX_BODY")
