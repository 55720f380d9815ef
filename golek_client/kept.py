"""How does the first reader of a resumable stream read it?

As every later one will: from its log, so that all of them hand out the same pieces. Its inbox tells what is not in the
log, that the request is stored and where it waits, and has the last word where there is no log.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Self

import msgspec

from golek_client.exchange import Exchange
from golek_client.leaving import leave
from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_client.target import Target
from golek_client.token_log import LogLostError, TokenLog
from golek_client.transport import Received
from golek_wire import codec, headers
from golek_wire.errors import InferenceServiceError
from golek_wire.replies import InferenceReply

SETTLE_S: Final = 1.0
"""The inbox has the final message; so long the log may take to have it, too."""


class KeptExchange(Exchange[InferenceReply]):
    """One resumable stream. Leaving it cancels nothing: somebody may go on reading."""

    def __init__(self, line: Line, target: Target, payload: bytes, deadline: float, deadline_s: float) -> None:
        super().__init__(line, target, InferenceReply, payload, deadline, deadline_s)
        self._inbox.outlives = True
        self._log = TokenLog(line, self.job_id, self._inbox)
        self._is_kept = True
        """Whether the log is read; else the inbox is."""
        self._held: deque[Received] = deque()
        """The final message as the inbox has it."""
        self._held_until = math.inf

    async def __aenter__(self) -> Self:
        await self._log.listen(is_new=True)
        try:
            return await super().__aenter__()
        except BaseException:
            await self._log.close()
            raise

    async def __aexit__(self, *leaving: object) -> None:
        await self._log.close()
        await super().__aexit__(*leaving)  # type: ignore[arg-type]

    def _cancels(self, error: BaseException | None) -> bool:
        """An error that every reader would meet, or a deadline, ends the job; so does leaving what is not kept."""
        return super()._cancels(error) and (isinstance(error, InferenceServiceError) or not self._is_kept)

    async def leave(self, patience_s: float, stop: Callable[[], Awaitable[None]]) -> bool:
        """Have `stop` end the reading; cancel the job where nobody reads it after `patience_s`. Whether it was."""
        if self._ended or not self._is_kept:
            return await super().leave(patience_s, stop)
        return await leave(self._line, self.job_id, patience_s, stop)

    async def _receive(self, until: float) -> Received | None:
        """The next message of the log, or of the inbox where that says more."""
        now = asyncio.get_running_loop().time()
        if (record := self._log.pop()) is not None:
            return record
        if now >= self._held_until:
            self._is_kept = False
        if not self._is_kept:
            return self._held.popleft() if self._held else await super()._receive(until)
        if now >= self._log.due:
            await self._look()
            return self._log.pop()
        message = await super()._receive(min(until, self._log.due, self._held_until))
        return await self._sorted(message) if message is not None else None

    async def _sorted(self, message: Received) -> Received | None:
        """What of the next message is to be read now.

        1. One of the log. 2. The word that nobody listens, a status, the end mark: the log has none. 3. A chunk or the
        answer where nothing lies in the log: it is not kept, and the inbox is read. 4. A chunk is in the log, too.
        5. The answer should be: it is held until it comes there.
        """
        try:
            if self._log.hear(message):  # 1
                return self._log.pop()
        except LogLostError:
            self._is_kept = False
            return None
        about = message.headers or {}
        if not message.data or headers.STATUS in about:  # 2
            return message
        if self._log.opened is None and headers.ERROR_CODE not in about:
            await self._look()
        if self._log.opened is None:  # 3
            self._is_kept = False
            return message
        if headers.ATTEMPT in about and headers.FINAL not in about:  # 4
            return None
        self._hold(message)  # 5
        return None

    def _hold(self, final: Received) -> None:
        self._held.append(final)
        self._held_until = min(self._held_until, asyncio.get_running_loop().time() + SETTLE_S)

    async def _look(self) -> None:
        try:
            await self._log.look()
        except LogLostError:
            self._is_kept = False  # what the inbox brings is whole, or mended by the final message

    async def _recovered(self) -> Received | None:
        """The final message that came while the connection was away, once the log has had its time."""
        found = await super()._recovered()
        if found is None or not self._is_kept:
            return found
        self._hold(found)
        return None


class _Wish(msgspec.Struct):
    resumable: bool = False


def is_resumable(payload: bytes) -> bool:
    """Whether the request of `payload` asks for a stream that is kept."""
    if b'"resumable"' not in payload:
        return False
    try:
        return codec.decode(payload, _Wish).resumable
    except UNREADABLE:
        return False  # a worker says what is wrong
