"""How does the picture hear the fleet?

    async with Golek() as golek, Observer(golek, picture) as observer:
        await observer.run()

Heartbeats and reports of workers, reports of gateways, what monitors say, dead letters and the server's advisories are
fed into the picture as they come; records of models, counts of dead letters and when models were first seen are read
now and then; workers that should have been heard are asked after.
"""

import asyncio
import logging
from types import TracebackType
from typing import Final, Self

from golek_client import Golek, discovery, stored
from golek_client.following import reading
from golek_client.line import Line
from golek_monitor.first_seen import FirstSeen
from golek_monitor.picture import Picture
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.signals import Aggregate, Alert, GatewayReport, Health, LoadReport

log = logging.getLogger("golek.monitor")

TICK_S: Final = 0.8
"""A report comes every second: it is seen within one, with what it takes to tell it."""
NOTICE_S: Final = 0.25
"""So soon a lost connection is noticed, once it is known to be lost."""


class Observer:
    """Feeds one picture. Needs no broker to begin: it is heard as soon as there is one."""

    def __init__(self, golek: Golek, picture: Picture, *, remembers: bool = False) -> None:
        """`remembers`: whether it writes down when it first saw a model; one that only shows does not."""
        self._picture = picture
        self._first_seen = FirstSeen(picture, writes=remembers)
        hears = {
            subjects.heartbeat("*"): reading(Health, picture.heartbeat),
            subjects.load_report("*"): reading(LoadReport, picture.report),
            subjects.gateway_report("*"): reading(GatewayReport, picture.gateway),
            subjects.ALERTS: reading(Alert, picture.alert_said),
            subjects.AGGREGATE: reading(Aggregate, picture.aggregate_said),
            subjects.DEAD_LETTERS: lambda message: picture.letter(message.subject.rpartition(".")[2]),
        } | {
            advisory: lambda message: picture.advisory(message.subject, message.data)
            for advisory in subjects.ADVISORIES
        }
        self._following = golek.follow(hears, self._look)
        self._roll_call = golek.roll_call(
            picture.view, picture.heard_clock, missed=picture.missed, pinged=picture.pinged
        )
        self._refusal: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the fleet is not heard, for people; None while it is."""
        if self._is_heard:
            return None
        return self._following.problem or self._refusal or "the connection to NATS is away"

    async def open(self) -> None:
        """Subscribe, ask, and read, once. Raises as `Golek.models` does; what was not read, `run` reads later."""
        try:
            await self._following.open()
        finally:
            self._picture.connected = self._is_heard

    async def look(self) -> None:
        """Read now what is read now and then, as after an order was given. Raises as `open` does."""
        await self._following.look()

    async def ask(self) -> None:
        """Have workers and gateways say once more how they are. Raises as `open` does."""
        await self._following.ask()

    async def run(self) -> None:
        """Follow the fleet until cancelled, whatever becomes of the broker, and let the picture tick."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._following.run())
            tasks.create_task(self._roll_call.run())
            tasks.create_task(self._mind())
            tasks.create_task(self._tick())

    async def __aenter__(self) -> Self:
        """Open, if the bus answers; `problem` says why it does not."""
        try:
            await self.open()
        except InferenceServiceError as error:
            self._refusal = error.message
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing: the connection is the client's."""

    @property
    def _is_heard(self) -> bool:
        """Whether there is a connection, of a login that may look: others see nothing, which is no empty fleet."""
        return self._following.is_connected and not self._following.is_refused

    async def _look(self, line: Line) -> None:
        """Read what nobody tells."""
        self._picture.connected = self._is_heard  # before anything is fed; a line may be on its way back
        self._picture.know(await discovery.records(line))
        counts = await stored.counts(line, subjects.DLQ_STREAM, subjects.DEAD_LETTERS)
        self._picture.letters({subject.rpartition(".")[2]: count for subject, count in counts.items()})
        await self._first_seen.look(line)

    async def _mind(self) -> None:
        """Say in the picture whether the bus is heard."""
        while True:
            self._picture.connected = self._is_heard
            await asyncio.sleep(NOTICE_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._picture.tick()
