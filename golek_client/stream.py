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
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

import msgspec

from golek_client.assembly import TextAssembly
from golek_client.exchange import Exchange
from golek_client.resuming import Resuming, asked_again, begun_with, texts_of
from golek_wire.errors import InferenceServiceError
from golek_wire.replies import Allowances, Chunk, Delta, InferenceReply, Queued

Opening = Callable[[bytes, float], Awaitable[Exchange[InferenceReply]]]
"""Connects where needed and gives an exchange that has not begun, for a request's bytes and its deadline on the loop's
clock."""
OnQueued = Callable[[int, float | None], object]
"""Called with the place in the queue, 1 is next, and the seconds it may take (None while that is not known)."""


class _Outcome:
    """What the generator below leaves behind. Apart from `Stream`, so that a dropped stream is collected at once."""

    __slots__ = ("_on_queued", "begun", "exchange", "job_id", "queued", "reply")

    def __init__(self, on_queued: OnQueued | None) -> None:
        self._on_queued = on_queued
        self.job_id: str | None = None
        self.exchange: Exchange[InferenceReply] | None = None
        """The newest one."""
        self.begun = False
        """Whether the job was seen to run."""
        self.queued: Queued | None = None
        """Its place while it waits."""
        self.reply: InferenceReply | None = None

    def wait(self, queued: Queued) -> None:
        """The job waits at this place."""
        self.queued = queued
        if self._on_queued is not None:
            self._on_queued(queued.position, queued.eta_s)


class Stream:
    """The text of one answer, piece by piece: an asynchronous iterator of `str`. Thoughts, calls of tools and the texts
    of further choices are in `pieces` and `reply`.

    The request is sent with the first piece asked for, or on entering `async with`. The pieces joined are the text of
    `reply`, whatever happens to the worker: where another one writes another text, a new job goes on behind what was
    handed out. Where that cannot be kept, StreamInterruptedError ends the iteration with what was handed out in
    `details["text_so_far"]`. A stream that was asked for with `resume` gives what follows that text. Leaving early, by
    `async with`, `aclose` or by dropping the stream, cancels the job.
    """

    def __init__(
        self,
        open_exchange: Opening,
        payload: bytes,
        seconds: float,
        *,
        replay: bool = True,
        on_queued: OnQueued | None = None,
    ) -> None:
        """The answer to the request `payload`, to be whole `seconds` after it is sent."""
        self._outcome = _Outcome(on_queued)
        self._texts = texts_of(payload)
        self._closed = False
        self._deltas = _deltas(open_exchange, payload, seconds, self._outcome, replay=replay)

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
    def allowances(self) -> Allowances | None:
        """What the caller's key may still spend; None where it has no limits, and before the request is accepted."""
        return self._outcome.exchange.allowances if self._outcome.exchange is not None else None

    @property
    def reply(self) -> InferenceReply:
        """The whole answer with its figures. Raises RuntimeError before the text has ended."""
        if self._outcome.reply is None:
            raise RuntimeError("the text has not ended: iterate to the end first")
        return self._outcome.reply

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """The next piece of the text. Raises RuntimeError where several texts were asked for (`n`)."""
        if self._texts > 1:
            raise RuntimeError(
                f"the request asks for {self._texts} texts: read `pieces()`, each has its text's `index`"
            )
        while True:
            piece = await self._next()
            if isinstance(piece, str):
                return piece
            if piece.text:
                return piece.text

    async def pieces(self) -> AsyncIterator[Delta]:
        """All that the model writes, as it comes: text, what is not text, and with `n` each by its `index`."""
        while True:
            try:
                piece = await self._next()
            except StopAsyncIteration:
                return
            yield Delta(piece) if isinstance(piece, str) else piece

    async def _next(self) -> str | Delta:
        if self._outcome.job_id is None:
            await self._start()
        return await self._deltas.__anext__()

    async def __aenter__(self) -> Self:
        """Send the request, where that is still to do. Raises RuntimeError after `aclose`."""
        if self._closed:
            raise RuntimeError("the stream is closed: ask again for a new one")
        if self._outcome.job_id is None:
            try:
                await self._start()
            except StopAsyncIteration:
                raise RuntimeError("the stream ended with an error before: ask again for a new one") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop reading; a job that still runs is cancelled."""
        self._closed = True
        await self._deltas.aclose()

    async def text(self) -> str:
        """The rest of the text, once it has ended."""
        return "".join([delta async for delta in self])

    async def _start(self) -> None:
        """Let the generator send the request: its first value is empty and says that it did."""
        await anext(self._deltas)


async def _deltas(
    open_exchange: Opening, payload: bytes, seconds: float, outcome: _Outcome, *, replay: bool
) -> AsyncGenerator[str | Delta, None]:
    """An empty string once the request is sent, then the pieces. Closing it cancels what still runs.

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
            text, thoughts = assembly.text, assembly.reasoning
            obstacle = assembly.obstacle
            wait_s = resuming.wait_after(error, text, grew=assembly.grew, now=clock(), obstacle=obstacle)
            await asyncio.sleep(wait_s)
            asked = asked_again(payload, text, until - clock(), outcome.job_id or "")
    if thoughts:
        outcome.reply = msgspec.structs.replace(outcome.reply, reasoning_content=thoughts)


async def _next_pieces(
    exchange: Exchange[InferenceReply], assembly: TextAssembly, outcome: _Outcome
) -> Sequence[str | Delta]:
    """What the next message adds, often nothing; the reply and the place in the queue go to `outcome`."""
    event = await exchange.next()
    if isinstance(event, Queued):
        if not outcome.begun:  # else it was sent just before the job began
            outcome.wait(event)
        return ()
    outcome.begun, outcome.queued = True, None
    if not isinstance(event, InferenceReply):
        chunk = event.chunk
        piece = assembly.chunk(event.attempt, chunk.seq, _written(chunk))
        return (piece,) if piece else ()
    rest = assembly.finish_reply(event)
    outcome.reply = event
    return rest


def _written(chunk: Chunk) -> str | Delta:
    """What `chunk` brings: its text where that is all."""
    if chunk.index or chunk.reasoning_content or chunk.tool_calls or chunk.logprobs:
        return Delta(chunk.delta, chunk.reasoning_content, chunk.tool_calls, chunk.logprobs, chunk.index)
    return chunk.delta
