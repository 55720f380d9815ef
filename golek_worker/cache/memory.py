"""How are answers kept in this process?

As many bytes as GOLEK_CACHE_MB says; the one that was not used for longest gives way. Where the machine runs out of
memory half of them go, and nothing is kept until there is some again.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from golek_worker.cache.base import CacheKey

OVERHEAD: Final = 400
"""Bytes of an entry beside its value, about."""
LOOK_S: Final = 1.0
"""So seldom the machine's memory is looked at: it costs some system calls."""


class Shortage:
    """Whether the machine runs out of memory, which is looked at once in LOOK_S."""

    def __init__(self, is_short: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._is_short = is_short
        self._clock = clock
        self._looked_at = float("-inf")
        self._short = False

    def __call__(self) -> bool:
        now = self._clock()
        if now - self._looked_at >= LOOK_S:
            self._looked_at, self._short = now, self._is_short()
        return self._short


class _Kept(NamedTuple):
    value: bytes
    until: float


def never() -> bool:
    """There is always enough."""
    return False


class MemoryCache:
    """A `Cache` in memory."""

    def __init__(
        self,
        max_bytes: int,
        is_short: Callable[[], bool] = never,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_short` tells whether the machine has too little memory left."""
        self.max_bytes = max_bytes
        """What they may take together."""
        self._is_short = Shortage(is_short, clock)
        self._clock = clock
        self._kept: OrderedDict[CacheKey, _Kept] = OrderedDict()
        self.held_bytes = 0
        """What all entries take."""

    def get(self, key: CacheKey) -> bytes | None:
        found = self._kept.get(key)
        if found is None:
            return None
        if self._clock() >= found.until:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found.value

    def store(self, key: CacheKey, value: bytes, ttl_s: float) -> None:
        """A value that would take more than an eighth of all is not kept."""
        if key in self._kept:
            self._drop(key)
        if self._is_short():
            self._shrink(self.held_bytes // 2)
            return
        if len(value) + OVERHEAD > self.max_bytes // 8:
            return
        self._kept[key] = _Kept(value, self._clock() + ttl_s)
        self.held_bytes += len(value) + OVERHEAD
        self._shrink(self.max_bytes)

    def invalidate_by_model(self, model: str) -> int:
        gone = [key for key in self._kept if key.model == model]
        for key in gone:
            self._drop(key)
        return len(gone)

    def clear(self) -> int:
        count = len(self._kept)
        self._kept.clear()
        self.held_bytes = 0
        return count

    @property
    def models(self) -> set[str]:
        """Those of which something is kept."""
        return {key.model for key in self._kept}

    def size(self) -> int:
        return len(self._kept)

    def _shrink(self, to_bytes: int) -> None:
        while self.held_bytes > to_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: CacheKey) -> None:
        self.held_bytes -= len(self._kept.pop(key).value) + OVERHEAD
