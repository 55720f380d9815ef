"""What does the terminal ask of the fleet, beyond listening?

One place for it: everything else shows what is here. Each method raises InferenceServiceError, whose text is shown.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from golek_client import Golek
from golek_client.queueing import ModelQueue
from golek_monitor.logs.asking import Query
from golek_monitor.logs.explorer import Explorer
from golek_monitor.logs.records import FoundRequests
from golek_monitor.records import ReplicaRow
from golek_monitor.tui import orders
from golek_monitor.tui.messages import Wanted
from golek_wire.signals import DeadLetter, Residence

RETRY_S = 120.0
ORDER_S = 900.0
LETTERS = 500
"""Dead letters that are shown, the newest."""
REQUESTS = 99
"""Of a worker, the newest."""


class Outcome(Struct, frozen=True):
    """How an order ended."""

    text: str
    failed: bool = False


class Desk(Protocol):
    """What a fleet can be asked."""

    async def letters(self) -> Sequence[DeadLetter]:
        """The dead letters, the newest first."""
        ...

    async def queue(self, model: str) -> ModelQueue:
        """Who waits for a model and who runs."""
        ...

    async def requests(self, row: ReplicaRow) -> FoundRequests:
        """What a worker answered lately, from the request logs here and where workers are."""
        ...

    async def settings(self, row: ReplicaRow) -> Mapping[str, str]:
        """A worker's settings that are not as they are by default; secrets hidden."""
        ...

    async def give(self, wanted: Wanted, told: Callable[[str], None]) -> Outcome:
        """Carry an order out; `told` hears what happens meanwhile."""
        ...


class FleetDesk:
    """The fleet behind a client."""

    def __init__(self, golek: Golek, explorer: Explorer) -> None:
        self._golek = golek
        self._explorer = explorer

    async def letters(self) -> Sequence[DeadLetter]:
        return list(reversed(await self._golek.dead_letters(newest=LETTERS)))

    async def queue(self, model: str) -> ModelQueue:
        return await self._golek.queue(model)

    async def requests(self, row: ReplicaRow) -> FoundRequests:
        return await self._explorer.search(
            Query(model=row.model_name, worker_id=row.worker_id, limit=REQUESTS, everywhere=True)
        )

    async def settings(self, row: ReplicaRow) -> Mapping[str, str]:
        info = await self._golek.info(row.incarnation or row.worker_id)
        return info.settings | dict.fromkeys(info.settings_left_out, "differs, too long to be told")

    async def give(self, wanted: Wanted, told: Callable[[str], None]) -> Outcome:
        match wanted.verb:
            case "cancel":
                await self._golek.cancel(wanted.job_id)
                return Outcome(f"job {wanted.job_id} is cancelled, where it had not ended")
            case "retry":
                told(f"job {wanted.job_id} runs again")
                await self._golek.retry(wanted.job_id, deadline=RETRY_S)
                return Outcome(f"job {wanted.job_id} was answered; its letter is dropped")
            case "drop":
                dropped = await self._golek.drop(wanted.job_id)
                return Outcome(f"{dropped} letters of job {wanted.job_id} are deleted")
            case "drain" | "load" | "unload":
                return await self._order(wanted, told)

    async def _order(self, wanted: Wanted, told: Callable[[str], None]) -> Outcome:
        golek = self._golek
        give = {"drain": golek.drain, "load": golek.load, "unload": golek.unload}[wanted.verb]

        def on_status(word: Residence) -> None:
            told(orders.progress(word))

        told(f"{orders.title(wanted)}: asked")
        found = await give(wanted.model, worker_id=wanted.worker_id, timeout=ORDER_S, on_status=on_status)
        text, failed = orders.outcome(found)
        return Outcome(text, failed)
