"""Which kept answer is that of a question asked in other words?

The second look, after the exact one has missed: the vector of the question is compared with those of kept ones (a
cosine of GOLEK_SEMANTIC_THRESHOLD or more), and of what is alike the first one counts that `guards` let pass.

The vector comes from an embedding model of the fleet. Where that does not answer in time there is no look: while one
vector is late nobody waits for another, and after an error nobody does for some seconds.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from golek_wire.errors import InferenceServiceError
from golek_worker.cache import guards, wording
from golek_worker.cache.base import CacheKey
from golek_worker.cache.memory import Shortage, never
from golek_worker.cache.questions import KEEP_S, Question
from golek_worker.cache.wording import Sense

if TYPE_CHECKING:  # each worker has this module, and few keep vectors: for the others numpy would be 13 MB for nothing
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

MOST: Final = 20_000
"""Kept questions; the least recently used one gives way."""
LOOK_S: Final = 0.25
"""A request waits at most so long for its vector."""
PAUSE_S: Final = 5.0
"""After there was no vector nobody asks for one for so long."""
COMPARED: Final = 16
"""Of the questions that are alike so many are read, the nearest ones first."""
REMEMBERED: Final = 1024
"""Vectors of questions that were asked last: what is kept was looked up shortly before."""
OVERHEAD: Final = 1200
"""Bytes of an entry beside its vector and value, about."""
Embed = Callable[[str], Awaitable[Sequence[float]]]
"""The vector of a text. Raises InferenceServiceError where there is none."""


class _Entry(Struct):
    scope: CacheKey
    sense: Sense
    value: bytes
    until: float
    row: int
    """Of its vector on its shelf."""


class _Shelf:
    """The vectors of one scope, in one array; without holes, so that one product compares all."""

    def __init__(self, width: int) -> None:
        import numpy as np

        self.vectors: Vector = np.empty((4, width), np.float32)
        self.entries: list[_Entry] = []

    def add(self, vector: "Vector", entry: _Entry) -> None:
        if len(self.entries) == len(self.vectors):
            import numpy as np

            self.vectors = np.concatenate([self.vectors, np.empty_like(self.vectors)])
        entry.row = len(self.entries)
        self.vectors[entry.row] = vector
        self.entries.append(entry)

    def remove(self, entry: _Entry) -> None:
        last = self.entries.pop()
        if last is not entry:
            self.vectors[entry.row] = self.vectors[last.row]
            self.entries[entry.row], last.row = last, entry.row

    def alike(self, vector: "Vector", threshold: float) -> list[tuple[float, _Entry]]:
        """Those with a cosine of `threshold` or more, the nearest first."""
        import numpy as np

        cosines = self.vectors[: len(self.entries)] @ vector
        rows = np.flatnonzero(cosines >= threshold)
        nearest = rows[np.argsort(-cosines[rows], kind="stable")][:COMPARED]
        return [(float(cosines[row]), self.entries[row]) for row in nearest]


class SemanticCache:
    """Answers by the meaning of their questions. Nothing here raises, and no look takes much longer than LOOK_S."""

    def __init__(
        self,
        embed: Embed,
        *,
        threshold: float,
        max_bytes: int,
        most: int = MOST,
        is_short: Callable[[], bool] = never,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_short` tells whether the machine has too little memory left."""
        self._embed = embed
        self._threshold = threshold
        self.max_bytes = max_bytes
        """What all entries may take together."""
        self._is_short = Shortage(is_short, clock)
        self._most = most
        self._clock = clock
        self._shelves: dict[CacheKey, _Shelf] = {}
        self._kept: OrderedDict[int, _Entry] = OrderedDict()
        self._vectors: OrderedDict[Question, Vector] = OrderedDict()
        self._asking: dict[Question, asyncio.Task[Vector | None]] = {}
        self._late: set[asyncio.Task[Vector | None]] = set()
        """Vectors that a look waited for in vain and that are still on their way: meanwhile nobody else waits."""
        self._paused_until = float("-inf")
        self.held_bytes = 0
        """What all entries take."""
        self.guarded = 0
        """Looks that found something alike that says another thing."""

    async def get(self, asked: Question) -> bytes | None:
        """The answer that is kept for a question that asks the same; None where there is none."""
        if asked.scope not in self._shelves or self._late:
            return None
        vector = await self._vector(asked, LOOK_S)
        shelf = self._shelves.get(asked.scope)  # which may have gone meanwhile
        return None if vector is None or shelf is None else self._look(shelf, vector, wording.read(asked.text))

    async def store(self, asked: Question, value: bytes, ttl_s: float) -> None:
        """Keep an answer for at most `ttl_s` seconds. Where memory runs out half of all go instead."""
        if self._is_short():
            self._shrink(self.held_bytes // 2)
            return
        if len(value) > self.max_bytes // 8:
            return
        vector = await self._vector(asked, KEEP_S)
        if vector is None:
            return
        shelf = self._shelves.get(asked.scope)
        if shelf is not None and shelf.vectors.shape[1] != len(vector):  # of another embedding model
            self.clear()
            shelf = None
        sense = wording.read(asked.text)
        for entry in [entry for _, entry in shelf.alike(vector, self._threshold)] if shelf is not None else []:
            if not guards.difference(sense, entry.sense):
                self._drop(entry)
        shelf = self._shelves.setdefault(asked.scope, _Shelf(len(vector)))
        entry = _Entry(asked.scope, sense, value, self._clock() + ttl_s, 0)
        shelf.add(vector, entry)
        self._kept[id(entry)] = entry
        self.held_bytes += self._size(entry)
        self._shrink(self.max_bytes)

    def invalidate_by_model(self, model: str) -> int:
        """Forget all answers of a model; how many."""
        gone = [entry for entry in self._kept.values() if entry.scope.model == model]
        for entry in gone:
            self._drop(entry)
        return len(gone)

    def clear(self) -> int:
        """Forget all; how many."""
        count = len(self._kept)
        self._kept.clear()
        self._shelves.clear()
        self._vectors.clear()
        self.held_bytes = 0
        return count

    async def close(self) -> None:
        """Wait for no vector any more."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def size(self) -> int:
        """How many answers are kept."""
        return len(self._kept)

    def _look(self, shelf: _Shelf, vector: "Vector", sense: Sense) -> bytes | None:
        if shelf.vectors.shape[1] != len(vector):
            return None
        found = shelf.alike(vector, self._threshold)
        for _, entry in found:
            if self._clock() >= entry.until:
                self._drop(entry)
            elif not guards.difference(sense, entry.sense):
                self._kept.move_to_end(id(entry))
                return entry.value
        self.guarded += bool(found)
        return None

    async def _vector(self, asked: Question, patience_s: float) -> "Vector | None":
        """The unit vector of its text; None where it does not come in time. One that comes late is remembered."""
        if (known := self._vectors.get(asked)) is not None:
            self._vectors.move_to_end(asked)
            return known
        asking = self._asking.get(asked)
        if asking is None:
            if self._clock() < self._paused_until:
                return None
            asking = self._asking[asked] = asyncio.create_task(self._ask(asked))
            asking.add_done_callback(lambda _: self._asking.pop(asked, None))
        if (await asyncio.wait((asking,), timeout=patience_s))[0]:
            return None if asking.cancelled() else asking.result()
        self._late.add(asking)
        asking.add_done_callback(self._late.discard)
        return None

    async def _ask(self, asked: Question) -> "Vector | None":
        try:
            async with asyncio.timeout(KEEP_S):
                vector = _unit(await self._embed(asked.text))
        except (InferenceServiceError, TimeoutError, ValueError):
            self._paused_until = self._clock() + PAUSE_S
            return None
        self._vectors[asked] = vector
        if len(self._vectors) > REMEMBERED:
            self._vectors.popitem(last=False)
        return vector

    def _shrink(self, to_bytes: int) -> None:
        while self._kept and (len(self._kept) > self._most or self.held_bytes > to_bytes):
            self._drop(next(iter(self._kept.values())))

    def _drop(self, entry: _Entry) -> None:
        if self._kept.pop(id(entry), None) is None:
            return
        self.held_bytes -= self._size(entry)
        shelf = self._shelves[entry.scope]
        shelf.remove(entry)
        if not shelf.entries:
            del self._shelves[entry.scope]

    def _size(self, entry: _Entry) -> int:
        return len(entry.value) + OVERHEAD + int(self._shelves[entry.scope].vectors[0].nbytes)


def _unit(numbers: Sequence[float]) -> "Vector":
    """Raises ValueError for what has no direction."""
    import numpy as np

    vector: Vector = np.asarray(numbers, np.float32)
    norm = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    if not (norm > 0 and np.isfinite(norm)):
        raise ValueError("not a vector")
    return np.asarray(vector / norm, np.float32)
