"""What may an operator order of a model's replicas, and how?

Load it, unload it, drain its workers; load and unload LoRA adapters. Each replica answers for itself (ordering.py).
"""

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from golek_client import ordering, starting
from golek_client.opening import Opening, check_seconds
from golek_client.ordering import OnStatus, Report
from golek_client.target import Target
from golek_wire import subjects
from golek_wire.adapters import AdapterOrder, AdapterReport
from golek_wire.errors import ModelNotFoundError, NoWorkersError
from golek_wire.hosts import HostReport, StartOrder
from golek_wire.signals import Order, Residence
from golek_wire.subjects import AdapterVerb, CacheVerb, Verb

if TYPE_CHECKING:
    from golek_wire.caches import CacheReport
    from golek_wire.logs import LogQuery, LogReport

LOAD_S: Final = 900.0
"""So long a model may take to load."""


class Operating:
    """The part of a client that gives orders."""

    _opening: Opening

    async def adapters(self, model: str, timeout: float = 2.0) -> list[AdapterReport]:
        """Which LoRA adapters each replica of `model` offers, by worker id.

        Raises as `health` does, and ForbiddenError where this login gives no orders.
        """
        return await self._order_adapters(model, "list", AdapterOrder(), timeout)

    async def load_adapter(
        self, model: str, name: str, path: str, *, scale: float = 1.0, timeout: float = 60.0
    ) -> list[AdapterReport]:
        """Load a LoRA adapter into all replicas of `model`; one of this name is replaced.

            await golek.load_adapter("qwen3-4b", "pirate", "data/adapters/pirate.gguf")
            reply = await golek.ask("qwen3-4b", "Who are you?", adapter="pirate")

        `path` is a GGUF file on each worker's machine. Replicas that start later load it, too. Each answers for itself:
        its `problem` says why it could not. Raises as `adapters` does, and BadRequestError for a wrong name.
        """
        return await self._order_adapters(model, "load", AdapterOrder(name, path, scale), timeout)

    async def unload_adapter(self, model: str, name: str, *, timeout: float = 60.0) -> list[AdapterReport]:
        """Take a LoRA adapter from all replicas of `model`; requests that run with it go on. As `load_adapter`."""
        return await self._order_adapters(model, "unload", AdapterOrder(name), timeout)

    async def cache_stats(self, model: str, *, timeout: float = 2.0) -> "list[CacheReport]":
        """What each replica of `model` keeps of answers, by worker id. Raises as `adapters` does."""
        return await self._order_cache(model, "stats", timeout)

    async def clear_cache(self, model: str, *, timeout: float = 10.0) -> "list[CacheReport]":
        """Have all replicas of `model` forget the answers that are kept, those that they share as well. Each answers
        for itself: its `problem` says why it could not. Raises as `adapters` does.
        """
        return await self._order_cache(model, "clear", timeout)

    async def load(
        self, model: str, *, worker_id: str = "", timeout: float = LOAD_S, on_status: OnStatus[Residence] | None = None
    ) -> list[Residence]:
        """Have every replica of `model`, or the one with this `worker_id`, load it; what is so at each then.

        A replica that has it says so at once. `on_status` is called with what those that load say meanwhile, `progress`
        among it. A load belongs to the worker: it goes on when this call ends early.

        A model that no worker serves is started by a supervisor (`golek serve`) whose machine has it, on one machine.
        Raises ConflictError with the command to type where no supervisor answers, ModelNotFoundError where none has it,
        otherwise as `health` does, and UnauthorizedError or ForbiddenError where this caller may not.
        """
        until = asyncio.get_running_loop().time() + timeout
        try:
            return await self._order(model, "load", Order(worker_id), timeout, on_status)
        except (ModelNotFoundError, NoWorkersError) as nobody:
            if worker_id:
                raise
            return await self._start(model, nobody, until, timeout, on_status)

    async def logged(self, model: str, query: "LogQuery", *, timeout: float = 10.0) -> "list[LogReport]":
        """What the request logs of `model` say, as each of its replicas reads it; those of one machine share a file.

        Never what callers asked. Takes half a second, in which all that live answer. Raises as `health` does, and
        UnauthorizedError or ForbiddenError where this caller gives no orders.
        """
        from golek_wire.logs import LogReport  # few programs ask this, and all would pay for it

        return await self._give(model, subjects.log(model), query, LogReport, timeout)

    async def startable(self, timeout: float = 2.0) -> list[HostReport]:
        """What the machines of the fleet could start: a report of each supervisor (`golek serve`).

        Takes half a second longer than the quickest of them, no time where there is none. Raises BusUnavailableError.
        """
        check_seconds("timeout", timeout)
        until = asyncio.get_running_loop().time() + timeout
        return await starting.hosts(await self._opening.by(until, timeout), until)

    async def unload(
        self,
        model: str,
        *,
        worker_id: str = "",
        force: bool = False,
        timeout: float = LOAD_S,
        on_status: OnStatus[Residence] | None = None,
    ) -> list[Residence]:
        """Have replicas take the model out of memory once their jobs have ended; the next request loads it again.

        `problem` says why a replica keeps it: it loads, jobs still run after its DRAIN_S, or others wait. With `force`
        nothing keeps it, and jobs that run go back to the queue. Otherwise as `load`.
        """
        return await self._order(model, "unload", Order(worker_id, force), timeout, on_status)

    async def drain(
        self, model: str, *, worker_id: str = "", timeout: float = LOAD_S, on_status: OnStatus[Residence] | None = None
    ) -> list[Residence]:
        """Have replicas take no more requests, finish their jobs and end, as after SIGTERM. Otherwise as `load`."""
        return await self._order(model, "drain", Order(worker_id), timeout, on_status)

    async def _start(
        self,
        model: str,
        nobody: ModelNotFoundError | NoWorkersError,
        until: float,
        seconds: float,
        on_status: OnStatus[Residence] | None,
    ) -> list[Residence]:
        """Have a machine start a worker of `model`; `nobody` is why none could be ordered."""
        line = await self._opening.by(until, seconds)
        host = await starting.host_for(line, model, until, nobody)
        subject = subjects.hosts("start", host)
        return await ordering.order(
            line, model, subject, StartOrder(model), Residence, until, seconds, on_status=on_status
        )

    async def _order_cache(self, model: str, verb: CacheVerb, timeout: float) -> "list[CacheReport]":
        from golek_wire.caches import CacheOrder, CacheReport  # few programs ask this, and all would pay for it

        return await self._give(model, subjects.caches(model, verb), CacheOrder(), CacheReport, timeout)

    async def _order_adapters(
        self, model: str, verb: AdapterVerb, told: AdapterOrder, timeout: float
    ) -> list[AdapterReport]:
        return await self._give(model, subjects.adapters(model, verb), told, AdapterReport, timeout)

    async def _order(
        self, model: str, verb: Verb, told: Order, timeout: float, on_status: OnStatus[Residence] | None
    ) -> list[Residence]:
        subject = subjects.order(model, verb)
        return await self._give(model, subject, told, Residence, timeout, told.worker_id, on_status)

    async def _give(
        self,
        model: str,
        subject: str,
        told: Struct,
        kind: type[Report],
        timeout: float,
        worker_id: str = "",
        on_status: OnStatus[Report] | None = None,
    ) -> list[Report]:
        Target.of(model, "inference")
        check_seconds("timeout", timeout)
        until = asyncio.get_running_loop().time() + timeout
        line = await self._opening.by(until, timeout)
        return await ordering.order(
            line, model, subject, told, kind, until, timeout, worker_id=worker_id, on_status=on_status
        )
