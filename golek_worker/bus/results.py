"""How is an answer kept for a caller who is not there?

In the bucket GOLEK_RESULTS: under `<principal>.<job id>` lies the final message, byte for byte as it is sent to an
inbox, with the headers of an error where it is one. It is written before the reply. A caller who waits at an inbox
never waits for this, so there a failure is only counted; where the result is the only answer, it is stored or the job
stays queued.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable

import msgspec
import nats.errors
import structlog
from msgspec import Struct

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import codec, parts, subjects
from golek_wire import headers as h
from golek_wire.errors import BusUnavailableError, InferenceServiceError
from golek_wire.jetstream import PubAck
from golek_worker.bus.jetstream import WRONG_LAST_SEQUENCE, JetStreamError, patiently, store, stored_message
from golek_worker.bus.replies import error_body, error_headers
from golek_worker.bus.streams import DAY_S, NoStorageError, ensure_stream, results_config
from golek_worker.job import Job
from golek_worker.losses import Losses

log = structlog.get_logger("results")

BUCKET_MIB = (2048, 256)
"""Room of the bucket; the smaller one where the broker cannot reserve the larger."""
ACK_PATIENCE_S = 10.0
"""A result without JetStream's word for so long is counted as lost."""
STORE_PATIENCE_S = 10.0
"""So long the only answer of a job is tried to be stored before the job runs again: an election takes 4 to 9 s."""
STORE_TIMEOUT_S = 2.0
RETRY_S = 0.25
PART_RESERVE = 1024
"""Bytes of a piece's headers: those of an error have at most 600."""


class Pending(Struct, frozen=True):
    """The value of an entry whose job is still on its way. Header: `Golek-Status: queued`."""

    req_id: str
    job_id: str
    seq: int
    """Sequence in the model's job stream."""
    status: str = "queued"


class Entry(Struct, frozen=True):
    """What lies under a key."""

    revision: int
    body: bytes
    headers: dict[str, str]

    @property
    def is_final(self) -> bool:
        """False for a job that is still on its way."""
        return h.STATUS not in self.headers


