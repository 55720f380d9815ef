"""What do operators ask of a worker's caches?

How much is kept, and that it be forgotten, on `models.<model>.cache.stats` and `.clear` (bus/orders.py).
"""

from typing import Protocol

from golek_wire import codec, subjects
from golek_wire.caches import CacheOrder, CacheReport
from golek_worker.bus.orders import Orders, Task
from golek_worker.caching import Caching


class Counts(Protocol):
    """What was counted since the worker began (traffic.Tally)."""

    cache_hits: int
    cache_misses: int
    shared: int


class CacheOrders:
    """Orders about one worker's caches."""

    def __init__(self, orders: Orders, model: str, worker_id: str, caching: Caching, counts: Counts) -> None:
        self._orders = orders
        self._model = model
        self._worker_id = worker_id
        self._caching = caching
        self._counts = counts

    async def start(self) -> None:
        """Hear them, on the literal and the token subject."""
        spellings = subjects.spellings(self._model)
        await self._orders.hear(
            [subjects.caches(spelling, verb) for spelling in spellings for verb in subjects.CACHE_VERBS], self._read
        )

    def _read(self, verb: str, body: bytes) -> Task:
        codec.decode_order(body, CacheOrder)
        forgotten = 0

        async def obey() -> str | None:
            nonlocal forgotten
            if verb == "clear":
                forgotten = await self._caching.clear()
            return None

        return Task(obey, lambda problem: self._report(forgotten, problem))

    def _report(self, forgotten: int, problem: str | None) -> CacheReport:
        held = self._caching.held
        return CacheReport(
            self._model,
            self._worker_id,
            sum(one.size() for one in held),
            sum(one.held_bytes for one in held),
            sum(one.max_bytes for one in held),
            self._counts.cache_hits,
            self._counts.cache_misses,
            forgotten,
            self._counts.shared,
            problem,
        )
