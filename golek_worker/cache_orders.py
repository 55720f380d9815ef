"""What do operators ask of a worker's caches?

How much is kept, and that it be forgotten, on `models.<model>.cache.stats` and `.clear` (bus/orders.py). A router
answers for the names that it serves, too, and forgets what it keeps of models that others serve.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from golek_wire import codec, subjects
from golek_wire.caches import CacheOrder, CacheReport
from golek_worker.bus.orders import Orders, Read, Task
from golek_worker.caching import Caching


class Counts(Protocol):
    """What was counted since the worker began (traffic.Tally)."""

    cache_hits: int
    cache_misses: int
    shared: int


Means = Callable[[str, str, Iterable[str]], list[str] | None]
"""Under which names answers are kept that an order means, by its verb and name, of those under which some are kept;
None where it is for others.
"""


class CacheOrders:
    """Orders about one worker's caches."""

    def __init__(
        self, orders: Orders, model: str, worker_id: str, caching: Caching, counts: Counts, means: Means | None = None
    ) -> None:
        """`means` is a router's, which hears the orders of all names."""
        self._orders = orders
        self._model = model
        self._worker_id = worker_id
        self._caching = caching
        self._counts = counts
        self._means = means

    async def start(self) -> None:
        """Hear them, on the literal and the token subject."""
        spellings = subjects.spellings(self._model)
        await self._orders.hear(
            [subjects.caches(spelling, verb) for spelling in spellings for verb in subjects.CACHE_VERBS], self._read
        )
        if self._means is not None:
            await self._orders.hear_some(subjects.all_caches(), self._reader)

    def _reader(self, subject: str) -> Read | None:
        """How an order about another name is read; None where it is for others."""
        rest, _, verb = subject.rpartition(".")
        name = rest.removeprefix("models.").removesuffix(".cache")
        if self._means is None or name in subjects.spellings(self._model):
            return None
        names = self._means(verb, name, self._caching.memory.models)
        return None if names is None else lambda verb, body: self._read(verb, body, names)

    def _read(self, verb: str, body: bytes, names: list[str] | None = None) -> Task:
        codec.decode_order(body, CacheOrder)
        forgotten = 0

        async def obey() -> str | None:
            nonlocal forgotten
            if verb == "clear":
                forgotten = await (self._caching.clear() if names is None else self._caching.forget(names))
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
