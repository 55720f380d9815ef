"""How is the fleet watched?

    async with Golek() as golek:
        watch = golek.watch()
        await watch.open()
        print(watch.models())

Two subscriptions, on `models.*.heartbeat` and `monitoring.inference.*`, and the bucket of models read now and then,
feed a `FleetView`. Workers are asked once, when the watch begins, to say at once what they say now and then.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from golek_client import discovery
from golek_client.fleet import FleetView, ModelState
from golek_client.line import Line
from golek_client.opening import Opening
from golek_client.stored import UNREADABLE
from golek_wire import codec, subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.signals import Health, LoadReport

log = logging.getLogger("golek.client")

LOOK_S: Final = 10.0
"""So often the bucket is read, and a connection that was closed for good is replaced."""
POLL_S: Final = 0.05


class Watch:
    """The fleet, or one of its models, as it is now. Kept up to date by `run`. Made by `Golek.watch`."""

    def __init__(self, opening: Opening, model: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        """Of one `model` only its own signals are heard, and its record is not looked up."""
        self._opening = opening
        self._which = subjects.model_token(model) if model else "*"
        self._clock = clock
        self._line: Line | None = None
        self.view = FleetView()

    @property
    def is_connected(self) -> bool:
        """Whether the bus can be asked at the moment."""
        return self._line is not None and not self._line.is_closed and self._line.transport.is_connected

    async def connected(self, seconds: float) -> bool:
        """Whether the bus can be asked, now or within so many seconds."""
        with contextlib.suppress(TimeoutError, InferenceServiceError):
            async with asyncio.timeout(seconds):
                if self._line is None or self._line.is_closed:
                    await self.open()
                while not self.is_connected:  # noqa: ASYNC110 - no event tells it
                    await asyncio.sleep(POLL_S)
        return self.is_connected

    def models(self) -> list[ModelState]:
        """Every model that is served or expected, by name."""
        return self.view.models(self._clock())

    def model(self, name: str) -> ModelState | None:
        """One of them."""
        return self.view.model(name, self._clock())

    async def open(self) -> None:
        """Subscribe, ask workers how they are, and read what the fleet knows. Raises as `Golek.models` does."""
        line = await self._opening.line()
        if line is not self._line:
            await line.subscribe(subjects.heartbeat(self._which), self._reader(Health, self.view.heartbeat))
            await line.subscribe(subjects.load_report(self._which), self._reader(LoadReport, self.view.report))
            await line.send(subjects.SIGNALS_ASKED, b"")
            self._line = line
        await self.look()

    async def look(self) -> None:
        """Read the records anew. Raises as `Golek.models` does."""
        if self._which == "*":
            self.view.know(await discovery.records(await self._opening.line()), self._clock())
        self.view.forget(self._clock())

    async def run(self) -> None:
        """Follow the fleet until cancelled. While the bus is away, what is known counts as long as it is fresh."""
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(InferenceServiceError):
                await self.open()

    def _reader(self, kind: type[Any], take: Callable[[Any, float], None]) -> Callable[[Any], Awaitable[None]]:
        async def hear(message: Any) -> None:
            try:
                said = codec.decode(message.data, kind)
            except UNREADABLE:
                log.debug("%s: what came on it is none of ours", message.subject)
                return
            take(said, self._clock())

        return hear
