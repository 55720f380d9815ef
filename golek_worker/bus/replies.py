"""What does a worker send to the caller's inbox?

A final message exactly once; before it chunks, for those who stream. Every message passes `publish`, which checks its
size.
"""

import time
from collections.abc import Iterator

import msgspec
from nats.aio.client import Client

from golek_client.connection import flush, publish
from golek_wire import codec, parts, subjects
from golek_wire import headers as h
from golek_wire.errors import STATUS, InferenceServiceError, PayloadTooLargeError, to_reply
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Accepted, Allowances, Chunk, Delta, Started
from golek_worker.bus import pieces
from golek_worker.job import Job

PROBE_EVERY = 10
"""Every so many chunks carry the worker's reply subject: the server answers 503 when the inbox has no interest. After
the first such answer every chunk does."""

FLUSH_EVERY = 4
"""After so many parts the server is waited for: other answers have their turn."""
PART_HEADERS = 512
"""More than the headers of a part take."""

_FINAL = {h.FINAL: "1"}
_STEP = {h.STATUS: "step"}
_MAPPED = "_R_."
"""An inbox in another account, as the server names it here: it keeps the name until an empty message comes."""


async def send_accepted(client: Client, job: Job, seq: int, allowances: Allowances | None = None) -> None:
    """Tell the caller that its job is stored, as `seq` (0 where it has its answer already), and what its key may still
    spend.
    """
    about = {h.STATUS: "accepted", h.JOB: job.job_id}
    body = codec.encode(Accepted(job.req_id, job.job_id, seq, job.principal, allowances))
    await publish(client, job.reply, body, about)


async def send_started(client: Client, job: Job, worker: str, probe: str = "") -> None:
    """Tell the router that its step runs, and where: who does not say so in time is given up. The server answers on
    `probe`, if given, when nobody listens at the inbox.
    """
    about = {h.STATUS: "started", h.WORKER: worker}
    await publish(client, job.reply, codec.encode(Started(job.req_id, job.job_id)), about, probe)


async def send_error(
    client: Client,
    inbox: str,
    req_id: str,
    error: InferenceServiceError,
    *,
    stream: bool,
    worker: str = "",
    also_to: str | None = None,
    probe: str = "",
) -> None:
    """The one error message of a request, with its headers; it ends a stream as a final message does.

    `worker` is who had the job, where one had.
    """
    body, headers = error_message(req_id, error, stream=stream, worker=worker, limit=client.max_payload)
    if inbox:
        await publish(client, inbox, body, headers, probe)
        if stream or inbox.startswith(_MAPPED):
            await publish(client, inbox, b"")
    if also_to:
        await publish(client, also_to, body, error_headers(error))


