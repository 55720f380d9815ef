"""How do equal requests share one run?

A `Flight` is a run of the engine, and all the jobs that read it. The first of them leads: its slot is the run's, its
key is charged, and a crash of the engine is its fault alone. Who comes later is given what was written so far, then
reads on with the others, and takes no slot. A leader that leaves hands all that to the next one; when the last one
leaves, the run is cancelled. A run that has ended stays for a moment, for jobs that were stored before it did.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from golek_wire.errors import DeadlineExceededError, JobCancelledError
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Delta
from golek_wire.routing import CacheUse
from golek_worker.cache.base import CacheKey
from golek_worker.ends import pieces, unmeasured, weight
from golek_worker.engine.base import Made, Piece, Refused, Stopped
from golek_worker.engine.host import EngineDied, Run, RunEnd, RunEvent
from golek_worker.executor import Work

KEPT_S: Final = 5.0
"""So long a run stays after its end …"""
KEPT_RUNS: Final = 64
"""… unless there are more: then those that ended first go."""
KEPT_WEIGHT: Final = 64 * 1024
"""Characters or numbers of a result; larger ones do not stay."""
AT_ONCE_S: Final = 0.002
"""A job that was stored so shortly before the end came after it, for all that clocks can tell."""
FREE_LIMIT: Final = 256
"""So many jobs may be served beyond the worker's slots because they only read; more keep their slots."""
ITS_OWN: Final = (DeadlineExceededError.code, JobCancelledError.code)
"""Errors that are of one job alone. All others are those of equal requests, too: they would only meet them again."""

_Place = tuple[CacheKey, int]
"""What is asked for, and through how many routers."""


class Desk(Protocol):
    """Who gives jobs their slots."""

    def stored_at(self, job_id: str) -> float:
        """When the job was stored, by the monotonic clock."""
        ...

    def free_slot(self, job_id: str) -> None:
        """The job only reads: another one may have its slot."""
        ...

    def pass_slot(self, job_id: str, to: str) -> None:
        """The first job's slot is from now on the second one's."""
        ...


class Flight:
    """One run, and all who read it."""

    def __init__(self, key: CacheKey, use: CacheUse | None, *, streamed: bool, hops: int = 0) -> None:
        """`use` is what its leader is told of the cache. Of a run that is not `streamed` nothing is heard before its
        end. Jobs that came through other than `hops` routers do not read it: one of them may be what it waits for.
        """
        self.key = key
        self.place = key, hops
        self.streamed = streamed
        self.end: RunEnd | None = None
        self.ended_at = 0.0
        self.origin = ""
        """The job under whose id the engine runs it."""
        self.runs = False
        """Whether it has begun; before that it is looked up."""
        self.kept_long = False
        """Whether somebody wants its result to be kept."""
        self.kept_alike = False
        """Whether it is to be found by questions that mean the same, too."""
        self._handed = False
        """Whether the one that began it has left."""
        self._use = use
        self.heard: list[str] = []
        """The jobs that read its end."""
        self._readers: dict[str, tuple[Run, Work]] = {}
        """By job, in the order in which they came; the first one leads."""
        self._written: list[Piece | StepEvent] = []

    def __len__(self) -> int:
        return len(self._readers)

    @property
    def leader(self) -> tuple[str, Work]:
        """The job that leads, and what it asks. To be asked only while there is one."""
        job_id, (_, work) = next(iter(self._readers.items()))
        return job_id, work

    def join(self, job_id: str, work: Work) -> Run:
        """Read it from its beginning."""
        run = Run()
        if self.end is not None:
            fly(run, self.end)
            _follows(work)
            return run
        for piece in self._written:
            run.put(piece)
        if self._readers:
            _follows(work)
        else:
            work.shared, work.cache = False, self._use
        self._readers[job_id] = (run, work)
        return run

    def leave(self, job_id: str) -> str | None:
        """A job reads no further; who leads now in its place, None where it did not lead.

        To be asked only while there are others.
        """
        leads = next(iter(self._readers)) == job_id
        run, _ = self._readers.pop(job_id)
        run.put(Stopped(job_id, 0, 0))
        if not leads:
            return None
        self._handed = self.runs
        heir, work = self.leader
        work.shared, work.cache = False, self._use if work.asks_cache else None
        return heir

    def take(self, event: RunEvent) -> None:
        """Something happened in the run. Nothing does after its end."""
        if self.end is not None:
            return
        if isinstance(event, str | Delta | StepEvent):
            self._written.append(event)
            for run, _ in self._readers.values():
                run.put(event)
            return
        self.end, self.ended_at = event, time.monotonic()
        for place, (run, _) in enumerate(self._readers.values()):
            is_told = place == 0 and not (self._handed and _is_of_one(event))
            run.put(event if is_told else _for_others(event))
        self.heard = list(self._readers)
        self._readers.clear()
        self._written.clear()

    def found(self) -> None:
        """All of it was kept."""
        self._use = "hit"
        for _, work in self._readers.values():
            _follows(work)

    def hit(self, end: Made) -> None:
        """It was kept: nothing has to run."""
        self.found()
        for run, _ in self._readers.values():
            for piece in pieces(end):
                run.put(piece)
        self.take(unmeasured(end))


