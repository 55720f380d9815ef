"""How is a request's body read?

Whole, up to a limit, and not slower than people send: who dribbles is told so and let go.
"""

import asyncio
import difflib
from collections.abc import Collection
from typing import Any, Final, TypeVar

from msgspec import Raw
from starlette.requests import Request

from golek_program.web.errors import HttpError
from golek_program.web.leaving import GoneError
from golek_wire import codec
from golek_wire.errors import BadRequestError, PayloadTooLargeError

T = TypeVar("T")

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


def order(payload: bytes, kind: type[T]) -> T:
    """The order in `payload`. A field that `kind` has not is refused: with one misspelt an order means more than said.

    Raises BadRequestError naming what is wrong.
    """
    asked = codec.decode_order(payload, kind)
    known = _fields(kind)
    if unknown := [name for name in _said(payload) if name not in known]:
        named = ", ".join(name[:64] for name in unknown[:8])
        there = f"there are {', '.join(known)}" if known else "this order has none"
        raise BadRequestError(f"{named}: no such field; {there}", param=unknown[0][:64])
    return asked


def refuse_misspelt(payload: bytes, kind: type, narrowing: Collection[str]) -> None:
    """Raise BadRequestError for a field that is meant as one of `narrowing`; clients may send any others, which say
    nothing.
    """
    known = _fields(kind)
    folded = {_folded(name): name for name in narrowing}
    for name in _said(payload):
        if name not in known and (near := difflib.get_close_matches(_folded(name), folded, n=1, cutoff=0.7)):
            raise BadRequestError(f"{name[:64]}: no such field; did you mean {folded[near[0]]}?", param=name[:64])


def _said(payload: bytes) -> Collection[str]:
    """The names of its fields. Raises BadRequestError for one that is no text."""
    return codec.decode_body(payload, dict[str, Raw]) if payload.strip() else ()


def _fields(kind: type) -> tuple[str, ...]:
    found: Any = kind
    names: tuple[str, ...] = found.__struct_fields__
    return names


def _folded(name: str) -> str:
    return name[:64].casefold().replace("_", "").replace("-", "")


def _too_large(size: int, limit: int, setting: str) -> PayloadTooLargeError:
    said = f" ({setting})" if setting else ""
    return PayloadTooLargeError(
        f"The body has {size} bytes or more; at most {limit} are taken{said}", size=size, limit=limit
    )
