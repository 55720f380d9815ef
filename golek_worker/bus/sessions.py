"""How are conversations kept in the broker, and how are callers answered who read or remove theirs?

In the bucket GOLEK_SESSIONS, under `<principal>.<hash of the session's id>`, with a TTL of its own each; a change names
the revision that it was made of, so that of two at the same time none is lost. `serve` answers on `sessions.*`, one
worker per question. Where workers keep conversations in their memory, `Peers` lets each ask the others.
"""

import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.msg import Msg

from golek_client.bus_client import BusClient
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire import headers as h
from golek_wire.errors import BusUnavailableError, InferenceServiceError
from golek_wire.sessions import SessionQuestion
from golek_worker.bus.identity import Callers
from golek_worker.bus.jetstream import (
    BUS_ERRORS,
    WRONG_LAST_SEQUENCE,
    JetStreamError,
    store,
    stored_message,
)
from golek_worker.bus.replies import send_error
from golek_worker.bus.streams import NoStorageError, bucket_config, ensure_stream

log = structlog.get_logger("sessions")

BUCKET_MIB: Final = (1024, 128, 16)
"""Room of the bucket; the next one where the broker cannot reserve it. A full bucket drops the conversation that nobody
went on with for longest."""
STORE_TIMEOUT_S: Final = 2.0
MARKER_TTL: Final = "60s"
"""What is left of a deleted conversation is its key, for so long."""
PEERS_S: Final = 0.5
"""So long others are waited for who may have a conversation in their memory."""
_STREAM: Final = f"KV_{subjects.SESSIONS_BUCKET}"

Answer = Callable[[str, str], Awaitable[bytes]]
"""Of a principal and a session's id the answer to send; raises InferenceServiceError."""

Look = Callable[[str], Awaitable[None]]
"""Reads a key that the fleet may have got just now, by its digest."""


def config(max_bytes: int) -> dict[str, Any]:
    """The bucket of conversations."""
    return bucket_config(subjects.SESSIONS_BUCKET) | {
        "max_bytes": max_bytes,
        "allow_msg_ttl": True,
        "discard": "old",
    }


class KvStore:
    """The bucket."""

    name = "kv"

    def __init__(self, client: BusClient, ttl_s: float) -> None:
        self._client = client
        self._ttl = f"{max(1, math.ceil(ttl_s))}s"

    @classmethod
    async def open(cls, client: BusClient, ttl_s: float) -> "KvStore":
        """Make the bucket as large as the broker has room for, or find it. Raises as `ensure_stream` does."""
        for mib in BUCKET_MIB:
            try:
                await ensure_stream(client, config(mib * 2**20), may_differ=("max_bytes",))
                break
            except NoStorageError:
                if mib == BUCKET_MIB[-1]:
                    raise
        return cls(client, ttl_s)

    async def read(self, key: str) -> bytes | None:
        """The value; None where there is none. Raises BusUnavailableError, as the others do."""
        return (await self._read(key))[0]

    async def change(self, key: str, edit: Callable[[bytes | None], bytes | None]) -> None:
        """Put what `edit` makes of the value in its place; another change that came between is read first."""
        while True:
            old, revision = await self._read(key)
            new = edit(old)
            if new is None or await self._write(key, new, {h.EXPECTED: str(revision), h.TTL: self._ttl}):
                return

    async def delete(self, key: str) -> bool:
        """Remove the value; False when there was none."""
        while True:
            old, revision = await self._read(key)
            if old is None:
                return False
            about = {h.EXPECTED: str(revision), h.TTL: MARKER_TTL, h.KV_OPERATION: "DEL"}
            if await self._write(key, b"", about):
                return True

    async def close(self) -> None:
        """The connection is another's."""

    async def _read(self, key: str) -> tuple[bytes | None, int]:
        """The value as the leader has it, and the key's last sequence, which a delete has, too."""
        try:
            found = await stored_message(self._client, _STREAM, {"last_by_subj": subjects.stored_session(key)})
        except JetStreamError as error:
            raise BusUnavailableError(f"{subjects.SESSIONS_BUCKET}: {error}") from error
        if found is None:
            return None, 0
        return (None if h.KV_OPERATION in found.headers else found.data), found.seq

    async def _write(self, key: str, value: bytes, about: Mapping[str, str]) -> bool:
        """Whether the value is stored; False when the key was changed meanwhile."""
        subject, headers = subjects.stored_session(key), dict(about)
        try:
            await store(self._client, subject, value, headers, timeout=STORE_TIMEOUT_S)
        except JetStreamError as error:
            if error.code == WRONG_LAST_SEQUENCE:
                return False
            raise BusUnavailableError(f"{subjects.SESSIONS_BUCKET}: {error}") from error
        except nats.errors.Error as error:
            raise BusUnavailableError(f"{subjects.SESSIONS_BUCKET}: {type(error).__name__}") from error
        return True


async def serve(client: BusClient, callers: Callers, look_for_key: Look, answers: Mapping[str, Answer]) -> None:
    """Answer on `sessions.<verb>` for each verb of `answers`, to who asks for a conversation of its own."""

    async def answer(message: Msg) -> None:
        if not subjects.is_reply_inbox(message.reply):
            return
        with contextlib.suppress(*BUS_ERRORS):  # the broker went away, and with it who would hear
            try:
                if stranger := callers.stranger(message.headers):
                    await look_for_key(stranger)
                principal = callers.caller(message.headers)
                question = codec.decode_body(message.data, SessionQuestion)
                said = await answers[message.subject.partition(".")[2]](principal, question.session_id)
            except InferenceServiceError as error:
                await send_error(client, message.reply, "", error, stream=False)
            else:
                await publish(client, message.reply, said)

    for verb in answers:
        await client.subscribe(subjects.sessions(verb), queue=subjects.QUEUE_GROUP, cb=answer)


class Peers:
    """The other workers that keep conversations in their memory. Who has none of a key says nothing."""

    def __init__(self, client: BusClient) -> None:
        self._client = client

    async def serve(self, held: Mapping[str, Callable[[str], Awaitable[bytes | None]]]) -> None:
        """Answer the others: by verb, what is said to a key; None for a key that is not here."""

        async def answer(message: Msg) -> None:
            said = await held[message.subject.rpartition(".")[2]](message.data.decode(errors="replace"))
            if said is not None and subjects.is_reply_inbox(message.reply):
                with contextlib.suppress(*BUS_ERRORS):
                    await publish(self._client, message.reply, said)

        for verb in held:
            await self._client.subscribe(subjects.session_peers(verb), cb=answer)

    async def ask(self, verb: str, key: str) -> bytes | None:
        """What the one that has the key says; None when nobody does within `PEERS_S`."""
        subject = subjects.session_peers(verb)
        try:
            return (await self._client.request(subject, key.encode(), timeout=PEERS_S)).data
        except (nats.errors.Error, TimeoutError):
            return None
