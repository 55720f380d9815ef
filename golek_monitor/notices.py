"""What became of workers and gateways?

Compares what is known with what was known a second ago, and says it as lines of the event log. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from golek_client.fleet import LEFT, Replica
from golek_monitor.events import EventLevel, Happening
from golek_monitor.records import GatewayRow, ReplicaRow, RowPresence
from golek_wire.signals import WorkerStatus


class Known(Struct, frozen=True):
    """What counts of a worker here."""

    model: str
    status: WorkerStatus
    presence: RowPresence
    incarnation: str


class Notices:
    """Remembers what was known a second ago."""

    def __init__(self) -> None:
        self._workers: dict[str, Known] = {}
        self._gateways: dict[str, str] = {}

    def see(
        self, workers: Sequence[Replica], rows: Mapping[str, ReplicaRow], gateways: Sequence[GatewayRow]
    ) -> Iterator[Happening]:
        """These are all, with a row for each worker: what became of them."""
        before, self._workers = self._workers, {}
        for one in workers:
            known = Known(one.model, one.status, rows[one.worker_id].presence, one.incarnation)
            self._workers[one.worker_id] = known
            happening = of_worker(one.worker_id, before.get(one.worker_id), known, one.problem)
            if happening is not None:
                yield happening
        were, self._gateways = self._gateways, {row.gateway_id: row.status for row in gateways}
        for gateway_id in sorted(were.keys() | self._gateways.keys()):
            happening = of_gateway(gateway_id, were.get(gateway_id), self._gateways.get(gateway_id))
            if happening is not None:
                yield happening


def of_worker(worker_id: str, before: Known | None, now: Known, problem: str | None = None) -> Happening | None:
    """What became of it; None where nothing did.

    1. new 2. left, failed 3. gone or silent 4. back 5. restarted 6. another status
    """
    about, why = _About(worker_id, now.model), f": {problem}" if problem else ""
    if before is None or before.model != now.model:  # 1
        is_there = now.status not in LEFT and now.presence != "gone"
        return about.say("joined", "info", f"is there, {now.status}", "workers joined") if is_there else None
    if now.status in LEFT:  # 2
        return _left(about, now, why) if now.status != before.status else None
    if now.presence != "here":  # 3
        return _missed(about, now) if now.presence != before.presence else None
    if before.presence != "here" or before.status in LEFT:  # 4
        return about.say("back", "info", f"is back, {now.status}", "workers are back")
    if before.incarnation and now.incarnation != before.incarnation:  # 5
        return about.say("restarted", "warning", f"was restarted, {now.status}", "workers were restarted")
    return _status(about, before, now, why)  # 6


class _About(Struct, frozen=True):
    """Whom it is about."""

    worker_id: str
    model: str

    def say(self, code: str, level: EventLevel, what: str, several: str) -> Happening:
        told = f"{self.worker_id} of {self.model} {what}"
        return Happening(f"worker.{code}", level, told, several, self.model, self.worker_id)


def _left(about: _About, now: Known, why: str) -> Happening:
    if now.status == "failed":
        return about.say("failed", "error", f"could not go on{why}", "workers could not go on")
    return about.say("left", "info", "left in order", "workers left in order")


def _missed(about: _About, now: Known) -> Happening:
    if now.presence == "gone":
        return about.say("lost", "error", "is gone without a word", "workers are gone without a word")
    return about.say("silent", "warning", "does not answer", "workers do not answer")


def _status(about: _About, before: Known, now: Known, why: str) -> Happening | None:
    if now.status == before.status:
        return None
    if now.status == "stalled":
        return about.say("stalled", "warning", "has an engine that makes no progress", "engines make no progress")
    if before.status == "stalled" and now.status == "online":
        return about.say("recovered", "info", "makes progress again", "engines make progress again")
    return about.say("status", "info", f"is {now.status}{why}", "workers changed their status")


def of_gateway(gateway_id: str, before: str | None, now: str | None) -> Happening | None:
    """What became of a gateway, by its status; None where it is not known any more."""
    if before == now:
        return None
    if before is None:
        return Happening("gateway.joined", "info", f"gateway {gateway_id} is there, {now}", "gateways joined")
    match now:
        case None:
            return Happening("gateway.left", "info", f"gateway {gateway_id} left", "gateways left")
        case "silent":
            return Happening(
                "gateway.silent", "warning", f"gateway {gateway_id} is not heard", "gateways are not heard"
            )
        case _:
            told = f"gateway {gateway_id} is {now}"
            return Happening("gateway.status", "info", told, "gateways changed their status")
