"""How does a router have a local worker answer?

A *step* is a job that a router stores straight in the model's stream, as an ingress would: with the principal, the seed
and the remaining time of the job that it is a part of, its parent. Its answer comes to an inbox of the router's. A step
that is left before its end is cancelled.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import Struct

from golek_client.assembly import TextAssembly
from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_client.inbox import Inbox, ReplyMux
from golek_client.pieces import pieces_of
from golek_client.reading import Answer, Piece, error_in, nobody_heard
from golek_client.transport import Received
from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.errors import (
    BusUnavailableError,
    DeadlineExceededError,
    InferenceServiceError,
    NoWorkersError,
    QueueFullError,
)
from golek_wire.jetstream import PubAck
from golek_wire.replies import Delta, EmbeddingReply, InferenceReply, Reply, RerankReply
from golek_wire.subjects import ANY_LANE, Kind
from golek_wire.vision import VisionReply
from golek_worker.bus.jetstream import BUS_ERRORS, MESSAGES_EXCEEDED, is_passing, stored_message
from golek_worker.job import Job, to_headers

PATIENCE_S: Final = 10.0
"""JetStream may be silent for so long (an election took 4.5 s)."""
NOBODY_S: Final = 1.0
"""A stream that is not there for so long is not between two leaders."""
RESEND_S: Final = (0.25, 0.5, 1.0, 2.0)
FULL_RETRY_MS: Final = 1000
LOOK_S: Final = 0.25
"""While nothing comes: it is looked this often whether somebody still may answer."""

SETTLE_S: Final = (0.3, 2.0)
"""So long after the connection is back it is looked whether the step still waits or runs: a worker answers a moment
before the job leaves the stream, and what it sends from then on arrives."""

_FORMS: Final[dict[Kind, type[Reply]]] = {
    "inference": InferenceReply,
    "embedding": EmbeddingReply,
    "rerank": RerankReply,
    "vision": VisionReply,
}
_decode_ack = msgspec.json.Decoder(PubAck).decode


class Started(Struct, frozen=True):
    """A worker said that it runs the step."""


class LeftError(Exception):
    """The step was taken back from a replica that ran it, and says nothing any more."""


class LostError(LeftError):
    """The step has ended, and what was said of its end came while the connection was away."""


class Wanted(Struct, frozen=True):
    """What a step is to answer."""

    model: str
    kind: Kind
    parent: Job
    payload: bytes
    """Empty where what is asked lies in the object store: the parent's own, or `body`."""
    seconds: float
    """Until the answer is of no use."""
    streamed: bool = False
    """Whether pieces are wanted."""
    lane: str = ANY_LANE
    before: str = ""
    """The text that the answer goes on from: pieces begin behind it."""
    patience_s: float = NOBODY_S
    """So long the model's worker may take to make its queue."""
    lost: Callable[[], str] = lambda: ""
    """Why nobody will answer it in time; empty while somebody may."""
    step: str = ""
    """As `Job.step` has it."""
    seed: int | None = None
    """The parent's without it."""
    body: str = ""
    """The object with a payload of its own, as `Job.body` has it."""
    queue: Kind | None = None
    """The kind of the model's queue, where that is another one."""


class Steps:
    """The steps of one router: one subscription for all their answers."""

    def __init__(self, client: BusClient) -> None:
        self._client = client
        self._mux = _Mux()

    @classmethod
    async def open(cls, client: BusClient) -> "Steps":
        """Subscribe; before that no answer arrives."""
        steps = cls(client)
        await steps._mux.listen(client)
        return steps

    def begin(self, wanted: Wanted, assembly: TextAssembly | None = None, attempts: int = 0) -> "Step":
        """A step that is stored once it is read.

        With the `assembly` of another step it writes that one's answer again: what was handed out is compared with it
        and swallowed. Its attempts count behind so many of those before.
        """
        return Step(self._client, self._mux, wanted, assembly or TextAssembly(wanted.before), attempts)

    def reconnected(self) -> None:
        """Let all who wait look again."""
        self._mux.back()


class _Mux(ReplyMux):
    """Whose messages come straight from the reader."""

    async def listen(self, client: BusClient) -> None:
        async def deliver(message: Delivery) -> None:
            await self._deliver(message)

        await client.subscribe_direct(f"{self._prefix}*", deliver)


