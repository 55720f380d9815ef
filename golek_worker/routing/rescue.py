"""Who answers jobs that lie in the queue of a model in trouble?

A router looks at the models for which others may answer. Of one without workers it takes all jobs, of one with a queue
that is too long, or where jobs run out of time, those that are too many; it stops as soon as the model is well. What it
takes it serves like its own jobs, by other targets than the model. Steps are left to the routers that wait for them:
whose they are part of may be kept from those who could answer for the model, and has a budget that a step does not
know. To the workers of these models it says meanwhile that its own queue takes what theirs has no room for.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec
import structlog

from golek_client.bus_client import BusClient
from golek_client.fleet import ModelState
from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.errors import BusUnavailableError
from golek_wire.helping import HELP_EVERY_S, Help
from golek_wire.signals import ModelRecord
from golek_wire.subjects import Kind
from golek_worker.bus.helping import hear_wishes, offer_help
from golek_worker.bus.jetstream import BUS_ERRORS, ServerClock, stored_message
from golek_worker.bus.lease import Lease
from golek_worker.bus.queue import Queue
from golek_worker.bus.taking import Taker
from golek_worker.router import trouble
from golek_worker.router.trouble import Line, Pace

log = structlog.get_logger("rescue")

LOOK_S: Final = 0.5
"""Models are looked at this often."""
IDLE_LOOK_S: Final = 1.0
"""A model that says that nothing waits is looked at this often …"""
IDLE_LOOKS: Final = 64
"""… and at most so many of these at once."""
REMEMBERED_S: Final = 120.0
"""Jobs have ended, or are past their usual deadline, after this time."""
TAKEN_LIMIT: Final = 1024
"""Jobs of other queues that are served at once."""
AT_ONCE: Final = 64
"""In one pull: another router, or a worker that comes back, shall find some, too."""
PAUSE_S: Final = 1.0
"""After a job had to be given back its model is left alone for so long; a step is not taken again sooner."""


class Knows(Protocol):
    """What a router knows of the models (deciding.py)."""

    def helped(self) -> Iterable[ModelState]:
        """The fleet's own models for which others may answer."""

    def may_leave(self, model: str) -> bool:
        """Whether others may answer for a model, by its name or token."""

    def may_answer(self, kind: Kind, model: str) -> bool:
        """Whether anybody else could answer a request for this model just now."""

    def gone(self, model: str) -> str:
        """Why nobody answers for it; has replicas asked that were not heard lately."""


class Form(Protocol):
    """How a model's stream is made (bus/queues.py)."""

    @property
    def capacity(self) -> int: ...
    @property
    def strategy(self) -> str: ...


