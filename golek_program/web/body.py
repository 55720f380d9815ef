"""How is a request's body read?

Whole, up to a limit, and not slower than people send: who dribbles is told so and let go.
"""

import asyncio
from typing import Final

from starlette.requests import Request

from golek_program.web.errors import HttpError
from golek_program.web.leaving import GoneError
from golek_wire.errors import PayloadTooLargeError

SILENCE_S: Final = 20.0
"""Between two pieces of a body."""
WHOLE_S: Final = 300.0
"""For a whole body."""


async def read(request: Request, limit: int, setting: str = "") -> bytes:
    """The body, of at most `limit` bytes, which `setting` says.

    Raises PayloadTooLargeError, HttpError 408 when it comes too slowly, GoneError when the client left.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(int(announced[:20]), limit, setting)
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
                    raise _too_large(len(body), limit, setting)
                if not message["more_body"]:
                    return bytes(body)
                patience.reschedule(min(clock() + SILENCE_S, ends))
    except TimeoutError:
        raise HttpError(
            408, "REQUEST_TIMEOUT", f"of the body {len(body)} bytes came; {SILENCE_S:g} s without more are too long"
        ) from None


def _too_large(size: int, limit: int, setting: str) -> PayloadTooLargeError:
    said = f" ({setting})" if setting else ""
    return PayloadTooLargeError(
        f"The body has {size} bytes or more; at most {limit} are taken{said}", size=size, limit=limit
    )
