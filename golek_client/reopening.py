"""How is a stream read again that somebody else began to read?

async with golek.reopen(job_id) as stream:
    async for delta in stream:
        print(delta, end="")

From its log, which lies for some minutes in the stream GOLEK_TOKENS, by its beginning: the pieces are those that its
first reader was given, each of them, whatever became of workers meanwhile.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from golek_client import leaving, reading, stored
from golek_client.assembly import TextAssembly
from golek_client.inbox import Inbox
from golek_client.line import Line
from golek_client.pieces import Outcome, Pieces, pieces_of
from golek_client.reading import Answer, Piece
from golek_client.token_log import LogLostError, TokenLog
from golek_wire import headers, subjects
from golek_wire.errors import BusUnavailableError, DeadlineExceededError, NotFoundError, StreamInterruptedError
from golek_wire.replies import Delta, InferenceReply, Opened

GRACE_S: Final = 5.0
"""After the job's own time somebody has ended it."""


class _Outcome(Outcome):
    __slots__ = ("line", "opened", "worker")

    def __init__(self) -> None:
        super().__init__()
        self.line: Line | None = None
        self.opened: Opened | None = None
        self.worker = ""


class Reopened(Pieces):
    """An answer that is kept, from its first piece on; of several texts the first, all are in `pieces`.

    It is looked for with the first piece asked for, or on entering `async with`. Leaving early cancels nothing; `leave`
    does, where nobody else reads.
    """

    def __init__(
        self, open_line: Callable[[], Awaitable[Line]], job_id: str, principal: str, wait_s: float | None
    ) -> None:
        self.job_id = job_id
        self._outcome = _Outcome()
        super().__init__(_deltas(open_line, job_id, principal, wait_s, self._outcome), self._outcome)

    @property
    def opened(self) -> Opened:
        """What was asked, when, and by whom. Raises RuntimeError before the log was found."""
        if self._outcome.opened is None:
            raise RuntimeError("the stream is not open yet: enter `async with` or ask for the first piece")
        return self._outcome.opened

    @property
    def worker(self) -> str:
        """The replica that answers; empty until it has said so."""
        return self._outcome.worker

    async def leave(self, patience_s: float = leaving.PATIENCE_S) -> bool:
        """Stop reading; after `patience_s` the job is cancelled, unless somebody reads it then. Whether it was."""
        line = self._outcome.line
        if line is None or self._outcome.reply is not None:
            await self.aclose()
            return False
        return await leaving.leave(line, self.job_id, patience_s, self.aclose)

    async def __aenter__(self) -> Self:
        """Find the log. Raises NotFoundError, and RuntimeError after `aclose`."""
        await self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _deltas(
    open_line: Callable[[], Awaitable[Line]], job_id: str, principal: str, wait_s: float | None, outcome: _Outcome
) -> AsyncGenerator[str | Delta, None]:
    """An empty string once the log is found, then the pieces."""
    clock = asyncio.get_running_loop().time
    began = clock()
    line = await open_line()
    with line.mux.open() as inbox:
        inbox.outlives = True
        log = TokenLog(line, job_id, inbox)
        await log.listen()
        assembly = TextAssembly()
        try:
            opened = await _opened(line, log, job_id, principal)
            outcome.line, outcome.opened = line, opened
            until = began + (wait_s if wait_s is not None else opened.deadline_ms / 1000 + GRACE_S)
            yield ""
            answer = Answer(InferenceReply)
            while outcome.reply is None:
                event = await _next(log, inbox, answer, until, outcome)
                new = pieces_of(event, assembly)
                outcome.reply = event if isinstance(event, InferenceReply) else None
                for piece in new:
                    yield piece
        except LogLostError as error:
            raise StreamInterruptedError(str(error), text_so_far=assembly.text) from None
        finally:
            await log.close()


async def _opened(line: Line, log: TokenLog, job_id: str, principal: str) -> Opened:
    """What began the log. Raises NotFoundError where there is none, or another one's, or not from its beginning."""
    until = asyncio.get_running_loop().time() + stored.ELECTION_S
    try:
        while await _may_come(line, log, job_id, until):  # noqa: ASYNC110 - no event
            await asyncio.sleep(stored.PAUSE_S)
    except LogLostError as error:
        raise NotFoundError(str(error), job_id=job_id) from None
    if log.opened is None or log.opened.principal != principal:
        raise NotFoundError(
            f"no stream of job {job_id} is kept: it was not resumable, is another caller's, or ended a while ago",
            job_id=job_id,
        )
    return log.opened


async def _may_come(line: Line, log: TokenLog, job_id: str, until: float) -> bool:
    """Look once; whether what began the log may still be found. Raises BusUnavailableError when nobody can say."""
    in_time = asyncio.get_running_loop().time() < until
    if not await log.look():
        if not in_time:
            raise BusUnavailableError(f"JetStream does not say what job {job_id} wrote")
        return True
    if log.opened is not None:
        return False
    # A copy that lags may have answered; the leader knows.
    return in_time and await stored.last(line, subjects.TOKENS_STREAM, subjects.tokens(job_id)) is not None


async def _next(
    log: TokenLog, inbox: Inbox, answer: Answer[InferenceReply], until: float, outcome: _Outcome
) -> Piece | InferenceReply:
    """What comes next in the log. Raises the error that the job ended in, DeadlineExceededError at `until`, and
    LogLostError.
    """
    clock = asyncio.get_running_loop().time
    while True:
        record = log.pop()
        if record is not None:
            about = record.headers or {}
            outcome.worker = about.get(headers.WORKER, outcome.worker)
            if headers.ERROR_CODE in about:
                raise reading.error_in(record, about)
            event = answer.said(record, about)
            if event is not None:
                return event
        elif clock() >= until:
            raise DeadlineExceededError("the stream did not end in time; its job may still run")
        elif clock() >= log.due:
            await log.look()
        elif (message := await inbox.get(min(until, log.due))) is not None:
            log.hear(message)
