"""How is an answer read while it is written?

async with client.stream("qwen3-4b", "Tell me a story") as stream:
    async for delta in stream:
        print(delta, end="")
print(stream.reply.tokens_out)

Of a model that thinks or calls tools, `pieces` gives all that it writes:

    async for piece in client.stream("qwen3-4b", "Tell me a story").pieces():
        print(piece.reasoning_content, piece.text, piece.tool_calls)
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from golek_client.assembly import TextAssembly
from golek_client.kept import is_resumable
from golek_client.leaving import PATIENCE_S
from golek_client.pieces import Outcome, Pieces, pieces_of
from golek_client.reading import Piece
from golek_client.resuming import Resuming, asked_again, begun_with, texts_of
from golek_wire.errors import InferenceServiceError
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Allowances, Delta, InferenceReply, Queued


class Read(Protocol):
    """What a stream reads: one request, from entering until its reply, as `Exchange` has it."""

    @property
    def job_id(self) -> str: ...
    @property
    def worker(self) -> str: ...
    @property
    def cache(self) -> str: ...
    @property
    def principal(self) -> str | None: ...
    @property
    def allowances(self) -> Allowances | None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def next(self) -> Piece | Queued | StepEvent | InferenceReply:
        """What comes next, the reply last. Raises InferenceServiceError."""
        ...

    async def leave(self, patience_s: float, stop: Callable[[], Awaitable[None]], /) -> bool:
        """Have `stop` end the reading, and the job with it where nobody else may want it; whether it was cancelled."""
        ...


Opening = Callable[[bytes, float], Awaitable[Read]]
"""Connects where needed and gives an exchange that has not begun, for a request's bytes and its deadline on the loop's
clock."""
OnStep = Callable[[StepEvent], object]
"""Called when a step of several models that answer together begins or ends."""
OnQueued = Callable[[int, float | None], object]
"""Called with the place in the queue, 1 is next, and the seconds it may take (None while that is not known)."""


class _Outcome(Outcome):
    """Of a stream."""

    __slots__ = ("_on_queued", "_on_step", "begun", "exchange", "job_id", "queued")

    def __init__(self, on_queued: OnQueued | None, on_step: OnStep | None) -> None:
        super().__init__()
        self._on_queued = on_queued
        self._on_step = on_step
        self.job_id: str | None = None
        self.exchange: Read | None = None
        """The newest one."""
        self.begun = False
        """Whether the job was seen to run."""
        self.queued: Queued | None = None
        """Its place while it waits."""

    def wait(self, queued: Queued) -> None:
        """The job waits at this place."""
        self.queued = queued
        if self._on_queued is not None:
            self._on_queued(queued.position, queued.eta_s)

    def run(self) -> None:
        """The job runs."""
        self.begun, self.queued = True, None

    def step(self, step: StepEvent) -> None:
        """A step of it began or ended."""
        self.run()
        if self._on_step is not None:
            self._on_step(step)


class Stream(Pieces):
    """The text of one answer, piece by piece: an asynchronous iterator of `str`. Thoughts, calls of tools and the texts
    of further choices are in `pieces` and `reply`.

    The request is sent with the first piece asked for, or on entering `async with`. The pieces joined are the text of
    `reply`, whatever happens to the worker: where another one writes another text, a new job goes on behind what was
    handed out. Where that cannot be kept, StreamInterruptedError ends the iteration with what was handed out in
    `details["text_so_far"]`. A stream that was asked for with `resume` gives what follows that text. Leaving early, by
    `async with`, `aclose` or by dropping the stream, cancels the job.

    A `resumable` stream gives exactly the pieces that `Golek.reopen` gives again. So another text of another worker
    ends it with StreamInterruptedError; leaving it early cancels nothing, but `leave` does, where nobody else reads it.
    """

    def __init__(
        self,
        open_exchange: Opening,
        payload: bytes,
        seconds: float,
        *,
        replay: bool = True,
        on_queued: OnQueued | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        """The answer to the request `payload`, to be whole `seconds` after it is sent."""
        self._outcome = _Outcome(on_queued, on_step)
        self._texts = texts_of(payload)
        self.is_resumable = is_resumable(payload)
        """Whether it is kept, and may be read again with `Golek.reopen` for some minutes."""
        replays = replay or self.is_resumable
        deltas = _deltas(open_exchange, payload, seconds, self._outcome, replay=replays, goes_on=not self.is_resumable)
        super().__init__(deltas, self._outcome)

    @property
    def job_id(self) -> str:
        """The id to cancel it by, from anywhere; another one once a new job had to go on with the text.

        Raises RuntimeError before the request is sent.
        """
        if self._outcome.job_id is None:
            raise RuntimeError("the request is not sent yet: enter `async with` or ask for the first piece")
        return self._outcome.job_id

    @property
    def position(self) -> int | None:
        """The place in the model's queue, 1 is next; it never rises. None unless the stream is known to wait.

        Word of it is read while the next piece is waited for; `on_queued` is called with it.
        """
        return self._outcome.queued.position if self._outcome.queued is not None else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until the text may begin, as they were told with `position`; None while that is not known."""
        return self._outcome.queued.eta_s if self._outcome.queued is not None else None

    @property
    def loading(self) -> float | None:
        """The share of the model's load that is done, 0 to 1, as it was told with `position`; None unless it loads."""
        return self._outcome.queued.loading if self._outcome.queued is not None else None

    @property
    def worker(self) -> str:
        """The replica that answers; empty until it has said so."""
        return self._outcome.exchange.worker if self._outcome.exchange is not None else ""

    @property
    def cache(self) -> str:
        """What part a cache had in the answer: `hit`, `miss` or `bypass`; empty until that is said, and where nobody
        asked for one.
        """
        return self._outcome.exchange.cache if self._outcome.exchange is not None else ""

    @property
    def principal(self) -> str | None:
        """Who the fleet says that asks; None before the request is accepted. Word of that may come later than an answer
        that takes but a few milliseconds.
        """
        return self._outcome.exchange.principal if self._outcome.exchange is not None else None

    @property
    def allowances(self) -> Allowances | None:
        """What the caller's key may still spend; None where it has no limits, and as `principal`."""
        return self._outcome.exchange.allowances if self._outcome.exchange is not None else None

    async def __anext__(self) -> str:
        """The next piece of the text. Raises RuntimeError where several texts were asked for (`n`)."""
        if self._texts > 1:
            raise RuntimeError(
                f"the request asks for {self._texts} texts: read `pieces()`, each has its text's `index`"
            )
        return await super().__anext__()

    async def __aenter__(self) -> Self:
        """Send the request, where that is still to do. Raises RuntimeError after `aclose`."""
        await self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop reading; a job that still runs is cancelled, unless it is resumable."""
        await super().aclose()

    async def leave(self, patience_s: float = PATIENCE_S) -> bool:
        """Stop reading, and cancel the job: a resumable one after `patience_s`, unless somebody reads it then.

        Whether it was cancelled here.
        """
        exchange = self._outcome.exchange
        if exchange is None or self._outcome.reply is not None:
            await self.aclose()
            return False
        return await exchange.leave(patience_s, self.aclose)


async def _deltas(
    open_exchange: Opening, payload: bytes, seconds: float, outcome: _Outcome, *, replay: bool, goes_on: bool
) -> AsyncGenerator[str | Delta, None]:
    """An empty string once the request is sent, then the pieces. Closing it cancels what still runs.

    A resumable stream is one job, whose log others read: it never `goes_on` as another.

    A generator because the event loop closes a dropped one, which no other object can have.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    text, asked = begun_with(payload), payload
    resuming = Resuming(until, text)
    thoughts = ""
    while outcome.reply is None:
        assembly = TextAssembly(text, thoughts, replay=replay)
        try:
            async with await open_exchange(asked, until) as exchange:
                is_sent, outcome.job_id = outcome.job_id is not None, exchange.job_id
                outcome.exchange = exchange
                outcome.begun = False
                if not is_sent:
                    yield ""
                while outcome.reply is None:
                    for piece in await _next_pieces(exchange, assembly, outcome):
                        yield piece
        except InferenceServiceError as error:
            if not goes_on:
                raise
            text, thoughts = assembly.text, assembly.reasoning
            obstacle = assembly.obstacle
            wait_s = resuming.wait_after(error, text, grew=assembly.grew, now=clock(), obstacle=obstacle)
            await asyncio.sleep(wait_s)
            asked = asked_again(payload, text, until - clock(), outcome.job_id or "")
    if thoughts:
        outcome.reply = msgspec.structs.replace(outcome.reply, reasoning_content=thoughts)


async def _next_pieces(exchange: Read, assembly: TextAssembly, outcome: _Outcome) -> Sequence[str | Delta]:
    """What the next message adds, often nothing; the reply, the place in the queue and steps go to `outcome`."""
    event = await exchange.next()
    if isinstance(event, Queued):
        if not outcome.begun:  # else it was sent just before the job began
            outcome.wait(event)
        return ()
    if isinstance(event, StepEvent):
        outcome.step(event)
        return ()
    outcome.run()
    new = pieces_of(event, assembly)
    if isinstance(event, InferenceReply):
        outcome.reply = event
    return new
