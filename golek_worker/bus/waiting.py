"""What is told to streams that wait for their turn?

Their place, how long it may take, and how far the model is loaded where it is not there yet: as soon as the queue was
looked at once, then at most once a second and only when it changes. Nothing any more once a worker has the job.
"""

from collections.abc import Callable

from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_client.connection import publish
from golek_wire import codec
from golek_wire import headers as h
from golek_wire.replies import Queued
from golek_worker.bus.queue import Queue
from golek_worker.job import Job

_ABOUT = {h.STATUS: "queued"}


class _Place(Struct):
    """A stream's place as it was told last."""

    job: Job
    since: float
    position: int = 0
    """0 when nothing was told yet."""
    timed: bool = False
    """Whether the wait was told too."""
    loading: float | None = None


class WaitingStreams:
    """The streams that one ingress accepted and that no worker is known to have."""

    def __init__(self, client: BusClient, queue: Queue, loading: Callable[[], float | None]) -> None:
        self._client = client
        self._loading = loading
        self._queue = queue
        self._places: dict[int, _Place] = {}

    def add(self, seq: int, job: Job, now: float) -> None:
        """A stream was stored as `seq` at `now`, on the monotonic clock."""
        self._places[seq] = _Place(job, now)

    def forget(self, seq: int) -> None:
        """The job is answered or gone."""
        self._places.pop(seq, None)

    async def tell(self) -> None:
        """Look at the queue if anybody waits, and tell each what is new. Raises as `Queue.look` does."""
        if not self._places:
            return
        await self._queue.look()
        for seq, place in list(self._places.items()):
            if place.since < self._queue.view.at:  # else the queue was seen before it held this job
                await self._tell(seq, place)

    async def _tell(self, seq: int, place: _Place) -> None:
        position = self._queue.position(seq, place.job.priority)
        if not position:
            self.forget(seq)
            return
        if place.position:  # a more urgent job that came later sets nobody back in what was told
            position = min(position, place.position)
        eta_s, loading = self._queue.view.eta_s(position), self._loading()
        if position == place.position and place.timed == (eta_s is not None) and place.loading == loading:
            return
        place.position, place.timed, place.loading = position, eta_s is not None, loading
        await publish(
            self._client,
            place.job.reply,
            codec.encode(Queued(place.job.req_id, "queued", position, eta_s, loading)),
            _ABOUT,
        )
