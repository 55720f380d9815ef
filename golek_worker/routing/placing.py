"""Whither with a request that a router took?

Into the stream of the model that it names, as that model's own workers would put it there; into the router's own, where
the name stands for several, several models shall answer, or the model is in trouble and others may answer for it; or
back to its caller, at once, where nobody can. Decided of what is in memory.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import structlog

from golek_client.bus_client import BusClient, Delivery
from golek_client.discovery import another_kind, may_do
from golek_client.fleet import ModelState
from golek_wire import codec, several, subjects
from golek_wire import headers as h
from golek_wire.errors import (
    STATUS,
    BusUnavailableError,
    InferenceServiceError,
    InternalError,
    ModelNotFoundError,
    NoWorkersError,
    UnauthorizedError,
)
from golek_wire.routing import AUTO
from golek_wire.signals import ModelRecord
from golek_wire.subjects import Kind
from golek_worker.bus.identity import Callers
from golek_worker.bus.ingress import Ingress
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.queues import Forms
from golek_worker.bus.replies import send_error
from golek_worker.router.standing import Standing
from golek_worker.router.table import Plan
from golek_worker.traffic import Tally

log = structlog.get_logger("placing")

IDLE_S: Final = 5.0
"""A door that has had nothing to look after for so long is left alone until the next request."""
QUEUE_S: Final = 1.0
LEFT_S: Final = 0.25
"""So often it is looked whether models have left for which requests wait."""
HEARD_S: Final = 1.0
"""It is known within this time that a model left, where its worker could say so."""
WAITING_LIMIT: Final = 4096
"""Requests that may wait for doors to be made."""
DOORS_LIMIT: Final = 4096
LOOKS_LIMIT: Final = 256
"""Records looked up at once; what is beyond that is not known."""
LOOK_S: Final = 1.0


Way = tuple[Kind, str, bool]
"""Kind, model, and whether the router's own stream takes it."""


class Knows(Protocol):
    """What names mean, and how the fleet is (deciding.py)."""

    def plan(self, name: str) -> Plan | None: ...
    def model(self, name: str) -> ModelState | None: ...
    def standing(self, model: str) -> Standing | None: ...
    def may_leave(self, model: str) -> bool: ...
    def served_at(self, subject: str) -> str | None: ...
    def learn(self, record: ModelRecord) -> None: ...
    def stricter(self, model: str) -> str: ...
    def has_left(self, model: str) -> bool: ...
    def refusal(self, kind: Kind, name: str) -> InferenceServiceError | None: ...


class Make(Protocol):
    """Makes an ingress for a model's own stream, of this form; or, without one, for the router's."""

    def __call__(self, kind: Kind, model: str, capacity: int, strategy: str) -> Ingress: ...


