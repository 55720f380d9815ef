"""What is remembered between steps and requests, and when is it forgotten?

Counts of tokens and what texts were compressed to are kept by the model that counted or compressed and the file that it
had loaded; where handoff states lie says `handoffs`. Never kept are answers, conversations and errors.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Protocol, TypeVar

from msgspec import Struct

ENTRIES: Final = 4096
T = TypeVar("T")


class Kept(Struct, frozen=True):
    """Where a value is kept."""

    model: str
    """As it is asked: all entries of a model are removed together."""
    digest: str
    """The file that it has loaded."""
    content: str
    """The hash of what was counted or compressed, and of whom it belongs to."""
    target: int = 0
    """Of a compression: how many tokens it may have."""


class InferenceCache(Protocol[T]):
    """Keeps values for some time."""

    def get(self, key: Kept) -> T | None:
        """What is kept; None where nothing is, or its time is over."""
        ...

    def store(self, key: Kept, value: T, ttl_s: float) -> None:
        """Keep `value` for at most `ttl_s` seconds; it may go earlier."""
        ...

    def invalidate_by_model(self, model: str) -> int:
        """Forget all of a model; how many."""
        ...

    def clear(self) -> int:
        """Forget all; how many."""
        ...

    def size(self) -> int:
        """How many values are kept."""
        ...


class Lru(Generic[T]):
    """A cache in memory: of too many entries, or too many bytes of text, the one that was not used for longest goes."""

    def __init__(self, entries: int = ENTRIES, room: int = 2**24, clock: Callable[[], float] = time.monotonic) -> None:
        """`room` is for values that are texts, in characters."""
        self._entries = entries
        self._room = room
        self._clock = clock
        self._kept: OrderedDict[Kept, tuple[float, T]] = OrderedDict()
        self._held = 0

    def get(self, key: Kept) -> T | None:
        until, value = self._kept.get(key, (0.0, None))
        if value is None:
            return None
        if self._clock() >= until:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return value

    def store(self, key: Kept, value: T, ttl_s: float) -> None:
        self._drop(key)
        if _weight(value) > self._room // 8:
            return
        self._kept[key] = (self._clock() + ttl_s, value)
        self._held += _weight(value)
        while len(self._kept) > self._entries or self._held > self._room:
            self._drop(next(iter(self._kept)))

    def invalidate_by_model(self, model: str) -> int:
        gone = [key for key in self._kept if key.model == model]
        for key in gone:
            self._drop(key)
        return len(gone)

    def clear(self) -> int:
        count = len(self._kept)
        self._kept.clear()
        self._held = 0
        return count

    def size(self) -> int:
        return len(self._kept)

    def _drop(self, key: Kept) -> None:
        if (found := self._kept.pop(key, None)) is not None:
            self._held -= _weight(found[1])


class CacheInvalidator:
    """Has caches forget what belongs to what is no more."""

    def __init__(self, caches: Iterable[InferenceCache[Any]]) -> None:
        self._caches = tuple(caches)
        self._versions: dict[str, str] = {}
        self._config: object = None

    def on_model_loaded(self, model: str, digest: str) -> None:
        """A model has this file; empty where that is not known, as when it was unloaded."""
        before = self._versions.get(model)
        self._versions[model] = digest
        if before is not None and before != digest:
            for cache in self._caches:
                cache.invalidate_by_model(model)

    def on_config_change(self, config: object) -> None:
        """This is what presets say now."""
        before, self._config = self._config, config
        if before is not None and before is not config and before != config:
            for cache in self._caches:
                cache.clear()


def _weight(value: object) -> int:
    return len(value) if isinstance(value, str) else 0
