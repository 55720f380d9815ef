"""How does a worker read a body that no message can carry, and who throws it away?

A request may name an object in the bucket `GOLEK_OBJECTS` instead of bringing its body. The ingress reads it for the
gate, the attempt reads it again to run it, and whoever gives the last answer deletes it. What nobody deletes ends with
its own time (`Nats-TTL`) or with the bucket's.

Whoever wrote an object may write another one under its name. So a job carries the digest of what the gate admitted,
and each reader measures before it reads.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import headers as h
from golek_wire import objects, subjects
from golek_wire.errors import BadRequestError, BusUnavailableError
from golek_wire.jetstream import MESSAGE_GONE, STREAM_NOT_FOUND
from golek_wire.objects import ObjectInfo
from golek_worker.bus.jetstream import BUS_ERRORS, NS, JetStreamError, api, patiently
from golek_worker.bus.streams import NoStorageError, ensure_stream

log = structlog.get_logger("objects")

BUCKET_MIB = (1024, 256)
"""Room of the bucket; the smaller one where the broker cannot reserve the larger."""
MAX_AGE_S = 25 * 3600
ASK_BYTES = 4 * 1024 * 1024
"""So much is asked for at a time: the server drops a connection for which 64 MiB wait."""
ASK_PIECES = 1000
PATIENCE_S = 5.0
CLOSE_S = 1.0
"""A worker that leaves waits so long for what it deletes."""
AGAIN_S = (0.1, 0.3, 0.6)
"""Waits before pieces are asked for again: a replica of the bucket may not have them yet."""


def bucket_config(max_bytes: int) -> dict[str, Any]:
    """The bucket's stream. A piece may bring its own time; a full bucket refuses."""
    return {
        "name": objects.STREAM,
        "subjects": list(objects.SUBJECTS),
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "max_age": MAX_AGE_S * NS,
        "max_bytes": max_bytes,
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


async def ensure_bucket(client: BusClient) -> None:
    """Make the bucket as large as the broker has room for, or find it. Raises as `ensure_stream` does."""
    for mib in BUCKET_MIB:
        try:
            await ensure_stream(client, bucket_config(mib * 2**20), may_differ=("max_bytes",))
        except NoStorageError:
            if mib == BUCKET_MIB[-1]:
                raise
        else:
            return


class Objects:
    """The bodies in the bucket, as a worker sees them."""

    def __init__(
        self, client: BusClient, check_size: Callable[[int], None], bucket: str = subjects.OBJECTS_BUCKET
    ) -> None:
        """`check_size` raises PayloadTooLargeError for a body of more bytes than this worker takes."""
        self._client = client
        self._check_size = check_size
        self._bucket = bucket
        self._stream = objects.stream(bucket)
        self._deleting: set[asyncio.Task[None]] = set()

    async def body(self, name: str) -> tuple[bytes, str]:
        """The body that a request names, and the reference that its job carries.

        Raises BadRequestError for a name without a whole object, PayloadTooLargeError before anything is read,
        BusUnavailableError when JetStream does not answer.
        """
        info = await self._find(name)
        if info is None:
            raise BadRequestError(f"{h.OBJECT}: there is no object {name!r} in the bucket", param=h.OBJECT)
        body = await self._read(info, self._check_size)
        return body, f"{name}/{info.sha256}"

    async def image(self, name: str, check_size: Callable[[int], None]) -> bytes:
        """The image of this name; `check_size` raises for one of too many bytes. Raises BadRequestError without one,
        BusUnavailableError when JetStream does not answer.
        """
        info = await self._find(name)
        if info is None:
            raise BadRequestError(
                f"there is no object {name[:64]!r} in the bucket {self._bucket}; `nats object put {self._bucket} FILE` "
                f"puts one there; `nats object add {self._bucket}` makes the bucket, once"
            )
        return await self._read(info, check_size)

    async def admitted(self, reference: str) -> bytes:
        """The body that a job refers to, as the gate saw it. Raises as `body` does."""
        name, _, digest = reference.rpartition("/")
        body, found = await self.body(name)
        if found != reference:
            raise BadRequestError(f"{h.OBJECT}: {name!r} is not what was admitted ({digest})", param=h.OBJECT)
        return body

    def forget(self, reference: str) -> None:
        """Delete the body that a job refers to, if any, beside everything else; what fails is left to its time."""
        if not reference:
            return
        task = asyncio.get_running_loop().create_task(self._delete(reference.rpartition("/")[0]))
        self._deleting.add(task)
        task.add_done_callback(self._deleting.discard)

    async def close(self) -> None:
        """Return once what is to be deleted is deleted, or after CLOSE_S; the rest ends with its own time."""
        if self._deleting:
            await asyncio.wait(self._deleting, timeout=CLOSE_S)

    async def _find(self, name: str) -> ObjectInfo | None:
        """What describes the object, from the bucket's leader; None when there is none to read."""
        if not objects.is_name(name):
            return None
        query = {"last_by_subj": objects.info_subject(name, self._bucket)}
        try:
            call = f"STREAM.MSG.GET.{self._stream}"
            answer = await patiently(self._client, lambda: api(self._client, call, query))
        except JetStreamError as error:
            if error.code in (*MESSAGE_GONE, STREAM_NOT_FOUND):
                return None
            raise BusUnavailableError(f"the object store does not answer: {error}") from error
        try:
            info = msgspec.convert(answer, _Found).message.info
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return info if info.is_whole else None

    async def _read(self, info: ObjectInfo, check_size: Callable[[int], None]) -> bytes:
        """The object's bytes, measured and compared with its digest."""
        check_size(info.size)
        for wait_s in (0.0, *AGAIN_S):
            await asyncio.sleep(wait_s)
            reading = _Reading(info)
            inbox = self._client.new_inbox()
            subscription = await self._client.subscribe_direct(inbox, reading.on_message)
            try:
                while reading.seq and not reading.is_cut_off:
                    await self._ask(reading, inbox)
            finally:
                await subscription.unsubscribe()
            if reading.is_right:
                return bytes(reading.data)
            if not (reading.is_cut_off or self._client.cluster):
                break
        if reading.is_cut_off:
            raise BusUnavailableError(f"the object store was silent for {PATIENCE_S:.0f} s")
        raise BadRequestError(
            f"{h.OBJECT}: {info.name!r} has {len(reading.data)} bytes in the bucket and should have {info.size}, "
            f"with SHA-256 {info.sha256}",
            param=h.OBJECT,
        )

    async def _ask(self, reading: "_Reading", inbox: str) -> None:
        """The next ASK_BYTES (batched direct get, ADR-31)."""
        query = {
            "seq": reading.seq,
            "next_by_subj": objects.piece_subject(reading.info.nuid, self._bucket),
            "batch": ASK_PIECES,
            "max_bytes": ASK_BYTES,
        }
        answered = reading.expect()
        await publish(self._client, f"$JS.API.DIRECT.GET.{self._stream}", msgspec.json.encode(query), reply=inbox)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await answered
        except TimeoutError:
            reading.is_cut_off = True

    async def _delete(self, name: str) -> None:
        try:
            info = await self._find(name)
            if info is not None:
                for subject in (objects.info_subject(name), objects.piece_subject(info.nuid)):
                    await api(self._client, f"STREAM.PURGE.{objects.STREAM}", {"filter": subject})
        except BUS_ERRORS as error:
            log.warning("object.left", name=name, problem=str(error))


class _Stored(msgspec.Struct, frozen=True):
    data: bytes = b""

    @property
    def info(self) -> ObjectInfo:
        return msgspec.json.decode(self.data, type=ObjectInfo)


class _Found(msgspec.Struct, frozen=True):
    message: _Stored


class _Reading:
    """An object on its way here."""

    def __init__(self, info: ObjectInfo) -> None:
        self.info = info
        self.data = bytearray()
        self.seq = 1
        """Of the bucket's message to go on with; 0 when there is none."""
        self.is_cut_off = False
        """Nothing more was heard; a server that dies takes what it was sending with it."""
        self._hash = hashlib.sha256()
        self._too_long = False
        self._answered: asyncio.Future[None] | None = None

    @property
    def is_right(self) -> bool:
        whole = len(self.data) == self.info.size and not self._too_long
        return whole and self._hash.hexdigest() == self.info.sha256

    def expect(self) -> "asyncio.Future[None]":
        """Done when all that was asked for is here."""
        self._answered = asyncio.get_running_loop().create_future()
        return self._answered

    async def on_message(self, message: Delivery) -> None:
        """A piece, or the server's word that these were all."""
        about = message.headers or {}
        if h.NATS_STATUS not in about:
            self._too_long = self._too_long or len(self.data) + len(message.data) > self.info.size
            if not self._too_long:
                self._hash.update(message.data)
                self.data += message.data
            return
        more = about[h.NATS_STATUS] == "204" and int(about.get(h.NATS_NUM_PENDING, "0")) > 0
        self.seq = int(about.get(h.NATS_LAST_SEQUENCE, "0")) + 1 if more and not self._too_long else 0
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