class Door:
    """One ingress, looked after while it has something to do."""

    def __init__(self, ingress: Ingress) -> None:
        self.ingress = ingress
        self._task: asyncio.Task[Any] | None = None
        self._used_at = 0.0
        self.up_at = -math.inf
        """When its model was last known to take requests."""

    async def take(self, message: Delivery) -> None:
        self._used_at = time.monotonic()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._look_after())
        await self.ingress.take(message)

    async def _look_after(self) -> None:
        await asyncio.gather(self.ingress.run(), self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(QUEUE_S)
            with contextlib.suppress(*BUS_ERRORS):  # the next look follows
                await self.ingress.look()

    def rest(self, now: float) -> None:
        """Stop looking after what is not there. Raises what looking after it ended in."""
        if self._task is None:
            return
        if self._task.done():
            self._task.result()
        if self.ingress.is_idle and now - self._used_at > IDLE_S:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Placing:
    """All requests of the fleet, as far as the server gives them to this router."""

    def __init__(
        self,
        client: BusClient,
        callers: Callers,
        knows: Knows,
        forms: Forms,
        through: Make,
        own: Callable[[Kind, str], Ingress],
        find: Callable[[str], Awaitable[ModelRecord | None]],
        tally: Tally,
    ) -> None:
        """`through` makes the ingress of a model's own stream, `own` that of the router's, for one kind and name;
        `find` looks up a model's record.
        """
        self._find = find
        self._looking: set[asyncio.Task[None]] = set()
        self._client = client
        self._callers = callers
        self._knows = knows
        self._forms = forms
        self._through = through
        self._own = own
        self._tally = tally
        self._doors: dict[Way, Door] = {}
        self._making: dict[Way, asyncio.Task[None]] = {}
        self._waiting: dict[Way, list[Delivery]] = {}
        self._subscriptions: list[Any] = []

    @property
    def unanswered(self) -> int:
        """Requests that were stored here and of which no answer is known."""
        return sum(door.ingress.unanswered for door in self._doors.values())

    async def start(self) -> None:
        """Subscribe all requests, in the group of those who serve one model."""
        for kind in subjects.SERVED:
            for subject in (subjects.request(">", kind), subjects.submit(">", kind)):
                taking = await self._client.subscribe_direct(subject, self._on_request, subjects.QUEUE_GROUP)
                self._subscriptions.append(taking)

    async def run(self) -> None:
        """Look after doors: let those rest that have nothing to do, end what nobody will take. For as long as the
        worker lives.
        """
        while True:
            await asyncio.sleep(LEFT_S)
            now = time.monotonic()
            for way, door in list(self._doors.items()):
                self._give_up(way, door, now)
                door.rest(now)

    def _give_up(self, way: Way, door: Door, now: float) -> None:
        """What came after the last worker of a model had gone, and before that was heard, is answered at once. What
        waited for that worker already waits for the next one.
        """
        kind, name, is_own = way
        if is_own:
            return
        standing = self._knows.standing(name)
        if standing is not None and standing.state.up:
            door.up_at = now
        elif door.ingress.unanswered and self._knows.has_left(name) and not self._knows.may_leave(name):
            gone = self._knows.refusal(kind, name) or NoWorkersError(f"No worker serves {name}", model=name)
            door.ingress.give_up(door.up_at - HEARD_S, gone)

    async def stop(self) -> None:
        """Take no more requests; those already received are still stored."""
        taken, self._subscriptions = self._subscriptions, []
        await asyncio.gather(*(self._client.withdraw(one) for one in taken))
        await asyncio.gather(*self._making.values(), *self._looking, return_exceptions=True)
        await asyncio.gather(*(door.ingress.stop() for door in self._doors.values()))

    async def leave(self) -> None:
        """Tell those who still wait here to ask again: this worker ends."""
        await asyncio.gather(*(door.ingress.leave() for door in self._doors.values()))
        await asyncio.gather(*(door.close() for door in self._doors.values()))

    def cancel(self, job_id: str) -> None:
        """As `Ingress.cancel`, of all."""
        for door in self._doors.values():
            door.ingress.cancel(job_id)

    async def _on_request(self, message: Delivery) -> None:
        """Find the door of one request, and bring it there."""
        kind, name = _read(message.subject)
        try:
            way = self._place(kind, name, message)
        except ModelNotFoundError as error:
            self._look_up(message, kind, name, error)
        except InferenceServiceError as error:
            await self._refuse(message, error)
        else:
            await self._bring(message, way)

    async def _bring(self, message: Delivery, way: Way) -> None:
        """Give a request to a door, or have it wait until there is one."""
        door = self._doors.get(way)
        if door is not None:
            await door.take(message)
            return
        waiting = self._waiting.setdefault(way, [])
        if len(waiting) >= WAITING_LIMIT or len(self._doors) >= DOORS_LIMIT:
            await self._refuse(message, BusUnavailableError("too many requests wait for their queues", may_run=False))
            return
        waiting.append(message)
        if way not in self._making:
            self._making[way] = asyncio.get_running_loop().create_task(self._make(way))

    def _place(self, kind: Kind, name: str, message: Delivery) -> Way:
        """Kind, model, and whether the router's own stream takes it. Raises the error for who cannot be placed.

        1. A name that nobody knows, unless a model takes requests at that subject. 2. One that stands for several.
        3. A model of another kind. None of these where their own workers, or other routers, want more of who asks.
        4. A request that several models answer. 5. One for which others may answer: they are asked first, or it is in
        trouble; or the request is for it alone, and others would answer what waits in its own stream. 6. One that takes
        requests, or is expected back. 7. One that is gone.
        """
        plan = self._knows.plan(name)
        if plan is None:
            if (at := self._knows.served_at(message.subject)) is not None:
                self._refuse_lax(at, message)
                return kind, at, False
            raise self._knows.refusal(kind, name) or ModelNotFoundError(f"No model {name!r} is known")  # 1
        if plan.sort != "model":
            self._refuse_lax(AUTO, message)
            return kind, name, True  # 2
        model, standing = self._knows.model(plan.name), self._knows.standing(plan.name)
        record = model.record if model is not None else None
        if record is not None and not may_do(record, kind):
            raise another_kind(record, kind)  # 3
        self._refuse_lax(plan.name, message)
        if kind == "inference" and several.is_asked_in(message.data):
            return kind, name, True  # 4
        if self._knows.may_leave(plan.name):  # 5
            if plan.policy == "local_only":
                return kind, name, True
            if plan.policy == "cloud_first" or standing is None or standing.trouble or standing.crowded:
                return kind, plan.name, True
        if standing is None or standing.trouble:  # 7
            raise self._knows.refusal(kind, name) or NoWorkersError(f"No worker serves {plan.name}", model=plan.name)
        return kind, plan.name, False  # 6

    def _refuse_lax(self, model: str, message: Delivery) -> None:
        """Who is refused by the model's own workers is not let in here: who says nothing of itself is told that, others
        may ask again, and find one of these. Raises UnauthorizedError or NoWorkersError.
        """
        if not (said := self._knows.stricter(model)):
            return
        given = message.headers or {}
        if h.AUTHORIZATION in given or h.REQUEST_INFO in given:
            raise NoWorkersError(f"Asked of a router that may not let anybody in: {said}", model=model)
        raise UnauthorizedError(f"Nobody says who asks: {said}")

    def _look_up(self, message: Delivery, kind: Kind, name: str, error: ModelNotFoundError) -> None:
        """A model may have begun to take requests a moment before it was heard of: its record says so."""
        if len(self._looking) >= LOOKS_LIMIT:
            looking = self._refuse(message, error)
        else:
            looking = self._looked_up(message, kind, name, error)
        task = asyncio.get_running_loop().create_task(looking)
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _looked_up(self, message: Delivery, kind: Kind, name: str, error: InferenceServiceError) -> None:
        record = None
        with contextlib.suppress(InferenceServiceError, TimeoutError):
            async with asyncio.timeout(LOOK_S):
                record = await self._find(name)
        if record is None or name not in subjects.spellings(record.name):
            await self._refuse(message, error)
            return
        self._knows.learn(record)
        try:
            way = self._place(kind, name, message)
        except InferenceServiceError as left:
            await self._refuse(message, left)
        else:
            await self._bring(message, way)

    async def _make(self, way: Way) -> None:
        """Make a door, and bring there what waits for it, also what comes meanwhile."""
        kind, name, _ = way
        try:
            error = await self._open(way)
            while waiting := self._waiting.pop(way, None):
                for message in waiting:
                    if error is not None:
                        await self._refuse(message, error)
                    elif way in self._doors:
                        await self._doors[way].take(message)
                    else:  # its worker has not made its queue yet: the router's own keeps what comes
                        await self._bring(message, (kind, name, True))
        finally:
            del self._making[way]

    async def _open(self, way: Way) -> InferenceServiceError | None:
        """Make a door, unless the model has no queue; the error where that fails."""
        kind, name, is_own = way
        try:
            if not is_own:
                await self._check_kind(kind, name)
            ingress = self._own(kind, name) if is_own else await self._of(kind, name)
            if ingress is None:
                return None
            await ingress.open()
            await ingress.look()
        except InferenceServiceError as failed:
            return failed
        except BUS_ERRORS as failed:
            return BusUnavailableError(f"the queue of {name} could not be looked up: {failed}", may_run=False)
        except Exception:
            log.exception("door.failed", model=name)
            return InternalError("The router could not make a way to this model; its log says why")
        self._doors[way] = Door(ingress)
        return None

    async def _check_kind(self, kind: Kind, name: str) -> None:
        """A model that was heard of a moment ago says in its record what it does. Raises as `_place`, and as the bus
        does.
        """
        model = self._knows.model(name)
        if model is not None and model.record is not None:
            return  # `_place` has seen it
        record = await self._find(name)
        if record is None:
            return
        self._knows.learn(record)
        if not may_do(record, kind):
            raise another_kind(record, kind)
        if said := self._knows.stricter(name):
            raise NoWorkersError(f"Asked of a router that may not let anybody in: {said}", model=name)

    async def _of(self, kind: Kind, model: str) -> Ingress | None:
        """The ingress of a model's own stream; None where there is none."""
        form = await self._forms.find(subjects.model_token(model))
        return None if form is None else self._through(kind, model, form.capacity, form.strategy)

    async def _refuse(self, message: Delivery, error: InferenceServiceError) -> None:
        if message.reply and not self._callers.may_answer(message.reply):
            log.warning("request.refused", reason="reply subject is not an inbox", reply=message.reply[:64])
            return
        self._tally.refuse(STATUS[error.code].nats)
        req_id, stream = codec.label_of(message.data)
        stream = stream and message.subject.startswith(subjects.request(""))
        await send_error(self._client, message.reply, req_id, error, stream=stream)


def _read(subject: str) -> tuple[Kind, str]:
    """Kind and name of a request's or a submit's subject."""
    family, _, rest = subject.partition(".")
    kind = next(kind for kind in subjects.SERVED if kind == family)
    return kind, rest.partition(".")[2]
