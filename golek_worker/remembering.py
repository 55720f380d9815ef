"""How does a job come by its conversation, and the conversation by the job's answer?

GOLEK_SESSION_STORE says where conversations are kept. One is read before the job runs; while it cannot be read, the job
does not run without it. Its turn is added before the answer is sent, so that whoever has the answer can go on. A turn
that cannot be added holds no answer back: it is told in the reply, counted, and an event now and then.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from weakref import WeakValueDictionary

import msgspec
import structlog

from golek_client.bus_client import BusClient
from golek_program.settings.values import hidden
from golek_wire import codec, subjects
from golek_wire import headers as h
from golek_wire.errors import NotFoundError, TemporaryResourceError
from golek_wire.replies import InferenceReply
from golek_wire.sessions import Session, SessionDeleted
from golek_worker.bus import sessions
from golek_worker.bus.identity import Callers
from golek_worker.bus.sessions import KvStore, Peers
from golek_worker.executor import Answer
from golek_worker.job import Job
from golek_worker.losses import Losses
from golek_worker.sessions.conversation import Conversation, SessionGoneError
from golek_worker.sessions.memory import MemoryStore
from golek_worker.sessions.redis import RedisStore
from golek_worker.sessions.store import Store
from golek_worker.settings import Settings

log = structlog.get_logger("sessions")

ADD_PATIENCE_S: Final = 5.0
"""So long an answer waits for its turn to be stored; an election takes 4 to 9 s, and then the turn is lost."""
RETRY_S: Final = 0.25
HELD: Final = b"1"


class Sessions:
    """The conversations of all callers, as this worker reads and writes them."""

    def __init__(self, store: Store, limit: Callable[[], int], lost: Callable[[int, str], None]) -> None:
        """`limit` is how many bytes a conversation may have; `lost` is called now and then with how many turns were
        lost since the last time, and why the last one was.
        """
        self._store = store
        self._limit = limit
        self._losses = Losses(lost)
        self._peers: Peers | None = None
        self._changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def lost(self) -> int:
        """Turns that were answered and could not be added."""
        return self._losses.count

    @classmethod
    async def open(cls, client: BusClient, chosen: Settings, lost: Callable[[int, str], None]) -> "Sessions":
        """As GOLEK_SESSION_STORE says. Raises as `ensure_stream` does, and RuntimeError without Redis."""
        where, ttl_s = chosen.golek_session_store, chosen.session_ttl_s
        store: Store
        if where == "kv":
            store = await KvStore.open(client, ttl_s)
        elif where == "memory":
            store = MemoryStore(ttl_s)
        else:
            store = await RedisStore.open(where, ttl_s, hidden(where))
        # What is kept is sent as one message to who asks for it, wherever it lies.
        return cls(store, lambda: client.max_payload - h.REQUEST_RESERVE, lost)

    @property
    def place(self) -> str:
        """Where they are kept: kv, memory or redis."""
        return self._store.name

    async def close(self) -> None:
        """Hang up."""
        await self._store.close()

    # -- for jobs ----------------------------------------------------------------------------------------------

    async def recall(self, job: Job, conversation: Conversation) -> None:
        """Read what was said before. Raises TemporaryResourceError when the store does not answer."""
        found = await self._store.read(subjects.session(job.principal, conversation.session_id))
        conversation.recall(_decoded(found), job.job_id)

    async def add(self, job: Job, conversation: Conversation, answer: Answer, seconds: float) -> Answer:
        """Store the turn that ends in `answer`, within so many seconds; the answer, which tells when it could not be.

        That is no loss where the caller removed the conversation meanwhile.
        """
        key = subjects.session(job.principal, conversation.session_id)
        try:
            async with asyncio.timeout(min(seconds, ADD_PATIENCE_S)):
                await self._add(key, conversation)
        except SessionGoneError:
            return _unstored(answer)
        except TimeoutError:
            self._losses.add(f"the store ({self.place}) did not take it in time")
            return _unstored(answer)
        except ValueError as error:
            self._losses.add(str(error))
            return _unstored(answer)
        return answer

    async def _add(self, key: str, conversation: Conversation) -> None:
        def edit(old: bytes | None) -> bytes | None:
            new = conversation.added(_decoded(old), _now(), self._limit())
            return None if new is None else codec.encode(new)

        # One change of a key at a time: of many at once each but one would be made in vain.
        async with self._changing.setdefault(key, asyncio.Lock()):
            while True:
                try:
                    await self._store.change(key, edit)
                except TemporaryResourceError as error:
                    log.warning("session.unstored", problem=error.message)
                    await asyncio.sleep(RETRY_S)
                else:
                    return

    # -- for callers -------------------------------------------------------------------------------------------

    async def serve(self, client: BusClient, callers: Callers, look_for_key: sessions.Look) -> None:
        """Answer on `sessions.*`; of conversations in the memory of workers, the one that has it does."""
        if self.place == "memory":
            self._peers = Peers(client)
            await self._peers.serve({"get": self._store.read, "delete": self._held})
        await sessions.serve(client, callers, look_for_key, {"get": self.get, "delete": self.delete})

    async def get(self, principal: str, session_id: str) -> bytes:
        """The conversation as JSON. Raises NotFoundError, TemporaryResourceError."""
        key = subjects.session(principal, session_id)
        found = await self._store.read(key) or await self._of_peers("get", key)
        if _decoded(found) is None or found is None:
            raise _unknown(session_id)
        return found

    async def delete(self, principal: str, session_id: str) -> bytes:
        """Remove the conversation; the answer as JSON. Raises as `get` does."""
        key = subjects.session(principal, session_id)
        if not await self._store.delete(key) and await self._of_peers("delete", key) is None:
            raise _unknown(session_id)
        return codec.encode(SessionDeleted(session_id))

    async def _held(self, key: str) -> bytes | None:
        return HELD if await self._store.delete(key) else None

    async def _of_peers(self, verb: str, key: str) -> bytes | None:
        return await self._peers.ask(verb, key) if self._peers is not None else None


def _decoded(value: bytes | None) -> Session | None:
    """The conversation; None, with a word in the log, for what is none."""
    try:
        return None if value is None else msgspec.json.decode(value, type=Session)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("session.value", problem=str(error))
        return None


def _unstored(answer: Answer) -> Answer:
    """`answer`, which says that its turn is not kept."""
    reply = msgspec.json.decode(answer.body, type=InferenceReply)
    if reply.session is None:
        return answer
    told = msgspec.structs.replace(reply, session=msgspec.structs.replace(reply.session, stored=False))
    return msgspec.structs.replace(answer, body=codec.encode(told))


def _unknown(session_id: str) -> NotFoundError:
    return NotFoundError(f"session_id: no conversation {session_id!r} of this caller is kept", param="session_id")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
