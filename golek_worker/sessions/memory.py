"""How are conversations kept in the memory of one worker?

For a worker that is alone: its replicas would not know them, and they end with its process. All together have at most
`ROOM` bytes; the one that nobody went on with for longest gives way.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from golek_worker.sessions.store import Edit

ROOM: Final = 256 * 2**20


class MemoryStore:
    """The plainest store."""

    name = "memory"

    def __init__(self, ttl_s: float, *, room: int = ROOM, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._room = room
        self._clock = clock
        self._held = 0
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        """With the time at which each ends; the one that was changed last comes last, so it ends last."""

    async def read(self, key: str) -> bytes | None:
        self._expire()
        return self._values[key][1] if key in self._values else None

    async def change(self, key: str, edit: Edit) -> None:
        new = edit(await self.read(key))
        if new is None:
            return
        self._remove(key)
        self._values[key] = (self._clock() + self._ttl_s, new)
        self._held += len(new)
        while self._held > self._room and len(self._values) > 1:
            self._remove(next(iter(self._values)))

    async def delete(self, key: str) -> bool:
        self._expire()
        return self._remove(key)

    async def close(self) -> None:
        """Nothing is open."""

    def _remove(self, key: str) -> bool:
        _, value = self._values.pop(key, (0.0, None))
        self._held -= len(value or b"")
        return value is not None

    def _expire(self) -> None:
        now = self._clock()
        while self._values and next(iter(self._values.values()))[0] <= now:
            self._remove(next(iter(self._values)))
