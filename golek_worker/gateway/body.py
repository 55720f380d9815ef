"""How is a request's body read?

Whole, up to GOLEK_MAX_BODY, and not slower than people send: who dribbles is told so and let go.
"""

import asyncio
from typing import Final

from starlette.requests import Request

from golek_program.web.errors import HttpError
from golek_wire.errors import PayloadTooLargeError
from golek_worker.gateway.door import door

SILENCE_S: Final = 20.0
"""Between two pieces of a body."""
WHOLE_S: Final = 300.0
"""For a whole body."""


class GoneError(Exception):
    """The client has left; nobody is to be answered."""


async def read(request: Request) -> bytes:
    """The body. Raises PayloadTooLargeError, HttpError 408 when it comes too slowly, GoneError when the client left."""
    limit = door(request).settings.golek_max_body * 2**20
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(int(announced[:20]), limit)
    clock = asyncio.get_running_loop().time
    ends = clock() + WHOLE_S
    body = bytearray()
    try:
        async with asyncio.timeout(SILENCE_S) as patience:
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise GoneError
                body += message["body"]
                if len(body) > limit:
                    raise _too_large(len(body), limit)
                if not message["more_body"]:
                    return bytes(body)
                patience.reschedule(min(clock() + SILENCE_S, ends))
    except TimeoutError:
        raise HttpError(
            408, "REQUEST_TIMEOUT", f"of the body {len(body)} bytes came; {SILENCE_S:g} s without more are too long"
        ) from None


def _too_large(size: int, limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"The body has {size} bytes or more; at most {limit} are taken (GOLEK_MAX_BODY)", size=size, limit=limit
    )
