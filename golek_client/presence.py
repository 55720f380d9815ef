"""Who is still there?

A worker that should have been heard by now is asked on `$SRV.PING` under its incarnation: where nobody listens it is
gone, where no answer comes it is silent and asked again. Who asks accuses nobody of its own absence: after its
connection was away, or the process stood still, everybody has a full interval again.
"""

import asyncio
import logging
import zlib
from collections.abc import Callable, Hashable
from typing import Final, Protocol

from golek_client import micro
from golek_client.fleet import LEFT, FleetView, Presence, Replica
from golek_client.micro import Pinged
from golek_client.opening import Opening
from golek_wire.errors import BusUnavailableError, ForbiddenError, InferenceServiceError

log = logging.getLogger("golek.client")

LOOK_S: Final = 0.25
"""So often it is looked who is overdue."""
BUSY_LIMIT_S: Final = 3.5
"""A worker under load reports every second: three reports did not come."""
IDLE_LIMIT_S: Final = 10.5
"""An idle one reports every 10 s. One that is a little late is asked for nothing; who dies is found within 12 s."""
BEAT_LIMIT_S: Final = 35.0
"""One that does not report yet, as while it downloads its model, has a heartbeat every 30 s."""
ASKS_LIMIT: Final = 100
"""Questions that are on their way together."""
STOOD_STILL_S: Final = 1.0
"""Who looks so much later than it meant to could not hear either."""
PING_S: Final = 60.0
"""So often a worker that is here is asked how long its answer takes, where somebody wants to know."""
FIRST_PING_S: Final = 5.0
"""Within so many seconds that is asked for the first time."""
SERVER_S: Final = 1.0
"""How long the server may take to answer for itself."""
_NOBODY: Final = "nobody"
"""No worker's incarnation."""


class Asking(Protocol):
    """The bus, as far as it is needed to ask."""

    def connection(self) -> Hashable | None:
        """Which connection stands: another one after each break; None while none does."""

    async def ping(self, incarnation: str) -> Pinged:
        """Ask a worker. Raises InferenceServiceError where that is not possible."""