class Heard:
    """The word that goes to an entry, heard on its way there: it may not be stored yet, or be refused."""

    def __init__(self) -> None:
        self._came = asyncio.Event()
        self._in_pieces = False
        self.final: Entry | None = None
        """A final message that came whole; of one in pieces the bucket knows the rest."""

    async def take(self, message: Delivery) -> None:
        headers = message.headers or {}
        if h.STATUS in headers or h.KV_OPERATION in headers:
            return
        if h.PART in headers:
            self._in_pieces = True
        else:
            self.final = Entry(0, message.data, headers)
        self._came.set()

    async def wait(self, until: float) -> None:
        """Return when there is reason to look: a word came, or the monotonic time `until`."""
        if self._in_pieces:
            until = min(until, time.monotonic() + RETRY_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._came.wait()
        self._came.clear()


class Results:
    """The bucket, as workers and ingresses write it."""

    def __init__(self, client: BusClient, lost: Callable[[int, str], None]) -> None:
        """`lost` is called now and then with how many results were lost since the last time, and why the last was."""
        self._client = client
        self._losses = Losses(lost)
        self._inbox = client.new_inbox()
        self._numbers = itertools.count()
        self._unacked: dict[str, float] = {}
        self._decode_ack = msgspec.json.Decoder(PubAck).decode

    @property
    def lost(self) -> int:
        """Answers that were sent but could not be kept."""
        return self._losses.count

    @classmethod
    async def open(cls, client: BusClient, lost: Callable[[int, str], None]) -> "Results":
        """Make the bucket as large as the broker has room for, or find it. Raises as `ensure_stream` does."""
        for mib in BUCKET_MIB:
            try:
                await ensure_stream(client, results_config(mib * 2**20), may_differ=("max_bytes",))
                break
            except NoStorageError:
                if mib == BUCKET_MIB[-1]:
                    raise
        results = cls(client, lost)
        await client.subscribe_direct(f"{results._inbox}.*", results._on_ack)
        return results

    async def keep(self, job: Job, body: bytes, about: dict[str, str]) -> None:
        """Write the final message of `job`, with the headers `about`; a failure is counted and never raised."""
        now = time.monotonic()
        self._count_silent(now)
        try:
            for subject, headers, piece in self._messages(job, body, about):
                inbox = f"{self._inbox}.{next(self._numbers)}"
                self._unacked[inbox] = now
                await publish(self._client, subject, piece, headers, inbox)
        except InferenceServiceError as error:
            self._losses.add(str(error))

    async def keep_surely(self, job: Job, body: bytes, about: dict[str, str]) -> None:
        """Write it and return once it is stored. Raises BusUnavailableError after STORE_PATIENCE_S."""
        until = time.monotonic() + STORE_PATIENCE_S
        for subject, headers, piece in self._messages(job, body, about):
            while True:
                try:
                    await store(self._client, subject, piece, headers, timeout=STORE_TIMEOUT_S)
                    break
                except (BusUnavailableError, JetStreamError, nats.errors.Error) as error:
                    if time.monotonic() >= until:
                        raise BusUnavailableError(f"the answer cannot be stored: {error}") from error
                    await asyncio.sleep(RETRY_S)

    async def keep_error(self, job: Job, error: InferenceServiceError) -> None:
        """Write the error that ends `job`: surely where nobody waits for it at an inbox. Failures are counted."""
        body, about = error_body(job.req_id, error, self._client.max_payload), error_headers(error)
        if job.reply:
            await self.keep(job, body, about)
            return
        try:
            await self.keep_surely(job, body, about)
        except BusUnavailableError as unstored:
            self.lose(unstored)

    def lose(self, cause: Exception) -> None:
        """Count an answer that nobody will find."""
        self._losses.add(str(cause))

    async def announce(self, job: Job, seq: int, revision: int) -> None:
        """Say under the key that the job is on its way, unless what lies there is newer than `revision` (0: nothing).

        Raises as `api` does.
        """
        headers = {
            h.STATUS: "queued",
            h.INPUT: job.input_sha256,
            h.TTL: f"{job.budget_ms // 1000 + DAY_S}s",
            h.EXPECTED: str(revision),
        }
        subject = subjects.stored_result(job.principal, job.job_id)
        try:
            pending = codec.encode(Pending(job.req_id, job.job_id, seq))
            await patiently(self._client, lambda: store(self._client, subject, pending, headers))
        except JetStreamError as error:
            if error.code != WRONG_LAST_SEQUENCE:
                raise

    async def find(self, job: Job) -> Entry | None:
        """What lies under the key of `job`; None for nothing, and for an answer of which a piece is gone.

        Raises as `api` does.
        """
        subject = subjects.stored_result(job.principal, job.job_id)
        found = await self._read(subject)
        if found is None:
            return None
        _, count = parts.numbers(found.headers.get(h.PART, "1/1"))
        pieces = [found.body]
        for number in range(2, count + 1):
            piece = await self._read(f"{subject}.{number}")
            if piece is None:
                return None
            pieces.append(piece.body)
        return Entry(found.revision, b"".join(pieces), found.headers)

    @contextlib.asynccontextmanager
    async def heard(self, job: Job) -> AsyncIterator["Heard"]:
        """What is written under the key of `job` from now on."""
        heard = Heard()
        subject = subjects.stored_result(job.principal, job.job_id)
        listening = await self._client.subscribe_direct(subject, heard.take)
        try:
            yield heard
        finally:
            with contextlib.suppress(nats.errors.Error):  # the connection is closing: then it hears nothing more
                await listening.unsubscribe()

    async def _read(self, subject: str) -> Entry | None:
        found = await stored_message(self._client, subjects.RESULTS_STREAM, {"last_by_subj": subject})
        if found is None or h.KV_OPERATION in found.headers:
            return None
        return Entry(found.seq, found.data, found.headers)

    def _messages(self, job: Job, body: bytes, about: dict[str, str]) -> list[tuple[str, dict[str, str], bytes]]:
        """What is published to keep `body`. The piece under the key itself comes last: who finds it finds all."""
        subject = subjects.stored_result(job.principal, job.job_id)
        headers = about | {h.TTL: f"{job.keep_s}s"}
        if job.input_sha256:
            headers[h.INPUT] = job.input_sha256
        first, *rest = parts.cut(body, self._client.max_payload - PART_RESERVE)
        if not rest:
            return [(subject, headers, first)]
        count = len(rest) + 1
        tail = [
            (f"{subject}.{number}", {h.TTL: headers[h.TTL], h.PART: parts.label(number, count)}, piece)
            for number, piece in enumerate(rest, start=2)
        ]
        return [*tail, (subject, headers | {h.PART: parts.label(1, count)}, first)]

    async def _on_ack(self, message: Delivery) -> None:
        """JetStream stored a result or refused it, or is not there (503)."""
        if self._unacked.pop(message.subject, None) is None:
            return
        if not message.data:
            self._losses.add("no stream stores it")
            return
        error = self._decode_ack(message.data).error
        if error is not None:
            self._losses.add(error.description)

    def _count_silent(self, now: float) -> None:
        """Count what JetStream never answered; the oldest comes first."""
        while self._unacked:
            inbox = next(iter(self._unacked))
            if now - self._unacked[inbox] < ACK_PATIENCE_S:
                return
            del self._unacked[inbox]
            self._losses.add("JetStream was silent")
