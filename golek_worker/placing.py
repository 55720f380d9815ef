"""Whither with a request that a router took?

Into the stream of the model that it names, as that model's own workers would put it there; into the router's own, where
the name stands for several, or the model is in trouble and others may answer for it; or back to its caller, at once,
where nobody can. Decided of what is in memory.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import structlog

from golek_client.bus_client import BusClient, Delivery
from golek_client.discovery import another_kind
from golek_client.fleet import ModelState
from golek_wire import codec, subjects
from golek_wire.errors import (
    STATUS,
    BusUnavailableError,
    InferenceServiceError,
    InternalError,
    ModelLoadingError,
)
from golek_wire.subjects import Kind
from golek_worker.bus.identity import Callers
from golek_worker.bus.ingress import Ingress
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.queues import Forms
from golek_worker.bus.replies import send_error
from golek_worker.deciding import Meaning
from golek_worker.traffic import Tally

log = structlog.get_logger("placing")

IDLE_S: Final = 5.0
"""A door that has had nothing to look after for so long is left alone until the next request."""
WAITING_LIMIT: Final = 4096
"""Requests that may wait for doors to be made."""
DOORS_LIMIT: Final = 4096
LOADING_RETRY_MS: Final = 1000


class Knows(Protocol):
    """What names mean, and how the fleet is (deciding.py)."""

    def meaning(self, name: str) -> Meaning | None: ...
    def model(self, name: str) -> ModelState | None: ...
    def unknown(self, name: str) -> InferenceServiceError: ...
    def gone(self, model: ModelState) -> InferenceServiceError | None: ...


class Make(Protocol):
    """Makes an ingress for a model's own stream, of this form; or, without one, for the router's."""

    def __call__(self, kind: Kind, model: str, capacity: int, strategy: str) -> Ingress: ...


class Door:
    """One ingress, looked after while it has something to do."""

    def __init__(self, ingress: Ingress) -> None:
        self.ingress = ingress
        self._task: asyncio.Task[Any] | None = None
        self._used_at = 0.0

    async def take(self, message: Delivery) -> None:
        self._used_at = time.monotonic()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self.ingress.run())
        await self.ingress.take(message)

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
        tally: Tally,
    ) -> None:
        """`through` makes the ingress of a model's own stream, `own` that of the router's, for one kind and name."""
        self._client = client
        self._callers = callers
        self._knows = knows
        self._forms = forms
        self._through = through
        self._own = own
        self._tally = tally
        self._doors: dict[tuple[Kind, str, bool], Door] = {}
        self._making: dict[tuple[Kind, str, bool], asyncio.Task[None]] = {}
        self._waiting: dict[tuple[Kind, str, bool], list[Delivery]] = {}
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
        """Let doors rest that have nothing to do, for as long as the worker lives."""
        while True:
            await asyncio.sleep(1.0)
            for door in list(self._doors.values()):
                door.rest(time.monotonic())

    async def stop(self) -> None:
        """Take no more requests; those already received are still stored."""
        taken, self._subscriptions = self._subscriptions, []
        await asyncio.gather(*(self._client.withdraw(one) for one in taken))
        await asyncio.gather(*self._making.values(), return_exceptions=True)
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
            key = self._place(kind, name)
        except InferenceServiceError as error:
            await self._refuse(message, error)
            return
        door = self._doors.get(key)
        if door is not None:
            await door.take(message)
            return
        waiting = self._waiting.setdefault(key, [])
        if len(waiting) >= WAITING_LIMIT or len(self._doors) >= DOORS_LIMIT:
            await self._refuse(message, BusUnavailableError("too many requests wait for their queues", may_run=False))
            return
        waiting.append(message)
        if key not in self._making:
            task = self._making[key] = asyncio.get_running_loop().create_task(self._make(key))
            task.add_done_callback(lambda _: self._making.pop(key, None))

    def _place(self, kind: Kind, name: str) -> tuple[Kind, str, bool]:
        """Kind, model, and whether the router's own stream takes it. Raises the error for who cannot be placed.

        1. a name that nobody knows 2. one that stands for several 3. a model of another kind 4. one that takes requests
        5. one in trouble for which others may answer 6. one that is expected back, or not
        """
        meaning = self._knows.meaning(name)
        if meaning is None:
            raise self._knows.unknown(name)  # 1
        if meaning.sort == "virtual":
            return kind, name, True  # 2
        model = self._knows.model(meaning.model)
        if model is None:
            if meaning.may_leave:
                return kind, name, True
            raise self._knows.unknown(name)
        if model.record is not None and model.record.kinds and kind not in model.record.kinds:
            raise another_kind(model.record, kind)  # 3
        if model.in_rotation:
            return kind, model.name, False  # 4
        if meaning.may_leave:
            return kind, model.name, True  # 5
        if (gone := self._knows.gone(model)) is not None:
            raise gone
        return kind, model.name, False  # 6

    async def _make(self, key: tuple[Kind, str, bool]) -> None:
        """Make a door, and bring there what waits for it."""
        kind, name, is_own = key
        error: InferenceServiceError | None = None
        try:
            ingress = self._own(kind, name) if is_own else await self._of(kind, name)
            await ingress.open()
        except InferenceServiceError as failed:
            error = failed
        except BUS_ERRORS as failed:
            error = BusUnavailableError(f"the queue of {name} could not be looked up: {failed}", may_run=False)
        except Exception:
            log.exception("door.failed", model=name)
            error = InternalError("The router could not make a way to this model; its log says why")
        else:
            self._doors[key] = Door(ingress)
        for message in self._waiting.pop(key, []):
            if error is not None:
                await self._refuse(message, error)
            else:
                await self._doors[key].take(message)

    async def _of(self, kind: Kind, model: str) -> Ingress:
        """The ingress of a model's own stream. Raises ModelLoadingError before its worker made that."""
        form = await self._forms.find(subjects.model_token(model))
        if form is None:
            raise ModelLoadingError(
                f"{model} has no queue yet: its worker makes it once it has the model's file",
                model=model,
                retry_after_ms=LOADING_RETRY_MS,
            )
        return self._through(kind, model, form.capacity, form.strategy)

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
