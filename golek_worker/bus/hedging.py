"""What if the replica that was given a step does not begin it?

A replica says `started` as soon as a step runs. One that was given a step and has not said so within PATIENCE_S is
frozen, or cut off: the step is taken back, by deleting it from the stream, and another one is stored for another
replica. A delete that finds nothing means that the step has ended, and its answer is on its way. The new step has an
inbox of its own, so whatever the old one's replica says later goes nowhere.

On a lane, which a replica serves while it has a slot, waiting is enough. Where all replicas pull, a step may wait for
its turn: the server is asked whether it was handed out, and another replica must say that it has a slot: else all are
slow.

A step that runs is taken back as well, when nothing comes of it and its replica gives no sign of life (pulse.py), as
soon as another one has a slot; who asked notices a pause. Should the replica have been alive after all, what it had
done is done once more, and nothing else: it is told to stop, and nobody listens to it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

import msgspec
import structlog

from golek_client.assembly import TextAssembly
from golek_client.bus_client import BusClient
from golek_client.ending import end
from golek_client.resuming import asked_again
from golek_wire import subjects
from golek_wire.errors import BusUnavailableError
from golek_wire.jetstream import MESSAGE_GONE
from golek_wire.replies import Delta, Reply
from golek_wire.subjects import ANY_LANE
from golek_worker.bus.jetstream import BUS_ERRORS, JetStreamError, api
from golek_worker.bus.plain import can_go_on
from golek_worker.bus.pulse import Pulse
from golek_worker.bus.roll_call import Answered, RollCall
from golek_worker.bus.steps import LeftError, LostError, Started, Step, Steps, Wanted

log = structlog.get_logger("hedging")

PATIENCE_S: Final = 0.4
"""So long a step may take from the stream to a replica's word that it runs: usually milliseconds."""
TRIES: Final = 4
"""Places that a step may have; at the last one it stays."""
ANSWERS_S: Final = 0.25
"""For so long is waited for the replicas of a model that was never asked for its lanes."""
SEEN_S: Final = 0.25
"""So old what the server said of a consumer may be."""
ATTEMPTS: Final = 1000
"""More than one step has; those of the next one that writes the same answer count behind them."""

Choose = Callable[[str, Sequence[Answered]], str]
"""The replica for a key, by its worker id; empty where none has a free slot."""


class Hedging:
    """The steps of one router, each where it is begun."""

    def __init__(self, client: BusClient, steps: Steps, calls: RollCall, pulse: Pulse, choose: Choose) -> None:
        self._client = client
        self._steps = steps
        self._calls = calls
        self._pulse = pulse
        self._choose = choose
        self._delivered = _Delivered(client)
        self._says_started: set[str] = set()
        """Models whose workers are known to say when a step runs: those of older releases do not."""

    def begin(self, wanted: Wanted, key: str = "") -> "HedgedStep":
        """A step that is stored once it is read. With a `key` it goes to the replica for that, if one is free."""
        return HedgedStep(self, wanted, key)

    # -- places ------------------------------------------------------------------------------------------------

    def place(self, token: str, key: str, tried: set[str]) -> Answered | None:
        """The replica for a key, but for those that were tried; None where the step is everybody's."""
        lanes = [one for one in self._calls.lanes(token) if one.worker_id not in tried]
        chosen = self._choose(key, lanes)
        return next((one for one in lanes if one.worker_id == chosen), None)

    async def other_place(self, token: str, key: str, tried: set[str]) -> Answered | None:
        """The same for a step that was taken back: a replica that speaks, since one that pulls may be frozen."""
        until = time.monotonic() + ANSWERS_S
        while (found := self.place(token, key, tried)) is None and time.monotonic() < until:
            await self._calls.answered(until - time.monotonic())
        return found

    def take(self, wanted: Wanted, place: Answered | None, assembly: TextAssembly, attempts: int) -> Step:
        lane = place.lane if place is not None else ANY_LANE
        return self._steps.begin(msgspec.structs.replace(wanted, lane=lane), assembly, attempts)

    def count(self, token: str, place: Answered | None, change: int) -> None:
        if place is not None:
            self._calls.count(token, place.worker_id, change)

    # -- taking back -------------------------------------------------------------------------------------------

    async def is_taken_back(self, step: Step, wanted: Wanted, priority: str, place: Answered | None) -> bool:
        """Take a step back that was not begun in time. False where it may be on its way, or has ended."""
        token = subjects.model_token(wanted.model)
        try:
            if not await self._is_stuck(token, step, wanted, priority, place):
                return False
            await self._delete(token, step)
        except BUS_ERRORS as error:
            _kept(error)
            return False
        log.info("step.taken_back", model=wanted.model, job_id=step.job.job_id, worker=place and place.worker_id)
        if place is not None:
            self._calls.avoid(token, place.worker_id)
        return True

    async def is_left(self, step: Step, wanted: Wanted) -> bool:
        """Take a step back that runs where nobody speaks any more. False while somebody does, nobody else has a slot,
        or it has ended.
        """
        token = subjects.model_token(wanted.model)
        heard_at = step.heard_at
        if not self._pulse.is_silent(step.worker, heard_at, step.wake):
            if self._pulse.is_in_doubt(step.worker):
                self._calls.lanes(token)  # who else is there is asked meanwhile
            return False
        self._calls.avoid(token, step.worker)
        try:
            if await self.other_place(token, step.job.parent, {step.worker}) is None or not step.is_quiet:
                return False
            await self._delete(token, step)
        except BUS_ERRORS as error:
            _kept(error)
            return False
        log.info("step.left", model=wanted.model, job_id=step.job.job_id, worker=step.worker)
        return True

    async def _delete(self, token: str, step: Step) -> None:
        """Out of the stream. Raises as `api` does."""
        delete = {"seq": step.seq, "no_erase": True}
        await api(self._client, f"STREAM.MSG.DELETE.{subjects.job_stream(token)}", delete)

    async def _is_stuck(self, token: str, step: Step, wanted: Wanted, priority: str, place: Answered | None) -> bool:
        """Whether somebody has the step, or should, who does not begin it. Raises as `api` does."""
        if place is None:
            if token not in self._says_started:
                return False
            consumer = subjects.consumer(token, wanted.kind, priority)
            if step.seq > await self._delivered.newest(token, consumer):
                return False
            if await self.other_place(token, step.job.job_id, set()) is None:
                return False
        return not step.started

    def began(self, token: str, step: Step) -> None:
        """A step came to an end, or to its first piece."""
        if step.said_started:
            self._says_started.add(token)