def error_message(
    req_id: str, error: InferenceServiceError, *, stream: bool, worker: str = "", limit: int
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of `send_error`, which a server takes whose messages have `limit` bytes at most."""
    about = error_headers(error)
    if worker:
        about[h.WORKER] = worker
    if stream:
        about[h.FINAL] = "1"
    return error_body(req_id, error, limit), about


def error_body(req_id: str, error: InferenceServiceError, limit: int) -> bytes:
    """The error as it travels. Details that do not fit are left out, the largest ones first, such as a long text that
    was handed out before: `left_out` names them.
    """
    reply = to_reply(error, req_id)
    body = codec.encode(reply)
    if len(body) <= (room := limit - h.REQUEST_RESERVE):
        return body
    details, left_out = dict(reply.error.details), list[str]()
    while len(body) > room and details:
        largest = max(details, key=lambda name: len(codec.encode(details[name])))
        del details[largest]
        left_out.append(largest)
        told = msgspec.structs.replace(reply.error, details={**details, "left_out": left_out})
        body = codec.encode(msgspec.structs.replace(reply, error=told))
    return body


def error_headers(error: InferenceServiceError) -> dict[str, str]:
    """The headers of an error message: the code as NATS micro (ADR-32) writes it."""
    text = " ".join(error.message.split())[:512]
    return {h.ERROR_CODE: str(STATUS[error.code].nats), h.ERROR: f"{error.code}: {text}"}


class ReplyStream:
    """What one attempt writes, on its way to one inbox.

    The first piece goes out at once; later ones are gathered for at most `gather_s`: when `flush_at` comes, the caller
    must `flush`, so that no text waits across a pause of the model. The chunks of a resumable stream go into its log as
    well.
    """

    def __init__(self, client: Client, job: Job, attempt: int, gather_s: float, probe: str, worker: str) -> None:
        self._client = client
        self._inbox = job.reply
        self._log = subjects.tokens(job.job_id) if job.resumable else ""
        self._req_id = job.req_id
        self._later = {h.ATTEMPT: str(attempt)}
        self._headers = self._later | {h.WORKER: worker}
        """Of the next chunk: the first one says who writes."""
        self._gather_s = gather_s
        self._probe = probe
        self.probe_every = PROBE_EVERY
        """Every so many chunks are probes."""
        self.probes = 0
        self._seq = 0
        self._last_sent = 0.0
        self._held: list[str | Delta] = []
        self._held_is_text = True
        self._room = client.max_payload - h.REQUEST_RESERVE
        # A character takes at most 6 bytes in JSON.
        self._most_characters = max(1, self._room // 6)
        self.flush_at: float | None = None
        """Monotonic time by which held text must be sent; None when nothing is held."""

    def mark(self, name: str, value: str) -> None:
        """Let the next chunk say this as well."""
        self._headers = self._headers | {name: value}

    async def write(self, piece: str | Delta) -> None:
        """Send `piece`, now or gathered with what follows."""
        if self._gather_s == 0:
            await self._send_piece(piece)
            return
        now = time.monotonic()
        if not self._held and now - self._last_sent >= self._gather_s:
            self._last_sent = now
            await self._send_piece(piece)
            return
        self._held.append(piece)
        if not isinstance(piece, str):
            self._held_is_text = False
        if self.flush_at is None:
            self.flush_at = self._last_sent + self._gather_s
        elif now >= self.flush_at:
            await self.flush()

    async def tell(self, event: StepEvent) -> None:
        """Say how far the models are that answer together, behind what is held. It is no part of the answer: nobody
        reads it again. A text that no message carries is left out.
        """
        await self.flush()
        event = msgspec.structs.replace(event, req_id=self._req_id)
        body = codec.encode(event)
        if len(body) > self._room:
            body = codec.encode(msgspec.structs.replace(event, text=""))
        await publish(self._client, self._inbox, body, _STEP)

    async def flush(self) -> None:
        """Send what is held."""
        if not self._held:
            return
        held, is_text = self._held, self._held_is_text
        self._held, self._held_is_text, self.flush_at = [], True, None
        self._last_sent = time.monotonic()
        if is_text:
            await self._send("".join(held))  # type: ignore[arg-type]
            return
        for delta in pieces.joined(held):
            await self._send_delta(delta)

    async def _send_piece(self, piece: str | Delta) -> None:
        await (self._send(piece) if isinstance(piece, str) else self._send_delta(piece))

    async def _send_delta(self, delta: Delta) -> None:
        """What is more than text, in as many messages as it takes."""
        chunk = Chunk(
            self._req_id, delta.text, self._seq, delta.reasoning_content, delta.tool_calls, delta.logprobs, delta.index
        )
        body = codec.encode(chunk)
        cut = pieces.halves(delta) if len(body) > self._room else None
        if cut is None:
            await self._publish(body)
            return
        for half in cut:
            await self._send_delta(half)

    async def _send(self, delta: str) -> None:
        if len(delta) > self._most_characters:
            for half in _halves(delta):
                await self._send(half)
            return
        await self._publish(codec.encode(Chunk(self._req_id, delta, self._seq)))

    async def _publish(self, body: bytes) -> None:
        """Send the chunk `body`, which has the number `_seq`."""
        self._seq += 1
        probe = ""
        if self._probe and self._seq % self.probe_every == 0:
            probe = self._probe
            self.probes += 1
        headers, self._headers = self._headers, self._later
        if self._log:
            await publish(self._client, self._log, body, headers)
        await publish(self._client, self._inbox, body, headers, probe)


def largest_final(max_payload: int, job: Job) -> int:
    """Bytes of the largest body that `send_final` can send for this job."""
    room = max_payload - h.headers_size(_about(job, ""))
    return max(room, min(parts.WHOLE_LIMIT, parts.PARTS_LIMIT * _part_room(max_payload))) if job.parts else room


async def send_final(
    client: Client,
    job: Job,
    body: bytes,
    attempt: int,
    *,
    worker: str = "",
    also_to: str | None = None,
    probe: str = "",
) -> None:
    """The whole answer: to the inbox, closed by an empty message when streaming, and to `also_to`.

    `worker` is who wrote it, where that is known. `body` has at most `largest_final` bytes; what one message does not
    carry goes in parts, not faster than the server takes them. Who listens at `also_to` did not ask for parts: there
    it is an error. The server answers on `probe`, if given, when nobody listens at the inbox.
    """
    if job.reply:
        for number, (piece, about) in enumerate(final_messages(client.max_payload, job, body, attempt, worker), 1):
            await publish(client, job.reply, piece, about or None, probe)
            if number % FLUSH_EVERY == 0:
                await flush(client)
        if job.stream or job.reply.startswith(_MAPPED):
            await publish(client, job.reply, b"")
    if also_to and len(body) <= client.max_payload:
        await publish(client, also_to, body)
    elif also_to:
        error = PayloadTooLargeError(
            f"The answer has {len(body)} bytes; at most {client.max_payload} fit into one message, and parts go to "
            "the caller's inbox alone",
            size=len(body),
            limit=client.max_payload,
        )
        await send_error(client, "", job.req_id, error, stream=False, also_to=also_to)


def final_messages(
    max_payload: int, job: Job, body: bytes, attempt: int, worker: str
) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Body and headers of the whole answer, or of its parts.

    One that fits only without its worker's name goes without it. Parts name the attempt, because the pieces of two
    are not those of one message.
    """
    for about in (_about(job, worker), _about(job, "")):
        if len(body) <= max_payload - h.headers_size(about):
            yield body, about
            return
    about = _about(job, worker)
    pieces = parts.cut(body, _part_room(max_payload))
    for number, piece in enumerate(pieces, start=1):
        yield piece, about | {h.ATTEMPT: str(attempt), h.PART: parts.label(number, len(pieces))}


def _about(job: Job, worker: str) -> dict[str, str]:
    """The headers of a final message."""
    about = {h.WORKER: worker} if worker else {}
    return about | _FINAL if job.stream else about


def _part_room(max_payload: int) -> int:
    """Bytes of the largest piece."""
    return max_payload - PART_HEADERS


def _halves(text: str) -> tuple[str, str]:
    middle = len(text) // 2
    return text[:middle], text[middle:]
