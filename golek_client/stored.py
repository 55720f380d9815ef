"""What lies in a stream?

Read with the plainest JetStream request, `STREAM.MSG.GET`, which every stream answers however it was made; the client
needs no consumer for it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from golek_client.line import Line
from golek_wire import codec, headers
from golek_wire.errors import BusUnavailableError
from golek_wire.jetstream import MESSAGE_GONE, NO_MESSAGE, STREAM_NOT_FOUND, ApiError

LOOKUP_S: Final = 2.0
"""How long JetStream may take for one message."""
ELECTION_S: Final = 10.0
"""Who can wait is asked to wait so long: a cluster elects a leader within 9 s (nats-server's `maxElectionTimeout`)."""
PAUSE_S: Final = 0.1
PART: Final = 64
"""Places in a stream that are read together where the newest are wanted."""
MOST_BYTES: Final = 16 * 2**20
"""Of more messages than have so much the newest alone are read."""

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `codec.decode` raises for a message of another kind, for bytes that are no text, and for endless nesting."""


class Stored(Struct, frozen=True):
    """A message in a stream."""

    subject: str
    seq: int
    data: bytes = b""


class _Answer(Struct, frozen=True):
    """What JetStream says: a message, or an error such as "no message found"."""

    message: Stored | None = None
    error: ApiError = ApiError()


class _State(Struct, frozen=True):
    """What lies in a stream, and how much of it by subject."""

    first_seq: int = 0
    last_seq: int = 0
    subjects: dict[str, int] | None = None


class _Described(Struct, frozen=True):
    """What JetStream says of a stream."""

    state: _State = _State()
    error: ApiError = ApiError()


Answer = TypeVar("Answer", _Answer, _Described)

_NOTHING_THERE: Final = (NO_MESSAGE, STREAM_NOT_FOUND)
"""Every other error, an election or a limit, leaves open what there is."""


async def last(line: Line, stream: str, subject: str) -> Stored | None:
    """The newest message on `subject`; None without one, without the stream, and without JetStream.

    Raises BusUnavailableError when JetStream does not answer within 2 s, or cannot say, as during an election.
    """
    return await _get(line, stream, {"last_by_subj": subject})


async def counts(line: Line, stream: str, subjects: str) -> dict[str, int]:
    """How many messages lie on each subject of `subjects`; empty without the stream. Raises as `last` does."""
    return (await _describe(line, stream, {"subjects_filter": subjects})).subjects or {}


async def newest(line: Line, stream: str, subjects: str, count: int) -> list[Stored]:
    """The newest messages on `subjects`, oldest first: `count` at most, and about MOST_BYTES. Raises as `last` does."""
    state = await _describe(line, stream, {})
    found: list[Stored] = []
    begin, size, places = state.last_seq + 1, 0, PART
    while begin > max(1, state.first_seq) and len(found) < count and size < MOST_BYTES:
        end, begin = begin, max(1, state.first_seq, begin - places)
        part = []
        async for one in walk(line, stream, subjects, after=begin - 1):
            if one.seq >= end:
                break
            part.append(one)
        found = part + found
        size += sum(len(one.data) for one in part)
        places = PART if len(part) > places // 2 else 2 * places  # where few are left, or others' lie between
    return found[-count:]


async def walk(
    line: Line, stream: str, subjects: str, patience_s: float = 0.0, *, after: int = 0
) -> AsyncIterator[Stored]:
    """All messages on `subjects`, a subject or wildcard, oldest first, behind the one numbered `after`.

    Ends and raises as `last` does. While JetStream cannot say, it is asked again for `patience_s`: an election takes
    that long.
    """
    clock = asyncio.get_running_loop().time
    seq, until = after + 1, clock() + patience_s
    while True:
        try:
            stored = await _get(line, stream, {"seq": seq, "next_by_subj": subjects})
        except BusUnavailableError:
            if line.is_closed or clock() >= until:
                raise
            await asyncio.sleep(PAUSE_S)
            continue
        if stored is None:
            return
        yield stored
        seq = stored.seq + 1


async def gone(line: Line, stream: str, seq: int) -> bool | None:
    """True when there is no message `seq` any more; None when nobody here says, and without the stream: it may have
    another name. Raises as `last` does.
    """
    answer = await _ask(line, stream, "GET", {"seq": seq})
    if answer is None or (answer.message is None and answer.error.err_code != NO_MESSAGE):
        return None
    return answer.message is None


async def delete(line: Line, stream: str, seq: int) -> None:
    """Delete one message; that it is gone already is no error.

    Raises BusUnavailableError when JetStream does not do it.
    """
    answer = await _ask(line, stream, "DELETE", {"seq": seq})
    if answer is None:
        raise BusUnavailableError(f"message {seq} of {stream} was not deleted: JetStream does not answer")
    if answer.error.err_code and answer.error.err_code not in MESSAGE_GONE:
        problem = f"{answer.error.description} ({answer.error.err_code})"
        raise BusUnavailableError(f"message {seq} of {stream} was not deleted: {problem}")


async def _describe(line: Line, stream: str, query: dict[str, Any]) -> _State:
    """Nothing where there is no such stream, and without JetStream."""
    answer = await _api(line, f"STREAM.INFO.{stream}", query, stream, _Described)
    if answer is None or answer.error.err_code == STREAM_NOT_FOUND:
        return _State()
    if answer.error.err_code:
        problem = f"{answer.error.description} ({answer.error.err_code})"
        raise BusUnavailableError(f"JetStream cannot say how much is in {stream}: {problem}")
    return answer.state


async def _get(line: Line, stream: str, query: dict[str, Any]) -> Stored | None:
    answer = await _ask(line, stream, "GET", query)
    if answer is None:
        return None
    if answer.message is None and answer.error.err_code not in _NOTHING_THERE:
        problem = f"{answer.error.description or 'no message and no error'} ({answer.error.err_code})"
        raise BusUnavailableError(f"JetStream cannot say what is in {stream}: {problem}")
    return answer.message


async def _ask(line: Line, stream: str, call: str, query: dict[str, Any]) -> _Answer | None:
    """What JetStream says to `STREAM.MSG.<call>`; None when nobody listens there."""
    return await _api(line, f"STREAM.MSG.{call}.{stream}", query, stream, _Answer)


async def _api(line: Line, call: str, query: dict[str, Any], stream: str, kind: type[Answer]) -> Answer | None:
    until = asyncio.get_running_loop().time() + LOOKUP_S
    message = await line.ask_once(f"$JS.API.{call}", codec.encode(query), until)
    if message is None:
        raise BusUnavailableError(f"JetStream did not say within {LOOKUP_S:.0f} s what is in {stream}")
    if headers.NATS_STATUS in (message.headers or {}):
        return None
    try:
        return codec.decode(message.data, kind)
    except UNREADABLE as error:
        raise BusUnavailableError(f"the answer about {stream} is not JetStream's: {error}") from None
