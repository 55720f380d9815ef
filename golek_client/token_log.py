"""What did a worker write for one job, in the order in which it lies in the stream?

The log of a resumable stream, `golek.tokens.<job id>` in GOLEK_TOKENS. The server repeats each message on
`golek.reading.<job id>` once it is stored, with its own sequence and that of the message before it. So who listens
reads the log as it grows, notices what was missed, and fetches that from the stream: whoever reads a log, and whenever,
reads the same.
"""

import asyncio
from collections import deque
from typing import Final

from golek_client import reading, stored
from golek_client.inbox import Inbox
from golek_client.line import Line
from golek_client.stored import LOOKUP_S, PAUSE_S
from golek_client.transport import Received, Subscribed
from golek_wire import codec, headers, subjects
from golek_wire.errors import BusUnavailableError
from golek_wire.replies import Opened

LOOK_S: Final = 5.0
"""A log that is silent for so long is looked at: it may be gone."""
LAG_S: Final = 0.02
"""A copy of the stream may be behind what was heard."""
BATCH: Final = 1024
BATCH_BYTES: Final = 4 * 2**20
_DIGITS: Final = 19
"""Of a sequence."""


class LogLostError(Exception):
    """What the log said before, or its beginning, is not kept any more; the message says which."""


class TokenLog:
    """The log of one job, read from its beginning. One reader."""

    def __init__(self, line: Line, job_id: str, inbox: Inbox) -> None:
        """What the server repeats comes to `inbox`, whose reader passes it on to `hear`."""
        self._line = line
        self._job_id = job_id
        self._inbox = inbox
        self._listening: Subscribed | None = None
        self._records: deque[Received] = deque()
        self._seq = 0
        """Of the newest message taken."""
        self._heard = 0
        """The newest sequence that the server told of."""
        self._has_text = False
        self._due = 0.0
        self._returns = line.mux.returns
        self.opened: Opened | None = None
        """What began the log; None while nothing was read."""

    async def listen(self, *, is_new: bool = False) -> None:
        """Hear of what is written from now on; a log that `is_new` need not be looked at for what was before."""
        self._listening = await self._line.subscribe(subjects.reading(self._job_id), self._put)
        if is_new:
            self._due = asyncio.get_running_loop().time() + LOOK_S

    async def close(self) -> None:
        """Hear no more."""
        if self._listening is not None:
            await self._line.unsubscribe(self._listening)

    @property
    def due(self) -> float:
        """When to `look`, on the loop's clock."""
        return self._due if self._returns == self._line.mux.returns else 0.0

    def pop(self) -> Received | None:
        """The next message of the log, what opened it aside; None when it must be waited for."""
        return self._records.popleft() if self._records else None

    def hear(self, message: Received) -> bool:
        """Take a message of `inbox`, if it is the log's. Raises LogLostError."""
        if message.subject != subjects.reading(self._job_id):
            return False
        about = message.headers or {}
        seq = _sequence(about.get(headers.NATS_SEQUENCE, ""))
        self._heard = max(self._heard, seq)
        if seq > self._seq and _sequence(about.get(headers.NATS_LAST_SEQUENCE, "")) <= self._seq:
            self._take(message, seq)
        elif seq > self._seq:  # one was missed
            self._due = 0.0
        return True

    async def look(self) -> bool:
        """Fetch what was missed. Raises LogLostError; BusUnavailableError when the client is closed.

        False while JetStream cannot say, or the connection is away: then it is soon to be looked at again.
        """
        clock = asyncio.get_running_loop().time
        self._returns = self._line.mux.returns
        self._due = clock() + PAUSE_S
        if not self._line.transport.is_connected and self._line.mux.closed is None:
            return False
        try:
            if not self._seq or await self._has_grown():
                while await self._fetch():
                    pass
            self._due = clock() + (LOOK_S if self._heard <= self._seq else LAG_S)
        except BusUnavailableError:
            if self._line.mux.closed is not None:
                raise
            return False
        return True

    async def _has_grown(self) -> bool:
        """Whether there is more than was read. A log that had only begun may begin again."""
        newest = await stored.last(self._line, subjects.TOKENS_STREAM, subjects.tokens(self._job_id))
        if newest is not None and newest.seq >= self._seq:
            return newest.seq > self._seq
        if self._has_text:
            raise LogLostError(
                f"what was kept of job {self._job_id} is lost: the broker was restarted, or it is too old"
            )
        self._seq = self._heard = 0
        return newest is not None

    async def _fetch(self) -> bool:
        """One batch of what the stream has (batched direct get, ADR-31); whether there is more. Raises as `look`."""
        query = {
            "seq": self._seq + 1, "next_by_subj": subjects.tokens(self._job_id), "batch": BATCH,
            "max_bytes": BATCH_BYTES,
        }  # fmt: skip
        clock = asyncio.get_running_loop().time
        with self._line.mux.open() as inbox:
            inbox.asked = f"$JS.API.DIRECT.GET.{subjects.TOKENS_STREAM}"
            await self._line.send(inbox.asked, codec.encode(query), inbox.subject)
            while (message := await inbox.get(clock() + LOOKUP_S)) is not None:
                about = message.headers or {}
                status = about.get(headers.NATS_STATUS)
                if status is not None:
                    return await self._has_more(status, about)
                seq = _sequence(about.get(headers.NATS_SEQUENCE, ""))
                if seq > self._seq:
                    self._take(message, seq)
        raise BusUnavailableError(f"JetStream did not say within {LOOKUP_S:.0f} s what job {self._job_id} wrote")

    async def _has_more(self, status: str, about: dict[str, str]) -> bool:
        """What the end of a batch says; nobody answers where there is no such stream."""
        if status == "204":
            return _sequence(about.get(headers.NATS_NUM_PENDING, "")) > 0
        if status == "404":
            return False
        there = await stored.last(self._line, subjects.TOKENS_STREAM, subjects.tokens(self._job_id))
        if status == headers.NO_RESPONDERS and there is None:
            return False
        raise BusUnavailableError(f"JetStream cannot say what job {self._job_id} wrote: status {status}")

    def _take(self, message: Received, seq: int) -> None:
        """The next message. Raises LogLostError for a log that does not begin with what opens it."""
        opens = (message.headers or {}).get(headers.STATUS) == "opened"
        if not opens and self.opened is None:
            raise LogLostError(
                f"the beginning of what job {self._job_id} wrote is not kept any more: the newest "
                f"{subjects.TOKENS_KEPT} messages of a stream are, for some minutes"
            )
        self._seq = seq
        if not opens:
            self._has_text = True
            self._records.append(message)
        elif self.opened is None:
            self.opened = reading.before(message, Opened)

    async def _put(self, message: Received) -> None:
        self._inbox.put(message)


def _sequence(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else 0
