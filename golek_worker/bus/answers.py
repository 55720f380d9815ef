"""Where do replicas share the answers that they keep?

In the bucket GOLEK_CACHE, under `<token of the model>.<digest>`, each with a TTL of its own; a full one drops what was
kept first. The bucket is made when somebody first wants it. It is a convenience: a look takes at most LOOK_S, a bus
that did not answer is left alone for a while, and what cannot be stored is not.
"""

import asyncio
import math
import time
from typing import Any, Final

import nats.errors
import structlog

from golek_client.bus_client import BusClient
from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.jetstream import STREAM_NOT_FOUND
from golek_worker.bus.jetstream import BUS_ERRORS, JetStreamError, api, store
from golek_worker.bus.streams import MismatchError, NoStorageError, bucket_config, ensure_stream

log = structlog.get_logger("cache")

BUCKET_MIB: Final = (256, 64, 16)
"""Room of the bucket; the next one where the broker cannot reserve it."""
LOOK_S: Final = 0.05
"""So long a request waits at most for what may be kept."""
STORE_TIMEOUT_S: Final = 2.0
REST_S: Final = 2.0
"""So long nobody asks a broker that did not answer in time."""
AGAIN_S: Final = 60.0
"""And so long one that has no bucket."""
STORES_LIMIT: Final = 64
"""Answers on their way; more are not shared."""
_STREAM: Final = f"KV_{subjects.CACHE_BUCKET}"
_GET: Final = f"$JS.API.DIRECT.GET.{_STREAM}."
NOT_STORED: Final = (MismatchError, NoStorageError, *BUS_ERRORS)


def config(max_bytes: int) -> dict[str, Any]:
    """The bucket of answers."""
    return bucket_config(subjects.CACHE_BUCKET) | {"max_bytes": max_bytes, "allow_msg_ttl": True, "discard": "old"}


class SharedAnswers:
    """The bucket, as one worker uses it."""

    def __init__(self, client: BusClient) -> None:
        self._client = client
        self._is_open = False
        self._rests_until = 0.0
        self._opening: asyncio.Task[None] | None = None
        self._storing: set[asyncio.Task[None]] = set()

    async def get(self, model: str, digest: str) -> bytes | None:
        """What is kept; None where nothing is, and where that cannot be told within LOOK_S."""
        if not self._is_there():
            return None
        try:
            async with asyncio.timeout(LOOK_S):
                found = await self._client.request(_GET + subjects.cached(model, digest), b"", timeout=LOOK_S)
        except (nats.errors.Error, TimeoutError) as error:
            self._rest(REST_S, error)
            return None
        about = found.headers or {}
        return None if h.NATS_STATUS in about or h.KV_OPERATION in about else found.data

    def store(self, model: str, digest: str, value: bytes, ttl_s: float) -> None:
        """Have it kept for so long, soon, if it fits into a message."""
        if len(value) <= self._client.max_payload - h.REQUEST_RESERVE and len(self._storing) < STORES_LIMIT:
            self._own(self._store(subjects.cached(model, digest), value, f"{max(1, math.ceil(ttl_s))}s"))

    async def invalidate_by_model(self, model: str) -> None:
        """Forget all answers of a model. Raises BUS_ERRORS."""
        await self._purge({"filter": subjects.cached(model, "*")})

    async def clear(self) -> None:
        """Forget all, of whichever model. Raises BUS_ERRORS."""
        await self._purge({})

    async def _purge(self, which: dict[str, Any]) -> None:
        try:
            await api(self._client, f"STREAM.PURGE.{_STREAM}", which)
        except JetStreamError as error:
            if error.code != STREAM_NOT_FOUND:
                raise

    async def close(self) -> None:
        """Let what is on its way arrive."""
        tasks = [*self._storing, *([self._opening] if self._opening is not None else [])]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STORE_TIMEOUT_S)
            for task in late:
                task.cancel()

    def _is_there(self) -> bool:
        """Whether the bucket may be asked; who asks first has it made."""
        if time.monotonic() < self._rests_until or not self._client.is_connected:
            return False
        if not self._is_open and self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
        return self._is_open

    async def _open(self) -> None:
        """Make the bucket as large as the broker has room for, or find it."""
        try:
            for mib in BUCKET_MIB:
                try:
                    await ensure_stream(self._client, config(mib * 2**20), may_differ=("max_bytes",))
                    break
                except NoStorageError:
                    if mib == BUCKET_MIB[-1]:
                        raise
            self._is_open = True
        except NOT_STORED as error:
            self._rest(AGAIN_S, error)
        finally:
            self._opening = None

    async def _store(self, subject: str, value: bytes, ttl: str) -> None:
        if not self._is_there() and self._opening is not None:
            await asyncio.wait([self._opening])
        if not self._is_open:
            return
        try:
            await store(self._client, subject, value, {h.TTL: ttl}, timeout=STORE_TIMEOUT_S)
        except NOT_STORED as error:
            self._rest(REST_S, error)

    def _rest(self, seconds: float, why: BaseException) -> None:
        if isinstance(why, nats.errors.NoRespondersError):
            self._is_open = False  # a broker that was restarted without its storage
        self._rests_until = time.monotonic() + seconds
        log.warning("cache.unshared", problem=str(why) or type(why).__name__, rest_s=seconds)

    def _own(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