class Step:
    """One step."""

    def __init__(self, client: BusClient, mux: ReplyMux, wanted: Wanted, assembly: TextAssembly, attempts: int) -> None:
        self._client = client
        self._mux = mux
        self._wanted = wanted
        self._assembly = assembly
        self._attempts = attempts
        self._inbox = mux.open()
        self._ended = False
        self._returns = mux.returns
        """Of the connection, when that was seen last."""
        self._looks: deque[float] = deque()
        """When to look whether the end was missed."""
        self.seq = 0
        """Of the job in its stream; 0 before it is stored."""
        self.worker = ""
        """The replica that answers, once it has said so."""
        self.cache = ""
        """What part a cache of whoever answers had in it, once it has said so."""
        self.started = False
        """Whether it runs: a worker said so, or said something of the answer."""
        self.said_started = False
        """Whether a worker said that it runs, as those of older releases do not."""
        self.heard_at = 0.0
        """When something came of it last, on the loop's clock."""
        self.is_left: Callable[[], Awaitable[bool]] | None = None
        """Asked while it runs and nothing comes: whether it was taken back."""
        self.job = self._job()

    @property
    def _queue(self) -> Kind:
        return self._wanted.queue or self._wanted.kind

    def _job(self) -> Job:
        wanted, parent, inbox = self._wanted, self._wanted.parent, self._inbox.subject
        return Job(
            job_id=subjects.job_id(inbox),
            req_id=parent.req_id,
            reply=inbox,
            stream=wanted.streamed,
            principal=parent.principal,
            seed=parent.seed if wanted.seed is None else wanted.seed,
            budget_ms=max(1, round(wanted.seconds * 1000)),
            msg_id=inbox,
            trace=parent.trace,
            priority=parent.priority,
            parts=True,
            body=wanted.body or ("" if wanted.payload else parent.body),
            parent=parent.job_id,
            asked=wanted.kind if wanted.queue not in (None, wanted.kind) else "",
            step=wanted.step,
            hops=parent.hops,
            cache=parent.cache,
        )

    async def answer(self, priority: str = "normal") -> AsyncGenerator[Started | str | Delta | Reply]:
        """Word that it runs, pieces where they are wanted, then the reply. `priority` is the class of jobs that it
        belongs to.

        Ending the iteration early cancels the step. Raises what the worker answers; QueueFullError and NoWorkersError
        where it is not stored; BusUnavailableError, DeadlineExceededError and StreamInterruptedError; LeftError once
        `is_left` says so, and LostError.
        """
        until = asyncio.get_running_loop().time() + self._wanted.seconds
        try:
            await self._store(until, priority)
            async with aclosing(self._read(until)) as events:
                async for event in events:
                    yield event
        finally:
            self._mux.forget(self._inbox.subject)
            if self.seq and not self._ended:
                await self._cancel()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of it waits to be read."""
        return self._inbox.is_empty

    def wake(self) -> None:
        """Look at once whether it is left."""
        self._inbox.wake()

    # -- storing -----------------------------------------------------------------------------------------------

    async def _store(self, until: float, priority: str) -> None:
        """Publish the job until JetStream says that it is stored; copies are dropped by their id."""
        wanted, clock = self._wanted, asyncio.get_running_loop().time
        subject = subjects.job(subjects.model_token(wanted.model), self._queue, priority, wanted.lane)
        began, patience, headers = clock(), min(until, clock() + PATIENCE_S), to_headers(self.job)
        sends, nobody = 0, False
        with self._mux.open() as acks:
            while clock() < (min(until, began + wanted.patience_s) if nobody else patience):
                await publish(self._client, subject, wanted.payload, headers, acks.subject)
                due = min(until, clock() + RESEND_S[min(sends, len(RESEND_S) - 1)])
                sends += 1
                nobody = await self._stored(acks, due)
                if self.seq:
                    if wanted.lane != ANY_LANE:  # of which the server tells nobody
                        told = subjects.stored(subjects.model_token(wanted.model), self._queue, priority, wanted.lane)
                        await publish(self._client, told, b"")
                    return
                await asyncio.sleep(max(0.0, due - clock()))
        if nobody:
            raise NoWorkersError(f"No worker of {wanted.model} has made its queue", model=wanted.model)
        raise BusUnavailableError(f"JetStream was silent for {clock() - began:.0f} s", may_run=True)

    async def _stored(self, acks: Inbox, due: float) -> bool:
        """Wait for JetStream's word until `due`; whether the server says that there is no such stream.

        Raises QueueFullError, and BusUnavailableError for another refusal.
        """
        while (message := await acks.get(due)) is not None:
            if nobody_heard(message, message.headers or {}):
                return True
            ack = _decode_ack(message.data)
            if ack.error is None:
                self.seq = ack.seq
                return False
            if ack.error.err_code == MESSAGES_EXCEEDED:
                raise QueueFullError(
                    f"The queue of {self._wanted.model} is full", model=self._wanted.model, retry_after_ms=FULL_RETRY_MS
                )
            if is_passing(ack.error):
                return False
            raise BusUnavailableError(f"JetStream refused the step: {ack.error.description}", may_run=False)
        return False

    # -- reading -----------------------------------------------------------------------------------------------

    async def _read(self, until: float) -> AsyncGenerator[Started | str | Delta | Reply]:
        wanted, clock = self._wanted, asyncio.get_running_loop().time
        answer: Answer[Reply] = Answer(_FORMS[wanted.kind])
        while True:
            message = await self._inbox.get(min(until, clock() + LOOK_S))
            if message is None:
                await self._look(until)
                continue
            had_started = self.started
            event = self._said(message, answer)
            if self.started and not had_started:
                yield Started()
            if event is None:
                continue
            for piece in self._pieces(event):
                yield piece
            if not isinstance(event, Piece):
                yield event
                return

    async def _look(self, until: float) -> None:
        """Nothing came for a while. Raises NoWorkersError, DeadlineExceededError or LeftError where nothing will."""
        wanted = self._wanted
        if why := wanted.lost():
            raise NoWorkersError(f"No worker of {wanted.model} answers: {why}", model=wanted.model)
        if asyncio.get_running_loop().time() >= until:
            seconds = f"{wanted.seconds:g} s"
            raise DeadlineExceededError(f"no answer from {wanted.model} within {seconds}", model=wanted.model)
        if self.started and self.is_left is not None and await self.is_left():
            raise LeftError
        await self._look_for_the_end()

    async def _look_for_the_end(self) -> None:
        """Where the connection was away: whether the job is still there. Raises LostError."""
        now = asyncio.get_running_loop().time()
        if self._returns != self._mux.returns:
            self._returns = self._mux.returns
            self._looks = deque(now + pause for pause in SETTLE_S)
        if not self._looks or now < self._looks[0]:
            return
        self._looks.popleft()
        stream = subjects.job_stream(subjects.model_token(self._wanted.model))
        try:
            left = await stored_message(self._client, stream, {"seq": self.seq})
        except BUS_ERRORS:
            self._looks.append(now + SETTLE_S[-1])
            return
        if left is None and self.is_quiet:
            self._ended = True
            raise LostError

    def _pieces(self, event: Piece | Reply) -> Sequence[str | Delta]:
        """What of it was not handed out before."""
        if isinstance(event, Piece):
            if self._attempts:
                event = Piece(event.attempt + self._attempts, event.chunk)
            return pieces_of(event, self._assembly)
        if self._wanted.streamed and isinstance(event, InferenceReply):
            return pieces_of(event, self._assembly)
        return ()

    def _said(self, message: Received, answer: Answer[Reply]) -> Piece | Reply | None:
        """What a message means; None when it needs no word to the caller. Raises the error that it tells of."""
        about = message.headers or {}
        self.heard_at = asyncio.get_running_loop().time()
        self.worker = about.get(h.WORKER, self.worker)
        self.cache = about.get(h.CACHE, self.cache)
        if h.STATUS in about:
            self.said_started = self.said_started or about[h.STATUS] == "started"
            self.started = self.started or self.said_started
            return None
        if h.ERROR_CODE in about:
            self._ended = True
            error = error_in(message, about)
            if "caller_gone" in error.details:  # its worker lost sight of us; nobody wanted it to end
                raise LostError
            raise error
        event = answer.said(message, about)
        self.started = self.started or event is not None
        self._ended = not (event is None or isinstance(event, Piece))
        return event

    async def _cancel(self) -> None:
        """Have it stopped where it runs, and taken out of the queue where it waits; its deadline would do both."""
        stream = subjects.job_stream(subjects.model_token(self._wanted.model))
        delete = b'{"seq":%d,"no_erase":true}' % self.seq
        try:
            await publish(self._client, subjects.cancel(self.job.job_id), b"")
            await publish(self._client, f"$JS.API.STREAM.MSG.DELETE.{stream}", delete, reply=self._inbox.subject)
        except InferenceServiceError:
            return
