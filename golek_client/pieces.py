"""How is an answer handed out piece by piece?

What a stream and one that is read again have in common: a generator of pieces, and who iterates over it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Self

from golek_client.assembly import TextAssembly
from golek_client.reading import Piece
from golek_wire.replies import Chunk, Delta, InferenceReply


class Outcome:
    """What a generator of pieces leaves behind. Apart from `Pieces`, so that a dropped one is collected at once."""

    __slots__ = ("reply",)

    def __init__(self) -> None:
        self.reply: InferenceReply | None = None


class Pieces:
    """The text of one answer, piece by piece: an asynchronous iterator of `str`. Thoughts, calls of tools and the texts
    of further choices are in `pieces` and `reply`.
    """

    def __init__(self, deltas: AsyncGenerator[str | Delta, None], outcome: Outcome) -> None:
        """`deltas` gives an empty string once the answer is being read, then its pieces."""
        self._deltas = deltas
        self._end = outcome
        self._is_begun = False
        self._is_closed = False

    @property
    def reply(self) -> InferenceReply:
        """The whole answer with its figures. Raises RuntimeError before the text has ended."""
        if self._end.reply is None:
            raise RuntimeError("the text has not ended: iterate to the end first")
        return self._end.reply

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """The next piece of the text, of the first one where there are several."""
        while True:
            piece = await self._next()
            if isinstance(piece, str):
                return piece
            if piece.text and not piece.index:
                return piece.text

    async def pieces(self) -> AsyncIterator[Delta]:
        """All that the model writes, as it comes: text, what is not text, and with `n` each by its `index`."""
        while True:
            try:
                piece = await self._next()
            except StopAsyncIteration:
                return
            yield Delta(piece) if isinstance(piece, str) else piece

    async def text(self) -> str:
        """The rest of the text, once it has ended."""
        return "".join([delta async for delta in self])

    async def aclose(self) -> None:
        """Stop reading."""
        self._is_closed = True
        await self._deltas.aclose()

    async def _next(self) -> str | Delta:
        if not self._is_begun:
            await self._begin()
        return await self._deltas.__anext__()

    async def _enter(self) -> None:
        """Begin, where that is still to do. Raises RuntimeError after `aclose` and after an error."""
        if self._is_closed:
            raise RuntimeError("the stream is closed: ask again for a new one")
        if not self._is_begun:
            try:
                await self._begin()
            except StopAsyncIteration:
                raise RuntimeError("the stream ended with an error before: ask again for a new one") from None

    async def _begin(self) -> None:
        await anext(self._deltas)
        self._is_begun = True


def pieces_of(event: Piece | InferenceReply, assembly: TextAssembly) -> Sequence[str | Delta]:
    """What `event` adds to the answer, often nothing. Raises StreamInterruptedError."""
    if isinstance(event, InferenceReply):
        return assembly.finish_reply(event)
    piece = assembly.chunk(event.attempt, event.chunk.seq, _written(event.chunk))
    return (piece,) if piece else ()


def _written(chunk: Chunk) -> str | Delta:
    """What `chunk` brings: its text where that is all."""
    if chunk.index or chunk.reasoning_content or chunk.tool_calls or chunk.logprobs:
        return Delta(chunk.delta, chunk.reasoning_content, chunk.tool_calls, chunk.logprobs, chunk.index)
    return chunk.delta
