"""How is a request's body read?

Whole, up to GOLEK_MAX_BODY, and not slower than people send: who dribbles is told so and let go.
"""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request

from golek_wire.errors import PayloadTooLargeError
from golek_worker.gateway.door import door
from golek_worker.gateway.errors import HttpError

SILENCE_S: Final = 20.0
"""Between two pieces of a body."""


class GoneError(Exception):
    """The client has left; nobody is to be answered."""


async def read(request: Request) -> bytes:
    """The body. Raises PayloadTooLargeError, HttpError 408 when it comes too slowly, GoneError when the client left."""
    limit = door(request).settings.golek_max_body * 2**20
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(int(announced[:20]), limit)
    pieces: list[bytes] = []
    size = 0
    pending = request.stream().__aiter__()
    try:
        while True:
            async with asyncio.timeout(SILENCE_S):
                piece = await anext(pending, None)
            if piece is None:
                return b"".join(pieces)
            size += len(piece)
            if size > limit:
                raise _too_large(size, limit)
            pieces.append(piece)
    except TimeoutError:
        raise HttpError(408, "REQUEST_TIMEOUT", f"the body stopped after {size} bytes for {SILENCE_S:g} s") from None
    except ClientDisconnect:
        raise GoneError from None


def _too_large(size: int, limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"The body has {size} bytes or more; at most {limit} are taken (GOLEK_MAX_BODY)", size=size, limit=limit
    )
