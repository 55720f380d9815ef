"""Which monitor speaks on the bus, and what does it say?

All monitors see the same fleet, and one of them publishes: of those that are heard the one that began first. Each
hears `monitoring.aggregate`, and who hears none of an elder one for three seconds speaks: `monitoring.aggregate` each
second, `monitoring.alerts` when an alert fires and when it is resolved. Who begins to watch asks on `monitoring.ask`,
and is told what fires. What fires is kept in the broker: who speaks next, as after a restart, goes on with it.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from golek_client import Golek
from golek_client.following import reading
from golek_client.line import Line
from golek_monitor import kept_alerts
from golek_monitor.picture import Picture
from golek_wire import codec, subjects
from golek_wire.errors import ForbiddenError, InferenceServiceError
from golek_wire.signals import Aggregate, Alert

log = logging.getLogger("golek.monitor")

EVERY_S: Final = 1.0
SILENT: Final = 3
"""A monitor that is not heard for so many turns speaks no more."""
UNHEARD: Final = 2
"""What fired so many turns before the last word of who spoke before may not have been told."""
GATHER_S: Final = 0.1
"""Who asks within so short a time is answered together."""
ALERTS_KEPT: Final = 1000
"""That wait for the bus, or for the one that speaks to fall silent."""


class Turn:
    """Whose turn it is to speak, as one monitor knows it. Pure: times come in with what is heard."""

    def __init__(self, started_at: str, monitor_id: str, now: float, wait_s: float) -> None:
        self._own = (started_at, monitor_id)
        self._wait_s = wait_s
        self._listens_since = now
        self.heard_at: float | None = None
        """When an elder one was heard last."""

    def heard(self, said: Aggregate, now: float) -> None:
        """A monitor spoke. The word of one that began later counts for nothing: it will hear this one."""
        if said.monitor_id and (said.monitor_started_at, said.monitor_id) < self._own:
            self.heard_at = now

    def is_ours(self, now: float) -> bool:
        """Whether this monitor speaks."""
        return now - max(self._listens_since, self.heard_at or self._listens_since) >= self._wait_s

    def deaf(self, now: float) -> None:
        """Nobody can be heard at the moment: this monitor listens first, once it can."""
        self._listens_since = now


class Publisher:
    """The word of one monitor. Only the monitor that runs as a service has one."""

    def __init__(
        self,
        golek: Golek,
        picture: Picture,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """It takes the picture's `on_alert`. Those that wait take over at different moments, drawn within a turn, so
        that the first of them is heard by the others.
        """
        self._every_s = every_s
        self._golek = golek
        self._picture = picture
        self._clock = clock
        wait_s = (SILENT + random.random()) * every_s
        self._turn = Turn(picture.overview().monitor_started_at, picture.monitor_id, clock(), wait_s)
        self._waiting: deque[tuple[float, Alert]] = deque(maxlen=ALERTS_KEPT)
        self._asked = asyncio.Event()
        self._restored = asyncio.Event()
        """Since this monitor's turn began it was read what fired before."""
        self._kept: dict[str, str] = {}
        """What is kept: severities by id."""
        self._may_keep = True
        self._following = golek.follow(
            {
                subjects.AGGREGATE: reading(Aggregate, lambda said: self._turn.heard(said, clock())),
                subjects.SIGNALS_ASKED: lambda _: self._asked.set(),
            },
            self._look,
            asks=False,
        )
        self._line: Line | None = None
        picture.on_alert = self._alerted

    @property
    def speaks(self) -> bool:
        """Whether it is this monitor's turn."""
        return self._turn.is_ours(self._clock())

    async def run(self) -> None:
        """Speak when it is this monitor's turn, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._following.run())
            tasks.create_task(self._speak())
            tasks.create_task(self._keep())

    async def _look(self, line: Line) -> None:
        self._line = line

    def _alerted(self, alert: Alert) -> None:
        self._waiting.append((self._clock(), alert))

    async def _speak(self) -> None:
        while True:
            if not self._following.is_connected:
                self._turn.deaf(self._clock())
            elif self.speaks:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._every_s):
                        await self._restored.wait()
                await self._say()
            else:
                self._asked.clear()
                self._restored.clear()
                self._drop()
            await self._wait()

    async def _wait(self) -> None:
        """Until it is time to speak again: each second, and when somebody asks."""
        await asyncio.sleep(GATHER_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._every_s - GATHER_S):
                await self._asked.wait()

    async def _keep(self) -> None:
        """While this monitor speaks: read once what fired before, then keep what fires."""
        while True:
            await asyncio.sleep(GATHER_S)
            line = self._line
            if line is None or not self._following.is_connected or not self.speaks:
                continue
            try:
                if not self._restored.is_set():
                    self._restore(await kept_alerts.read(line))
                firing = [alert for alert in self._picture.own_alerts() if alert.kind != "bus_lost"]
                now = {alert.id: alert.severity for alert in firing}
                if now != self._kept and self._may_keep:
                    await kept_alerts.write(line, firing)
                    self._kept = {**now}
            except ForbiddenError as error:
                self._may_keep = False
                log.warning("what fires is not kept: %s", error)
            except InferenceServiceError as error:
                log.debug("what fires is not kept: %s", error)
                await asyncio.sleep(self._every_s)

    def _restore(self, kept: list[Alert]) -> None:
        """Go on with these; that they fire is known."""
        known = {alert.id for alert in kept}
        waiting = [(at, one) for at, one in self._waiting if one.state == "resolved" or one.id not in known]
        self._waiting = deque(waiting, maxlen=ALERTS_KEPT)
        self._picture.go_on_with(kept)
        self._kept = {alert.id: alert.severity for alert in kept}
        self._restored.set()

    async def _say(self) -> None:
        """Alerts first, those that fire once more where somebody asked. What the bus does not take now waits."""
        try:
            if self._asked.is_set():
                self._asked.clear()
                told = {alert.id for _, alert in self._waiting}
                for alert in self._picture.own_alerts():
                    if alert.id not in told:
                        await self._golek.tell(subjects.ALERTS, codec.encode(alert))
            while self._waiting:
                await self._golek.tell(subjects.ALERTS, codec.encode(self._waiting[0][1]))
                self._waiting.popleft()
            await self._golek.tell(subjects.AGGREGATE, codec.encode(self._picture.overview()))
        except InferenceServiceError as error:
            log.debug("not published: %s", error)

    def _drop(self) -> None:
        """Another monitor speaks: what it surely told needs no second word."""
        heard_at = self._turn.heard_at
        while heard_at is not None and self._waiting and self._waiting[0][0] < heard_at - UNHEARD * self._every_s:
            self._waiting.popleft()
