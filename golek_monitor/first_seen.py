"""When was each model first seen?

Whoever sees a model first writes it into the bucket GOLEK_MONITOR, and what is there already stays: all monitors tell
the same, and a new one tells what the last one knew. A login that may not write still has a picture, with what it saw
itself.
"""

import logging
from datetime import datetime
from typing import Final

from msgspec import Struct

from golek_client import stored
from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_monitor import bucket
from golek_monitor.bucket import KEY, STREAM
from golek_monitor.models import FIRST_SEEN_KEPT
from golek_monitor.picture import Picture
from golek_wire import codec, headers, subjects
from golek_wire.errors import BusUnavailableError, ForbiddenError
from golek_wire.moments import stamp

log = logging.getLogger("golek.monitor")

_WRONG_LAST_SEQUENCE: Final = 10071
_WRITES: Final = 100
"""At most so many at a look, lest a flood of names keeps it from ending."""


class Seen(Struct, frozen=True):
    """What the bucket has under a model's token."""

    name: str
    first_seen: str
    """RFC 3339."""


class FirstSeen:
    """The bucket, as one monitor reads it and, if it `writes`, writes it."""

    def __init__(self, picture: Picture, *, writes: bool) -> None:
        self._picture = picture
        self._writes = writes
        self._read_up_to = 0
        self._written: set[str] = set()
        """Names that the bucket has."""
        self._revisions: dict[str, int] = {}
        """Of keys that were deleted: the number of what was written there last."""

    async def look(self, line: Line) -> None:
        """Read what is new, write what is not there yet. Raises BusUnavailableError when JetStream does not answer."""
        await self._read(line)
        if not self._writes:
            return
        new = [(name, at) for name, at in self._picture.seen_by_us().items() if name not in self._written]
        for name, at in new[: max(0, min(_WRITES, FIRST_SEEN_KEPT - len(self._written)))]:
            try:
                await self._create(line, name, at)
            except ForbiddenError as error:
                self._writes = False
                log.warning("first_seen is not kept: %s", error)
                return

    async def _read(self, line: Line) -> None:
        found: dict[str, float] = {}
        async for entry in stored.walk(line, STREAM, KEY + "*", after=self._read_up_to):
            self._read_up_to = entry.seq
            try:
                seen = codec.decode(entry.data, Seen)
                found[seen.name] = datetime.fromisoformat(seen.first_seen).timestamp()
            except (*UNREADABLE, ValueError, OverflowError):  # deleted, or of a later release
                self._revisions[entry.subject.removeprefix(KEY)] = entry.seq
        self._written |= found.keys()
        self._picture.first_seen(found)

    async def _create(self, line: Line, name: str, at: float) -> None:
        """Write it unless somebody else did; then that counts."""
        token = subjects.model_token(name)
        about = {headers.EXPECTED: str(self._revisions.get(token, 0))}
        ack = await bucket.ask(line, KEY + token, Seen(name, stamp(at)), about)
        if ack is None:
            self._read_up_to, self._revisions = 0, {}
            await bucket.make(line)
            ack = await bucket.ask(line, KEY + token, Seen(name, stamp(at)), about)
        if ack is not None and ack.error is None:
            self._written.add(name)
        elif ack is not None and ack.error is not None and ack.error.err_code == _WRONG_LAST_SEQUENCE:
            await self._read(line)
        else:
            raise BusUnavailableError(f"{subjects.MONITOR_BUCKET} does not take {name}: {ack and ack.error}")
