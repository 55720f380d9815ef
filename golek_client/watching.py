"""How is the fleet watched?

    async with Golek() as golek:
        watch = golek.watch()
        await watch.open()
        print(watch.models())

Two subscriptions, on `models.*.heartbeat` and `monitoring.inference.*`, and the bucket of models read now and then,
feed a `FleetView`. Workers are asked once, when the watch begins, to say at once what they say now and then.
"""

import asyncio
import time
from collections.abc import Callable

from golek_client import discovery
from golek_client.fleet import FleetView, ModelState
from golek_client.following import Following, reading
from golek_client.line import Line
from golek_client.opening import Opening
from golek_client.presence import Bus, RollCall
from golek_wire import subjects
from golek_wire.signals import Health, LoadReport


class Watch(Following):
    """The fleet, or one of its models, as it is now. Kept up to date by `run`. Made by `Golek.watch`."""

    def __init__(
        self,
        opening: Opening,
        model: str = "",
        *,
        asks_after: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Of one `model` only its own signals are heard, and its record is not looked up. `asks_after`: whether workers
        that should have been heard are asked after, so that it is known within seconds that one is gone.
        """
        self.view = FleetView()
        self._which = subjects.model_token(model) if model else "*"
        hears = {
            subjects.heartbeat(self._which): reading(Health, lambda said: self.view.heartbeat(said, clock())),
            subjects.load_report(self._which): reading(LoadReport, lambda said: self.view.report(said, clock())),
        }
        super().__init__(opening, hears, self._records, clock=clock)
        self._roll_call = RollCall(Bus(opening), self.view, clock) if asks_after else None

    def models(self) -> list[ModelState]:
        """Every model that is served or expected, by name."""
        return self.view.models(self._clock())

    def model(self, name: str) -> ModelState | None:
        """One of them."""
        return self.view.model(name, self._clock())

    async def run(self) -> None:
        """Follow until cancelled. While the bus is away, what is known stays as it was."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(super().run())
            if self._roll_call is not None:
                tasks.create_task(self._roll_call.run())

    async def _records(self, line: Line) -> None:
        """Read the records anew."""
        if self._which == "*":
            self.view.know(await discovery.records(line), self._clock())
        self.view.forget(self._clock())
