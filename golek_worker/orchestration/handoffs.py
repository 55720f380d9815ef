"""Where do handoff states lie between steps, to be looked at while a request runs and when it went wrong?

Under `handoff:<request>` of the caller that it belongs to, for an hour or until the request ends: in memory, or in
Redis where conversations are kept there. That place is waited for a moment at most, and nothing fails with it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog

from golek_wire.errors import TemporaryResourceError
from golek_worker.orchestration.handoff import HandoffState

log = structlog.get_logger("orchestration")

TTL_S: Final = 3600.0
PATIENCE_S: Final = 0.25
"""A place that does not take a state in this time is not asked again …"""
PAUSE_S: Final = 30.0
"""… for so long."""


class Store(Protocol):
    """A place, as those of conversations are."""

    async def read(self, key: str) -> bytes | None: ...
    async def change(self, key: str, edit: Callable[[bytes | None], bytes | None]) -> None: ...
    async def delete(self, key: str) -> bool: ...
    async def close(self) -> None: ...


class HandoffCache:
    """The handoff states of all requests that run here."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._away_until = 0.0

    async def store(self, principal: str, state: HandoffState) -> None:
        """Keep it in place of the one before."""
        data = msgspec.json.encode(state)
        await self._try(key(principal, state.request_id), lambda name: self._store.change(name, lambda _: data))

    async def get(self, principal: str, request_id: str) -> HandoffState | None:
        """The last one of a request of this caller's; None where there is none. Raises TemporaryResourceError."""
        name = key(principal, request_id)
        async with self._lock(name):
            found = await self._store.read(name)
        try:
            return None if found is None else msgspec.json.decode(found, type=HandoffState)
        except msgspec.DecodeError:
            return None

    async def delete(self, principal: str, request_id: str) -> None:
        """Forget it."""
        await self._try(key(principal, request_id), self._store.delete)

    async def close(self) -> None:
        """Hang up."""
        await self._store.close()

    async def _try(self, name: str, what: Callable[[str], Awaitable[object]]) -> None:
        if self._clock() < self._away_until:
            return
        try:
            async with self._lock(name), asyncio.timeout(PATIENCE_S):
                await what(name)
        except (TemporaryResourceError, TimeoutError) as error:
            self._away_until = self._clock() + PAUSE_S
            log.warning("handoff.unstored", problem=str(error) or "it did not answer in time", again_s=PAUSE_S)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


def key(principal: str, request_id: str) -> str:
    """Where the state of a caller's request lies: another caller's key is another one."""
    return f"{principal}.handoff:{request_id}"