class _Patient:
    """A model that is looked at."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.pace = Pace()
        self.taken = 0
        """Its jobs that are served here."""
        self.taken_ever = 0
        self.rests_until = 0.0
        self.is_helped = False


class Rescue:
    """One router's help for models in trouble."""

    def __init__(
        self,
        client: BusClient,
        clock: ServerClock,
        offer: Help,
        knows: Knows,
        form: "FindForm",
        take: Callable[[Lease], None],
        spill: float,
    ) -> None:
        """`form` finds how the stream of a token is made; `take` serves a lease; `spill` is the part of a queue from
        which on others may answer.
        """
        self._client = client
        self._clock = clock
        self._offer = offer
        self._knows = knows
        self._form = form
        self._take = take
        self._spill = spill
        self._taker = Taker(client, clock)
        self._offers = True
        self._patients: dict[tuple[str, Kind], _Patient] = {}
        self._looked_at: dict[str, float] = {}
        self._seen: dict[str, tuple[float, ModelRecord | None]] = {}
        """When each model was last known, and its record."""

    @property
    def taken(self) -> int:
        """Jobs of other queues that are served now."""
        return sum(patient.taken for patient in self._patients.values())

    def leave(self) -> None:
        """Offer no more help."""
        self._offers = False

    async def run(self) -> None:
        """Help, for as long as the router lives. While the bus is away nobody is helped."""
        await hear_wishes(self._client, self._answer_wish)
        offered_at, offered = -math.inf, set[str]()
        while True:
            try:
                helped = self._helped()
                tokens = {subjects.model_token(model.name) for model in helped}
                if self._offers and (time.monotonic() - offered_at >= HELP_EVERY_S or tokens - offered):
                    await offer_help(self._client, tokens, self._offer)
                    offered_at, offered = time.monotonic(), tokens
                await asyncio.gather(*(self._look_after(model) for model in self._due(helped)))
            except BUS_ERRORS as error:
                log.debug("rescue.failed", problem=str(error) or type(error).__name__)
            await asyncio.sleep(LOOK_S)

    def _helped(self) -> list[ModelState]:
        """The models that may need help; one of which nothing is heard any more is without workers for a while."""
        now = time.monotonic()
        models = {model.name: model for model in self._knows.helped() if model.name != self._offer.model}
        for name, model in models.items():
            self._seen[name] = now, model.record
        self._seen = {name: seen for name, seen in self._seen.items() if now - seen[0] < REMEMBERED_S}
        gone = [ModelState(name, record, []) for name, (_, record) in self._seen.items() if name not in models]
        return [*models.values(), *gone]

    async def _answer_wish(self, token: str) -> None:
        if self._offers and self._knows.may_leave(token):
            with contextlib.suppress(BusUnavailableError):
                await offer_help(self._client, [token], self._offer)

    def _due(self, helped: list[ModelState]) -> list[ModelState]:
        """Models to look at now: those that say that something waits or runs, that are in trouble already, or were not
        looked at for a while; a worker that died before it could say so says nothing.
        """
        now = time.monotonic()
        due = [model for model in helped if now - self._looked_at.get(model.name, -math.inf) >= IDLE_LOOK_S]
        due.sort(key=lambda model: self._looked_at.get(model.name, -math.inf))
        return [model for model in helped if _is_busy(model)] + [one for one in due if not _is_busy(one)][:IDLE_LOOKS]

    async def _look_after(self, model: ModelState) -> None:
        """Take what is too much for the model. Raises as the bus does."""
        self._looked_at[model.name] = time.monotonic()
        for kind in subjects.SERVED:
            if model.record is None or kind == model.record.own_kind:
                await self._help(model, kind)

    async def _help(self, model: ModelState, kind: Kind) -> None:
        patient = await self._patient(model.name, kind)
        if patient is None or time.monotonic() < patient.rests_until or not self._knows.may_answer(kind, model.name):
            return
        queue = patient.queue
        await queue.look(LOOK_S)
        if queue.view.pending or queue.view.unacked > patient.taken:
            self._knows.gone(model.name)  # has those asked that are silent
        count = trouble.excess(await self._line(model, queue, kind), self._spill)
        if bool(count) != patient.is_helped:
            patient.is_helped = bool(count)
            log.info("rescue.begins" if count else "rescue.ends", model=model.name, kind=kind, state=model.status)
        # Those of a worker that is gone are in no count: they are there when a pull finds them.
        steps = list[Lease]()

        def serve(lease: Lease) -> None:
            if lease.job.parent:
                steps.append(lease)
            else:
                self._serve(patient, lease, kind, model.name)

        taken = room = 0
        while taken == room and count > 0 and (room := min(AT_ONCE, count, TAKEN_LIMIT - self.taken)) > 0:
            taken = await self._taker.take(subjects.model_token(model.name), kind, queue.classes, room, serve)
            count -= taken
        for lease in steps:  # not before the others were found behind them
            await lease.nak(PAUSE_S)

    def _serve(self, patient: _Patient, lease: Lease, kind: Kind, model: str) -> None:
        """Have others answer, as if the job had been stored in the router's own queue."""
        patient.taken += 1
        patient.taken_ever += 1
        asked = f"{lease.job.asked_kind or kind} {model}"
        lease.job = msgspec.structs.replace(lease.job, asked=asked, hops=lease.job.hops + 1, taken=True)

        def ended(again: bool) -> None:
            patient.taken -= 1
            if again:
                patient.rests_until = time.monotonic() + PAUSE_S

        lease.on_end = ended
        self._take(lease)

    async def _patient(self, model: str, kind: Kind) -> _Patient | None:
        token = subjects.model_token(model)
        known = self._patients.get((token, kind))
        if known is None:
            form = await self._form(token)
            if form is None:
                return None
            queue = Queue(self._client, token, kind, form.strategy, form.capacity, self._clock)
            known = self._patients[token, kind] = _Patient(queue)
        return known

    async def _line(self, model: ModelState, queue: Queue, kind: Kind) -> Line:
        view, patient = queue.view, self._patients[subjects.model_token(model.name), kind]
        started = sum(seen.starts for seen in view.seen) - patient.taken_ever
        left_s, budget_s = await self._head(model.name, queue, kind) if view.pending else (math.inf, 0.0)
        return Line(
            pending=view.pending,
            unacked=max(0, view.unacked - patient.taken),
            capacity=queue.capacity,
            in_rotation=model.in_rotation,
            is_coming=model.is_coming,
            rate=patient.pace.observe(view.at, started, view.pending),
            slots=model.slots,
            head_left_s=left_s,
            head_budget_s=budget_s,
        )

    async def _head(self, model: str, queue: Queue, kind: Kind) -> tuple[float, float]:
        """Seconds that are left to the next job in line, and what it had: of the class where that is least."""
        least = (math.inf, 0.0)
        token = subjects.model_token(model)
        for name, seen in zip(queue.classes, queue.view.seen, strict=True):
            if not seen.pending:
                continue
            query = {"seq": seen.delivered + 1, "next_by_subj": subjects.job(token, kind, name)}
            found = await stored_message(self._client, subjects.job_stream(token), query)
            if found is None:
                continue
            budget_s = int(found.headers.get(h.BUDGET_MS, "0")) / 1000
            age_s = self._clock.now() - found.stored_at
            least = min(least, (budget_s - age_s, budget_s))
        return least


class FindForm(Protocol):
    """Finds how a stream is made; None where there is none."""

    async def __call__(self, token: str) -> Form | None: ...


def _is_busy(model: ModelState) -> bool:
    """Whether anything waits by what is known, or may come back from a worker that is gone."""
    return model.pending > 0 or model.active > 0 or not model.in_rotation