class Bus:
    """The bus of a client."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    def connection(self) -> Hashable | None:
        line = self._opening.standing
        return (id(line), line.mux.returns) if line is not None and line.transport.is_connected else None

    async def ping(self, incarnation: str) -> Pinged:
        line = await self._opening.line()
        found = await micro.ping(line, incarnation)
        # A server that is frozen answers nobody: only where it says that nobody is nobody, the worker is silent.
        if found is None and await micro.ping(line, _NOBODY, SERVER_S) != "gone":
            raise BusUnavailableError("the broker does not answer")
        return found


def limit_s(replica: Replica) -> float:
    """How long it may be silent before it is asked after."""
    if replica.told_at is None:
        return BEAT_LIMIT_S
    return BUSY_LIMIT_S if replica.is_busy else IDLE_LIMIT_S


def is_overdue(replica: Replica, now: float, since: float) -> bool:
    """Whether it is to be asked after; who asks could hear it from `since` on.

    1. left on its own account, or known to be gone: only its own word changes that
    2. of a release that does not say under which id it answers
    3. silent when it was asked last: until it is heard, or gone
    4. not heard for longer than its reports are apart
    """
    if replica.status in LEFT or replica.presence == "gone":  # 1
        return False
    if not replica.incarnation:  # 2
        return False
    if replica.presence == "silent":  # 3
        return True
    return now - max(replica.heard_at, since) > limit_s(replica)  # 4


class RollCall:
    """Asks after the overdue workers of a `FleetView`, for as long as `run` runs."""

    def __init__(
        self,
        asking: Asking,
        view: FleetView,
        clock: Callable[[], float],
        *,
        missed: Callable[[str, Presence], None] | None = None,
        pinged: Callable[[str, float], None] | None = None,
    ) -> None:
        """`clock` is the one by which `view` is fed. `missed` takes what was found instead of `view.missed`; `pinged`
        is told how many ms each answer took, and without it nobody is asked but who is overdue.
        """
        self._asking = asking
        self._view = view
        self._clock = clock
        self._missed = missed or view.missed
        self._pinged = pinged
        self._asked: dict[str, asyncio.Task[None]] = {}
        """Questions that are on their way, by worker."""
        self._asked_at: dict[str, float] = {}
        self._ping_at: dict[str, float] = {}
        self._since = self._looked_at = clock()
        self._connection: Hashable | None = None
        self._refused = False

    async def run(self) -> None:
        """Look and ask until cancelled."""
        try:
            while True:
                self.look()
                await asyncio.sleep(LOOK_S)
        finally:
            for task in self._asked.values():
                task.cancel()
            await asyncio.gather(*self._asked.values(), return_exceptions=True)

    def look(self) -> None:
        """Ask after who is overdue, and who is due for a ping: as many as may be on their way, who waits longest first.

        Answers come later. Called in an event loop, at least every LOOK_S.
        """
        now, connection = self._clock(), self._asking.connection()
        stood_still = now - self._looked_at > LOOK_S + STOOD_STILL_S
        if connection != self._connection or stood_still:
            self._connection, self._since = connection, now
        self._looked_at = now
        if connection is None or self._refused:
            return
        everyone = self._view.everyone()
        self._asked_at = {worker: at for worker, at in self._asked_at.items() if self._view.replica(worker) is not None}
        overdue = [one for one in everyone if is_overdue(one, now, self._since)]
        overdue.sort(key=lambda one: (self._asked_at.get(one.worker_id, -1.0), one.heard_at))
        due = self._due(everyone, now) if self._pinged is not None else []
        for one in [*overdue, *due]:
            if len(self._asked) >= ASKS_LIMIT:
                return
            if one.worker_id not in self._asked:
                self._ask(one, now)

    def _due(self, everyone: list[Replica], now: float) -> list[Replica]:
        """Who is to be pinged. Workers are spread by their ids, so that a large fleet is not asked in one moment."""
        known = self._ping_at
        self._ping_at = {
            one.worker_id: known.get(one.worker_id, now + FIRST_PING_S * _share(one.worker_id)) for one in everyone
        }
        found = [one for one in everyone if now >= self._ping_at[one.worker_id]]
        return [one for one in found if one.presence == "here" and one.status not in LEFT and one.incarnation]

    def _ask(self, one: Replica, now: float) -> None:
        self._asked_at[one.worker_id] = now
        if one.worker_id in self._ping_at:
            self._ping_at[one.worker_id] = now + PING_S
        task = asyncio.get_running_loop().create_task(self._question(one, self._connection))
        self._asked[one.worker_id] = task
        task.add_done_callback(lambda _: self._asked.pop(one.worker_id, None))

    async def _question(self, one: Replica, connection: Hashable) -> None:
        try:
            found = await self._asking.ping(one.incarnation)
        except ForbiddenError as error:
            # This login may not ask: then nobody is accused, and who is silent for long is let go of as ever.
            self._refused = True
            log.warning("workers that are silent cannot be asked after: %s", error.message)
        except InferenceServiceError:
            return  # the bus is away
        else:
            self._learn(one, found, connection)

    def _learn(self, one: Replica, found: Pinged, connection: Hashable) -> None:
        """What a question brought. An answer always counts; what speaks against a worker only where nothing changed."""
        now, known = self._clock(), self._view.replica(one.worker_id)
        if known is None or known.incarnation != one.incarnation:
            return
        if isinstance(found, float):
            self._view.answered(one.worker_id, now)
            if self._pinged is not None:
                self._pinged(one.worker_id, found * 1000)
            return
        stands = self._asking.connection() == connection == self._connection
        if stands and known.heard_at == one.heard_at and is_overdue(known, now, self._since):
            presence: Presence = "silent" if found is None else "gone"
            if known.presence != presence:
                self._missed(one.worker_id, presence)


def _share(worker_id: str) -> float:
    """The same for the same worker, 0 to 1."""
    return (zlib.crc32(worker_id.encode()) & 0xFFFF) / 0xFFFF
