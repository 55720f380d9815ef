"""What became of a job whose caller was not there?

Its final message lies in the bucket `GOLEK_RESULTS` for as long as the request asked. It is read by a direct get, which
a fleet can allow each client for its own keys alone.
"""

import asyncio
from typing import Any, Final

import msgspec
from msgspec import Struct

from golek_client import embedding, ranking, seeing, stored
from golek_client.line import Line
from golek_client.stored import LOOKUP_S, UNREADABLE, gone
from golek_client.transport import Received
from golek_wire import codec, headers, parts, subjects
from golek_wire.errors import (
    BadRequestError,
    BusUnavailableError,
    DeadlineExceededError,
    ForbiddenError,
    InternalError,
)
from golek_wire.replies import EmbeddingReply, InferenceReply, Receipt, Reply, RerankReply
from golek_wire.vision import VisionReply

LOOK_S: Final = 5.0
"""A job that is waited for is looked up so often, should word of its answer be lost."""


class Found(Struct, frozen=True):
    """A final message as it was kept."""

    subject: str
    data: bytes
    headers: dict[str, str]


async def read(line: Line, principal: str, job_id: str) -> Found | None:
    """The final message of a job; None while there is none, or no more.

    Raises BusUnavailableError when JetStream does not answer within 2 s, ForbiddenError for what this client may not
    read, where the server says so, and InternalError for an entry that is not Golek's.
    """
    subject = subjects.stored_result(principal, job_id)
    first = await _get(line, subject)
    if first is None:
        return None
    about = first.headers or {}
    if headers.STATUS in about or headers.KV_OPERATION in about:
        return None
    try:
        _, count = parts.numbers(about.get(headers.PART, "1/1"))
    except ValueError as error:
        raise InternalError(f"the result is not Golek's: {error}") from None
    pieces = [first.data]
    for number in range(2, count + 1):
        piece = await _get(line, f"{subject}.{number}")
        if piece is None:
            return None
        pieces.append(piece.data)
    return Found(subject, b"".join(pieces), _without_part(about))


async def wait(line: Line, principal: str, job_id: str, until: float, seconds: float) -> Found:
    """The final message of a job, once it is there.

    Raises DeadlineExceededError when the loop's clock passes `until`, which is `seconds` after the call began, and
    BusUnavailableError when the client is closed. Time without a connection, or without JetStream, is waited out.
    """
    loop = asyncio.get_running_loop()
    with line.mux.open() as inbox:

        async def hear(message: Received) -> None:
            inbox.put(message)

        listening = await line.subscribe(subjects.stored_result(principal, job_id), hear)
        try:
            while True:
                found = await _read_if_possible(line, principal, job_id)
                if found is not None:
                    return found
                if loop.time() >= until:
                    raise DeadlineExceededError(
                        f"job {job_id} had no answer within {seconds:g} s; it may still come",
                        job_id=job_id,
                        deadline_ms=round(seconds * 1000),
                    )
                heard = await inbox.get(min(until, loop.time() + LOOK_S))
                if heard is not None and _is_whole(heard):
                    return Found(heard.subject, heard.data, dict(heard.headers or {}))
        finally:
            await line.unsubscribe(listening)


async def lost(line: Line, model: str, seq: int) -> bool | None:
    """True when the job has left its queue; None when that cannot be told, as where this client may not read it."""
    try:
        return await gone(line, subjects.job_stream(subjects.model_token(model)), seq)
    except (BusUnavailableError, ForbiddenError):
        return None


def reply_in(found: Found) -> Reply:
    """The reply, of whichever kind. Raises the error that the job ended in, InternalError for what is none."""
    try:
        shape = codec.decode(found.data, _Shape)
        return codec.decode_final(found.data, _kind(shape))
    except UNREADABLE as error:
        raise InternalError(f"the result is not Golek's: {error}") from None


def shown(reply: Reply) -> str:
    """`reply` as a person reads it: its text, or one line of JSON."""
    if isinstance(reply, InferenceReply):
        return reply.text
    if isinstance(reply, VisionReply):
        return seeing.as_json(reply)
    return embedding.as_json(reply) if isinstance(reply, EmbeddingReply) else ranking.as_json(reply)


def key_of(job: Receipt | str, principal: str | None) -> tuple[str, str]:
    """Principal and id of `job`: a receipt knows both. Raises BadRequestError for what is neither: a wildcard would
    find the answer of another job.
    """
    if isinstance(job, Receipt):
        who, job_id = principal or job.principal, job.job_id
    else:
        who, job_id = principal or subjects.ANONYMOUS, job
    if not subjects.is_plain(who):
        raise BadRequestError(f"principal: {who[:64]!r} is none that a receipt names", param="principal")
    if not subjects.is_job_id(job_id):
        raise BadRequestError(
            f"job: {job_id[:64]!r} is no job id, which is 26 characters of a-z and 2-7; a receipt has it, and "
            "`golek submit` prints it",
            param="job",
        )
    return who, job_id


class _Shape(Struct):
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    results: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    object: Any = None


def _kind(shape: _Shape) -> type[Reply]:
    """Replies of each kind are told apart by the list that they have, and what they call it."""
    if shape.data is not msgspec.UNSET:
        return EmbeddingReply
    if shape.object == "classifications":
        return VisionReply
    return RerankReply if shape.results is not msgspec.UNSET else InferenceReply


async def _read_if_possible(line: Line, principal: str, job_id: str) -> Found | None:
    if not line.transport.is_connected:
        return None
    try:
        return await read(line, principal, job_id)
    except BusUnavailableError:
        if line.mux.closed is not None:
            raise
        return None


def _is_whole(message: Received) -> bool:
    """True for a final message in one piece; of others the bucket has the rest."""
    about = message.headers or {}
    return not about.keys() & {headers.STATUS, headers.KV_OPERATION, headers.PART}


def _without_part(about: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in about.items() if name != headers.PART}


async def _get(line: Line, subject: str) -> Received | None:
    """The newest message on `subject`; None without one, and without the bucket."""
    until = asyncio.get_running_loop().time() + LOOKUP_S
    message = await line.ask_once(f"$JS.API.DIRECT.GET.{subjects.RESULTS_STREAM}.{subject}", b"", until)
    if message is None:
        raise BusUnavailableError(f"JetStream did not say within {LOOKUP_S:.0f} s what is in {subjects.RESULTS_BUCKET}")
    status = (message.headers or {}).get(headers.NATS_STATUS)
    if status is None:
        return message
    if status == headers.NO_RESPONDERS:
        await _check_whose(line, subject)
    if status in ("404", headers.NO_RESPONDERS):
        return None
    raise BusUnavailableError(f"JetStream cannot say what is in {subjects.RESULTS_BUCKET}: status {status}")


async def _check_whose(line: Line, subject: str) -> None:
    """Nobody answers for a result: there is no bucket, it elects a leader, or this client cannot reach the key.

    The last is certain for a client that logged in, named no principal, and may not use the stream otherwise, as a
    tenant may not. Raises ForbiddenError then.
    """
    if not line.names_requests or not subject.startswith(subjects.stored_result(subjects.ANONYMOUS, "")):
        return
    try:
        await stored.last(line, subjects.RESULTS_STREAM, subject)
    except BusUnavailableError:
        return
    except ForbiddenError:
        raise ForbiddenError(
            f"this login reads no answers of {subjects.ANONYMOUS}: name the principal of the job's receipt, with "
            "`--principal WHO` or `principal=`",
            param="principal",
        ) from None
