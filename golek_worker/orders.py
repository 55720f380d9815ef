"""What do operators order of a worker's model?

To load it, to unload it, or to drain the worker, on `models.<model>.load`, `.unload` and `.drain`: the replica that the
order names, or each of them. See bus/orders.py, docs/decisions/0025.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from golek_wire import codec, subjects
from golek_wire.signals import Order
from golek_worker.bus.orders import Orders, Task
from golek_worker.residency import Residency
from golek_worker.status import Status

log = structlog.get_logger("residency")

GOODBYE_S = 2.0
"""So long a worker that has drained takes to say so."""


class ModelOrders:
    """Orders to load, unload and drain."""

    def __init__(
        self,
        orders: Orders,
        residency: Residency,
        status: Status,
        drain: Callable[[], None],
        unloaded: Callable[[], Awaitable[object]],
    ) -> None:
        """`drain` lets the worker end as SIGTERM does; `unloaded` is called when the model was unloaded by order."""
        self._orders = orders
        self._residency = residency
        self._status = status
        self._drain = drain
        self._unloaded = unloaded
        self._drained = asyncio.Event()

    async def start(self) -> None:
        """Hear them, on the literal and the token subject."""
        spellings = subjects.spellings(self._status.model_name)
        await self._orders.hear(
            [subjects.order(spelling, verb) for spelling in spellings for verb in subjects.VERBS], self._read
        )

    async def leave(self) -> None:
        """The worker has drained: say so to who ordered it."""
        self._drained.set()
        await self._orders.finish(GOODBYE_S)

    def _read(self, verb: str, body: bytes) -> Task | None:
        order = codec.decode_order(body, Order)
        if order.worker_id not in ("", self._status.worker_id):
            return None
        log.info("order", verb=verb, force=order.force)
        began = time.monotonic()
        return Task(
            lambda: self._obey(verb, order),
            lambda problem: self._status.residence(time.monotonic() - began, problem),
        )

    async def _obey(self, verb: str, order: Order) -> str | None:
        match verb:
            case "load":
                return await self._residency.load()
            case "unload":
                problem = await self._residency.unload(force=order.force)
                if problem is None:
                    await self._unloaded()
                return problem
            case _:
                self._drain()
                await self._drained.wait()
                return None
