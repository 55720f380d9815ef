"""How does a client send a body that no message can carry?

The body goes into the bucket `GOLEK_OBJECTS`, under a name that nobody can guess, and the request, an empty message,
names it. Writing is all that a client may do there: it neither reads nor lists what others wrote.
"""

import asyncio
import hashlib
import secrets
from typing import Final

from golek_client import stored
from golek_client.inbox import Inbox
from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_wire import codec, headers, objects, parts
from golek_wire.errors import BusUnavailableError, DeadlineExceededError, ForbiddenError, PayloadTooLargeError
from golek_wire.jetstream import ELECTING, PubAck

WINDOW: Final = 8
"""Pieces on their way at a time: a MiB, so that other calls of the connection go on beside them."""
SILENCE_S: Final = 5.0
"""Without a word from JetStream for so long, as after a lost connection, the body is stored anew."""
PAUSE_S: Final = 0.25
"""Before that."""
SWEEP_AFTER_S: Final = 60
"""What nobody deletes is swept so long after twice the deadline: a job's time begins when its body is stored."""


class _SilentError(Exception):
    """No word came in time, or JetStream is without a leader: another try may do better."""


def largest_request(line: Line) -> int:
    """Bytes of the largest body that a message carries."""
    return line.transport.max_payload - headers.REQUEST_RESERVE


async def store(line: Line, payload: bytes, until: float, seconds: float) -> str:
    """Store `payload`; the name of the object, for the header `Golek-Object`.

    `until` is the deadline on the loop's clock, `seconds` what it was when the call began. Raises PayloadTooLargeError
    with both sizes where the fleet has no such bucket or this client may not write there, BusUnavailableError when it
    takes nothing more, DeadlineExceededError when time is up.
    """
    sweep = {headers.TTL: f"{round(2 * seconds) + SWEEP_AFTER_S}s"}
    while asyncio.get_running_loop().time() < until:
        name = secrets.token_hex(16)
        with line.mux.open() as inbox:
            try:
                await _back(line, inbox, until)
                await _upload(line, inbox, name, payload, sweep, until)
            except _SilentError:
                if name in line.mux.last_error:  # a permissions violation names the subject
                    raise _too_large(line, len(payload), "this client may not store larger ones") from None
                await asyncio.sleep(PAUSE_S)
                continue
        return name
    raise DeadlineExceededError(
        f"a body of {len(payload)} bytes could not be stored within {seconds:g} s", deadline_ms=round(seconds * 1000)
    )


async def _back(line: Line, inbox: Inbox, until: float) -> None:
    """Wait while the connection is being restored: pieces would only fill its buffer, until it takes no more.

    Raises BusUnavailableError when it is closed, _SilentError when time is up.
    """
    while not line.transport.is_connected:
        await inbox.get(until)
        if asyncio.get_running_loop().time() >= until:
            raise _SilentError


async def _upload(line: Line, inbox: Inbox, name: str, payload: bytes, sweep: dict[str, str], until: float) -> None:
    """All pieces, then the description once they are stored."""
    pieces = parts.cut(payload, min(objects.PIECE_SIZE, line.transport.max_payload // 2))
    digest = hashlib.sha256()
    waiting = 0
    for piece in pieces:
        if waiting == WINDOW:
            await _acknowledged(line, inbox, len(payload), until)
            waiting -= 1
        await _send(line, objects.piece_subject(name), piece, inbox, sweep)
        waiting += 1
        digest.update(piece)
    for _ in range(waiting):
        await _acknowledged(line, inbox, len(payload), until)
    info = objects.described(name, len(payload), len(pieces), digest.digest())
    await _send(line, objects.info_subject(name), codec.encode(info), inbox, sweep)
    await _acknowledged(line, inbox, len(payload), until)


async def _send(line: Line, subject: str, data: bytes, inbox: Inbox, sweep: dict[str, str]) -> None:
    """One message of the object. Raises _SilentError where the connection broke."""
    if not (line.transport.is_connected or line.is_closed):
        raise _SilentError
    await line.send(subject, data, inbox.subject, sweep)


async def _acknowledged(line: Line, inbox: Inbox, size: int, until: float) -> None:
    """One message was stored. Raises _SilentError when nothing is heard."""
    answer = await inbox.get(min(until, asyncio.get_running_loop().time() + SILENCE_S))
    if answer is None:
        raise _SilentError
    if headers.NATS_STATUS in (answer.headers or {}):
        # Nobody stores it: there is no bucket, or its leader is being elected.
        try:
            await stored.last(line, objects.STREAM, objects.info_subject("any"))
        except (BusUnavailableError, ForbiddenError) as error:
            raise _SilentError from error
        raise _too_large(line, size, "this fleet has no bucket for larger ones (its workers' GOLEK_OBJECTS)")
    try:
        ack = codec.decode(answer.data, PubAck)
    except UNREADABLE as error:
        raise BusUnavailableError(f"the answer of the object store is not JetStream's: {error}") from None
    if ack.error is not None and ack.error.err_code in ELECTING:
        raise _SilentError
    if ack.error is not None:
        raise BusUnavailableError(
            f"the object store does not take a body of {size} bytes now: {ack.error.description} ({ack.error.err_code})"
        )


def _too_large(line: Line, size: int, why: str) -> PayloadTooLargeError:
    limit = largest_request(line)
    return PayloadTooLargeError(
        f"a request of {size} bytes; the bus carries requests of at most {limit} bytes, and {why}",
        size=size,
        limit=limit,
    )
