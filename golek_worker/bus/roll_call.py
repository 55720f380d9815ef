"""Which replicas of a model take jobs on their lanes just now?

Asked by a router, twice a second, and only of models whose lanes it used lately: a fleet without one hears nothing of
it.
"""

import asyncio
import contextlib
import time

import structlog
from msgspec import Struct

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.lanes import LaneReport
from golek_worker.bus.jetstream import BUS_ERRORS

log = structlog.get_logger("lanes")

CALL_S = 0.5
SILENT_S = 2.0
"""A replica that was not heard for so long has no lane."""
UNUSED_S = 60.0
"""A model whose lanes nobody wanted for so long is not asked any more."""


class Answered(Struct, frozen=True):
    """One replica, as it said last."""

    worker_id: str
    lane: str
    free: int
    slots: int
    heard_s: float
    """Since then."""


class RollCall:
    """The replicas of the models whose lanes are used."""

    def __init__(self, client: BusClient) -> None:
        self._client = client
        self._used: dict[str, float] = {}
        """By token of the model: when its lanes were wanted last."""
        self._heard: dict[str, dict[str, tuple[float, LaneReport]]] = {}
        self._avoided: dict[tuple[str, str], float] = {}
        """Replicas that took a job and did not begin it, and when that was seen."""
        self._running: dict[tuple[str, str], list[float]] = {}
        """When this router gave a replica each of the jobs that it has just now."""
        self._asked = asyncio.Event()
        self._answered = asyncio.Event()
        self._inbox = ""

    async def start(self) -> None:
        """Listen for the answers."""
        self._inbox = self._client.new_inbox()
        await self._client.subscribe_direct(f"{self._inbox}.*", self._on_answer)

    def lanes(self, token: str) -> list[Answered]:
        """The replicas of this model that answered in the last SILENT_S; from now on they are asked.

        The first time nobody has answered yet: then a job is for everybody.
        """
        now = time.monotonic()
        if token not in self._used:
            self._asked.set()
        self._used[token] = now
        return [
            Answered(report.worker_id, report.lane, self._free(token, at, report), report.slots, now - at)
            for at, report in self._heard.get(token, {}).values()
            if now - at < SILENT_S and self._avoided.get((token, report.worker_id), 0.0) < at
        ]

    def _free(self, token: str, at: float, report: LaneReport) -> int:
        """Slots that are free by what the replica said, less the jobs that it was given since."""
        given = self._running.get((token, report.worker_id), [])
        return max(0, min(report.free - sum(when > at for when in given), report.slots - len(given)))

    def count(self, token: str, worker_id: str, change: int) -> None:
        """This router gave a job to that replica (1), or has its answer (-1)."""
        given = self._running.setdefault((token, worker_id), [])
        if change > 0:
            given.append(time.monotonic())
        elif given:
            given.pop(0)
        if not given:
            del self._running[token, worker_id]

    async def answered(self, patience_s: float) -> None:
        """Wait for the next answer of anybody, at most so long."""
        self._answered.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, patience_s)):
                await self._answered.wait()

    def avoid(self, token: str, worker_id: str) -> None:
        """This replica took a job and did not begin it: it has no lane until it is heard again."""
        self._avoided[token, worker_id] = time.monotonic()

    async def run(self) -> None:
        """Ask, for as long as the router lives."""
        while True:
            self._asked.clear()
            now = time.monotonic()
            for token, used_at in list(self._used.items()):
                if now - used_at > UNUSED_S:
                    self._forget(token)
                    continue
                try:
                    await publish(self._client, subjects.lanes_called(token), b"", reply=f"{self._inbox}.{token}")
                except BUS_ERRORS as error:
                    log.debug("lanes.unasked", problem=str(error) or type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CALL_S if self._used else None):
                    await self._asked.wait()

    def _forget(self, token: str) -> None:
        del self._used[token]
        self._heard.pop(token, None)
        self._avoided = {key: at for key, at in self._avoided.items() if key[0] != token}

    async def _on_answer(self, message: Delivery) -> None:
        token = message.subject.rpartition(".")[2]
        if token not in self._used:
            return
        try:
            report = codec.decode(message.data, LaneReport)
        except InferenceServiceError:
            return  # nobody of ours, or nobody at all (no responders)
        self._heard.setdefault(token, {})[report.worker_id] = (time.monotonic(), report)
        self._answered.set()
