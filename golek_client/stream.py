"""How is an answer read while it is written?

async with client.stream("qwen3-4b", "Tell me a story") as stream:
    async for delta in stream:
        print(delta, end="")
print(stream.reply.tokens_out)
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Self

from golek_client.assembly import TextAssembly
from golek_client.exchange import Exchange
from golek_wire.replies import InferenceReply, Queued

Opening = Callable[[], Awaitable[Exchange[InferenceReply]]]
"""Connects where needed and gives an exchange that has not begun."""
OnQueued = Callable[[int, float | None], object]
"""Called with the place in the queue, 1 is next, and the seconds it may take (None while that is not known)."""


class _Outcome:
    """What the generator below leaves behind. Apart from `Stream`, so that a dropped stream is collected at once."""

    __slots__ = ("job_id", "queued", "reply")

    def __init__(self) -> None:
        self.job_id: str | None = None
        self.queued: Queued | None = None
        """Its place while it waits."""
        self.reply: InferenceReply | None = None


class Stream:
    """The text of one answer, piece by piece: an asynchronous iterator of `str`.

    The request is sent with the first piece asked for, or on entering `async with`. The pieces joined are the text of
    `reply`, whatever happens to the worker; where that cannot be kept, StreamInterruptedError ends the iteration with
    what was handed out in `details["text_so_far"]`. Leaving early, by `async with`, `aclose` or by dropping the stream,
    cancels the job.
    """

    def __init__(self, open_exchange: Opening, on_queued: OnQueued | None = None) -> None:
        self._outcome = _Outcome()
        self._closed = False
        self._deltas = _deltas(open_exchange, self._outcome, on_queued)

    @property
    def job_id(self) -> str:
        """The id to cancel it by, from anywhere. Raises RuntimeError before the request is sent."""
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
    def reply(self) -> InferenceReply:
        """The whole answer with its figures. Raises RuntimeError before the text has ended."""
        if self._outcome.reply is None:
            raise RuntimeError("the text has not ended: iterate to the end first")
        return self._outcome.reply

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
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


async def _deltas(open_exchange: Opening, outcome: _Outcome, on_queued: OnQueued | None) -> AsyncGenerator[str, None]:
    """An empty string once the request is sent, then the text. Closing it cancels what still runs.

    A generator because the event loop closes a dropped one, which no other object can have.
    """
    assembly = TextAssembly()
    begun = False
    async with await open_exchange() as exchange:
        outcome.job_id = exchange.job_id
        yield ""
        while outcome.reply is None:
            event = await exchange.next()
            if isinstance(event, Queued):
                if not begun:  # else it was sent just before the job began
                    outcome.queued = event
                    if on_queued is not None:
                        on_queued(event.position, event.eta_s)
                continue
            begun, outcome.queued = True, None
            if isinstance(event, InferenceReply):
                delta = assembly.finish(event.text)
                outcome.reply = event
            else:
                delta = assembly.chunk(event.attempt, event.chunk.seq, event.chunk.delta)
            if delta:
                yield delta