class Flights:
    """The runs that may be shared."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._flights: OrderedDict[_Place, Flight] = OrderedDict()
        """The newest one of each."""
        self._over: OrderedDict[_Place, Flight] = OrderedDict()
        """Those of them that have ended, the one that ended last at the end."""
        self._by_job: dict[str, Flight] = {}
        self._free: set[str] = set()
        self.desk: Desk | None = None
        """None until somebody gives slots."""

    def find(self, key: CacheKey, job_id: str, *, streams: bool, hops: int = 0) -> Flight | None:
        """One that the job may read; a job that `streams` needs one that does."""
        flight = self._flights.get((key, hops))
        if flight is None:
            return None
        if flight.end is None and flight.origin == job_id:
            return flight  # the job runs again while others read what it began: an id is in the engine once
        if flight.end is None:
            return flight if flight.streamed or not streams else None
        if self._clock() - flight.ended_at > KEPT_S or self.desk is None:
            return None
        return flight if self.desk.stored_at(job_id) < flight.ended_at - AT_ONCE_S else None

    def open(self, flight: Flight) -> None:
        """Let it be found, in place of an older one of its key."""
        self._flights[flight.place] = flight
        self._over.pop(flight.place, None)

    def join(self, flight: Flight, job_id: str, work: Work) -> Run:
        """Have a job read it; who follows gives its slot away."""
        run = flight.join(job_id, work)
        if flight.end is None:
            self._by_job[job_id] = flight
            if len(flight) > 1 and self.desk is not None and len(self._free) < FREE_LIMIT:
                self._free.add(job_id)
                self.desk.free_slot(job_id)
        return run

    def leave(self, job_id: str) -> Flight | None:
        """The job ends early. The run that nobody else reads, and is to be cancelled; None where others go on."""
        flight = self._by_job.get(job_id)
        if flight is None or flight.end is not None:
            return None
        if len(flight) == 1:
            self._close(flight)
            return flight
        heir = flight.leave(job_id)
        del self._by_job[job_id]
        if heir is not None and heir in self._free and self.desk is not None:
            self._free.discard(heir)
            self.desk.pass_slot(job_id, heir)
        self._free.discard(job_id)
        return None

    def has(self, job_id: str) -> bool:
        """Whether the job reads one."""
        return job_id in self._by_job

    def ended(self, flight: Flight) -> None:
        """Keep its end for a moment, where it may help others."""
        for job_id in flight.heard:
            if self._by_job.get(job_id) is flight:
                del self._by_job[job_id]
                self._free.discard(job_id)
        is_lasting = isinstance(flight.end, Made) and weight(flight.end) <= KEPT_WEIGHT
        if not is_lasting:
            self._close(flight)
        elif self._flights.get(flight.place) is flight:
            self._over[flight.place] = flight
        self._tidy()

    def forget(self, model: str) -> None:
        """What ran under other circumstances is found no more."""
        for place in [place for place in self._flights if place[0].model == model]:
            del self._flights[place]
            self._over.pop(place, None)

    def clear(self) -> None:
        """As `forget`, of all models."""
        self._flights.clear()
        self._over.clear()

    def _close(self, flight: Flight) -> None:
        if self._flights.get(flight.place) is flight:
            del self._flights[flight.place]
            self._over.pop(flight.place, None)

    def _tidy(self) -> None:
        """Drop what ended long ago, and the first of too many."""
        while self._over:
            key, first = next(iter(self._over.items()))
            if len(self._over) <= KEPT_RUNS and self._clock() - first.ended_at <= KEPT_S:
                return
            del self._over[key]
            self._close(first)


def _follows(work: Work) -> None:
    """Nothing is computed for it; of a cache it is told where it asks for one."""
    work.shared, work.cache = True, "hit" if work.asks_cache else None


def fly(run: Run, end: RunEnd) -> None:
    """A run that is over, as its readers hear it."""
    if isinstance(end, Made):
        for piece in pieces(end):
            run.put(piece)
    run.put(_for_others(end))


def _for_others(end: RunEnd) -> RunEnd:
    """What those hear that did not lead. What may have been the leader's affair lets them run anew."""
    if isinstance(end, EngineDied | Stopped) or _is_of_one(end):
        return EngineDied(ran=False)
    if isinstance(end, Refused):  # what it cost is on the leader's bill
        details = {k: v for k, v in end.details.items() if k != "cost_usd"}
        return msgspec.structs.replace(end, details=details, tokens_in=0, tokens_out=0)
    return unmeasured(end)


def _is_of_one(end: RunEnd) -> bool:
    """Whether it is the affair of one job alone that the run ended so."""
    return isinstance(end, Stopped) or (isinstance(end, Refused) and end.code in ITS_OWN)