class HedgedStep:
    """One step, at one place after the other until it is begun, and again where its replica says nothing any more."""

    def __init__(self, hedging: Hedging, wanted: Wanted, key: str) -> None:
        self._hedging = hedging
        self._wanted = wanted
        self._key = key
        self._token = subjects.model_token(wanted.model)
        self._step: Step | None = None
        self._assembly = TextAssembly(wanted.before)
        """What was handed out."""
        self._attempts = 0

    @property
    def worker(self) -> str:
        """The replica that answers, once it has said so."""
        return self._step.worker if self._step is not None else ""

    @property
    def cache(self) -> str:
        """What part a cache of whoever answers had in it, once it has said so."""
        return self._step.cache if self._step is not None else ""

    async def answer(self, priority: str = "normal") -> AsyncGenerator[Started | str | Delta | Reply]:
        """As `Step.answer`, whose errors it raises."""
        hedging, tried, clock = self._hedging, set[str](), asyncio.get_running_loop().time
        until = clock() + self._wanted.seconds
        place = hedging.place(self._token, self._key, tried) if self._key else None
        for left in reversed(range(TRIES)):
            step = self._begin(place, until - clock(), may_move=left > 0)
            hedging.count(self._token, place, 1)
            try:
                async with aclosing(step.answer(priority)) as events:
                    first = await self._first(step, events, priority, place, may_move=left > 0)
                    if first is not None:
                        yield first
                        async for event in events:
                            yield event
                        return
            except LostError:  # its replica did nothing wrong
                log.info("step.lost", model=self._wanted.model, job_id=step.job.job_id)
                self._go_on(until - clock())
                place = None
                continue
            except LeftError:
                self._go_on(until - clock())
            finally:
                hedging.count(self._token, place, -1)
            tried.update(one for one in (step.worker, place.worker_id if place is not None else "") if one)
            place = await hedging.other_place(self._token, self._key or step.job.parent, tried)
        raise BusUnavailableError(f"The connection broke {TRIES} times while {self._wanted.model} answered")

    def _begin(self, place: Answered | None, seconds: float, *, may_move: bool) -> Step:
        wanted = self._wanted = msgspec.structs.replace(self._wanted, seconds=max(0.0, seconds))
        step = self._step = self._hedging.take(wanted, place, self._assembly, self._attempts)
        if may_move:
            step.is_left = partial(self._hedging.is_left, step, wanted)
        return step

    def _go_on(self, seconds: float) -> None:
        """The next step's answer follows what was handed out: behind a plain text, else by writing all of it again."""
        wanted, assembly = self._wanted, self._assembly
        if not assembly.grew:
            return
        if assembly.obstacle is None and not assembly.reasoning and can_go_on(wanted.payload):
            payload = asked_again(wanted.payload, assembly.text, seconds)
            self._wanted = msgspec.structs.replace(wanted, payload=payload, before=assembly.text)
            self._assembly, self._attempts = TextAssembly(assembly.text), 0
        else:
            self._attempts += ATTEMPTS

    async def _first(
        self,
        step: Step,
        events: AsyncGenerator[Started | str | Delta | Reply],
        priority: str,
        place: Answered | None,
        *,
        may_move: bool,
    ) -> Started | str | Delta | Reply | None:
        """The first event of a step; None when it was taken back."""
        coming = asyncio.ensure_future(anext(events))
        try:
            while may_move and not coming.done() and not step.started:
                await asyncio.wait((coming,), timeout=PATIENCE_S)
                if coming.done() or step.started or not step.seq:
                    continue
                if await self._hedging.is_taken_back(step, self._wanted, priority, place):
                    return None
            event = await coming
            self._hedging.began(self._token, step)
            return event
        finally:
            await end(coming)


def _kept(error: Exception) -> None:
    """A step was not taken back."""
    if not (isinstance(error, JetStreamError) and error.code in MESSAGE_GONE):
        log.debug("step.kept", problem=str(error) or type(error).__name__)


class _Delivered:
    """Up to where consumers handed out jobs: one question at a time and consumer, however many wait for the answer."""

    def __init__(self, client: BusClient) -> None:
        self._client = client
        self._seen: dict[str, tuple[float, asyncio.Task[int]]] = {}

    async def newest(self, token: str, consumer: str) -> int:
        """The newest sequence that was handed out. Raises as `api` does."""
        asked_at, asking = self._seen.get(consumer, (0.0, None))
        if asking is None or (asking.done() and time.monotonic() - asked_at > SEEN_S):
            asking = asyncio.ensure_future(self._ask(token, consumer))
            self._seen[consumer] = (time.monotonic(), asking)
        return await asyncio.shield(asking)

    async def _ask(self, token: str, consumer: str) -> int:
        info = await api(self._client, f"CONSUMER.INFO.{subjects.job_stream(token)}.{consumer}")
        return int(info["delivered"]["stream_seq"])
