"""What can be done with a dead letter?

A letter is the copy of a job that crashed its engine each time. It is read, its job asked once more as a fresh one, or
dropped. A job may have been buried twice, as any work on the bus may run twice: it is one letter here, as it was last.
"""

import asyncio
import logging
from typing import Any, Final

import msgspec
from msgspec import Struct

from golek_client import stored
from golek_client.exchange import Exchange
from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_client.target import Target
from golek_wire import codec, subjects
from golek_wire.errors import BadRequestError, DeadlineExceededError, InferenceServiceError, NotFoundError
from golek_wire.replies import EmbeddingReply, InferenceReply, Reply, RerankReply
from golek_wire.signals import DeadLetter
from golek_wire.vision import VisionReply

log = logging.getLogger("golek.client")

_REPLIES: Final[dict[str, type[Reply]]] = {
    "inference": InferenceReply,
    "embedding": EmbeddingReply,
    "rerank": RerankReply,
    "vision": VisionReply,
}


class Question(Struct, frozen=True):
    """A letter's request, to be asked once more."""

    target: Target
    reply: type[Reply]
    payload: bytes


async def read(line: Line, model: str | None = None, newest: int | None = None) -> list[DeadLetter]:
    """The letters of `model`, or all, oldest first; what is no letter is left out with a warning in the log.

    `newest`: so many at most, and fewer where they are large (stored.MOST_BYTES).

    Raises BusUnavailableError when JetStream does not answer.
    """
    last: dict[str, DeadLetter] = {}
    for _, letter in await _all(line, model, newest):
        last.pop(letter.job_id, None)
        last[letter.job_id] = letter
    return list(last.values())


async def find(line: Line, job_id: str) -> DeadLetter:
    """The letter of one job. Raises NotFoundError when there is none, BusUnavailableError as `read` does."""
    for letter in await read(line):
        if letter.job_id == job_id:
            return letter
    raise NotFoundError(
        f"no dead letter of job {job_id[:64]!r} is kept; `golek dlq list` shows all, and seven days ends each",
        param="job_id",
    )


async def drop(line: Line, job_id: str) -> int:
    """Delete the letters of one job; how many there were. Raises BusUnavailableError when JetStream does not do it."""
    found = [seq for seq, letter in await _all(line) if letter.job_id == job_id]
    for seq in found:
        await stored.delete(line, subjects.DLQ_STREAM, seq)
    return len(found)


async def retry(line: Line, job_id: str, until: float, seconds: float, *, keep: bool) -> Reply:
    """Ask the letter's request once more; its answer by `until` on the loop's clock, `seconds` after the call began.

    Raises as `find` and `question` do, and what the job ends in; then the letter stays.
    """
    try:
        async with asyncio.timeout_at(until):
            letter = await find(line, job_id)
    except TimeoutError:
        raise DeadlineExceededError(
            f"the dead letter of job {job_id} could not be read within {seconds:g} s",
            deadline_ms=round(seconds * 1000),
        ) from None
    asked = question(letter, seconds)
    async with Exchange(line, asked.target, asked.reply, asked.payload, until, seconds) as exchange:
        reply = await exchange.reply()
    if not keep:
        await forget(line, job_id)
    return reply


async def forget(line: Line, job_id: str) -> None:
    """Drop the letter of a job that was answered. A bus that does not do it must not cost the answer."""
    try:
        await drop(line, job_id)
    except InferenceServiceError as error:
        log.warning("the dead letter of job %s stays, though its retry was answered: %s", job_id, error)


def question(letter: DeadLetter, deadline_s: float) -> Question:
    """The letter's request with the seed that it had, and this deadline.

    Raises BadRequestError for a letter without a request, and for one of a kind that this client cannot ask.
    """
    if letter.kind not in _REPLIES:
        raise BadRequestError(f"job {letter.job_id} asks for {letter.kind}, which this client cannot", param="job_id")
    if letter.payload is None:
        raise BadRequestError(
            f"the letter of job {letter.job_id} has no request to run again: {letter.withheld or 'none was kept'}. "
            "Workers with GOLEK_AUDIT_BODY=full keep them; this one its caller must ask again",
            param="job_id",
        )
    try:
        fields: dict[str, Any] = msgspec.json.decode(letter.payload, type=dict[str, Any])
    except UNREADABLE as error:
        raise BadRequestError(f"the request of job {letter.job_id} cannot be read: {error}", param="job_id") from None
    fields["deadline_ms"] = max(1, round(deadline_s * 1000))
    if letter.kind == "inference":
        fields["seed"] = letter.seed
    kind: Any = letter.kind
    usual = (subjects.request(name, kind) for name in subjects.spellings(letter.model))
    subject = None if letter.subject in ("", *usual) else letter.subject
    return Question(Target.of(letter.model, kind, subject), _REPLIES[letter.kind], codec.encode(fields))


async def _all(line: Line, model: str | None = None, newest: int | None = None) -> list[tuple[int, DeadLetter]]:
    """Every letter, or the newest, with its place in the stream, oldest first."""
    wanted = subjects.dead_letter(subjects.model_token(model)) if model else subjects.DLQ_SUBJECTS
    if newest is not None:
        kept = await stored.newest(line, subjects.DLQ_STREAM, wanted, newest)
    else:
        kept = [one async for one in stored.walk(line, subjects.DLQ_STREAM, wanted, stored.ELECTION_S)]
    letters = []
    for found in kept:
        try:
            letters.append((found.seq, codec.decode(found.data, DeadLetter)))
        except UNREADABLE as error:
            log.warning("message %d of %s is no dead letter: %s", found.seq, subjects.DLQ_STREAM, error)
    return letters
