"""How do browsers see the fleet change, without asking?

GET /api/events (server-sent events, WHATWG HTML 9.2). Its first event is `snapshot`, the whole fleet; then comes an
`update` when the picture ticked and something changed, which is every 0.8 s, and at least every BEAT_S, so
that who hears none knows that the line is dead. What is sent is encoded once for all readers. Who does not keep up gets
a snapshot of the moment instead of what it missed, so that nothing piles up for it.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from golek_monitor.picture import Picture
from golek_monitor.records import FleetChanges
from golek_monitor.web.frames import Frame, Frames
from golek_program.web.leaving import watched
from golek_wire import codec
from golek_wire.errors import TemporaryResourceError

log = structlog.get_logger("monitor")

LOOK_S: Final = 0.02
"""So soon it is noticed that the picture ticked."""
BEAT_S: Final = 5.0
ALIVE_S: Final = 15.0
"""A comment goes out after so long a silence, because proxies cut connections that say nothing."""
AGAIN_MS: Final = 2000
"""After so long a browser whose connection broke comes back."""
BEHIND: Final = 5
"""Who missed more updates than this gets a snapshot."""
READERS_LIMIT: Final = 1000
TURNS: Final = 20
TURN_S: Final = 0.004
"""Readers are written to one after the other, so that who asks REST is answered in between: an update of 1,000 workers
has 600 KB."""
PIECE: Final = 64 * 1024
"""So much is sent at once: a snapshot of a thousand workers has half a megabyte, and who does not read would have its
own copy of that in the connection's buffer."""


class Feed:
    """What changes, told to all readers. It looks at the fleet only while somebody reads."""

    def __init__(self, picture: Picture, frames: Frames, *, look_s: float = LOOK_S, beat_s: float = BEAT_S) -> None:
        self._picture = picture
        self._frames = frames
        self._look_s = look_s
        self._beat_s = beat_s
        self._id = secrets.token_hex(4)
        self.number = 0
        """Of the last update."""
        self._told = 0
        """The picture's version that it leads to."""
        self._was_heard = True
        """Whether the bus was, then."""
        self._updates: deque[bytes] = deque(maxlen=BEHIND)
        """The last ones, up to `number`."""
        self._snapshot: tuple[Frame | None, int, bytes] = (None, 0, b"")
        """The last one that was told, with the frame and the number of which it is."""
        self._stepped: asyncio.Future[None] | None = None
        """Done at the next update."""
        self._looking: asyncio.Task[None] | None = None
        self.readers = 0
        self.is_closed = False

    def close(self) -> None:
        """End all streams; their browsers come back when a monitor is there again."""
        self.is_closed = True
        self._wake()

    def check(self) -> None:
        """Raise TemporaryResourceError when too many read."""
        if self.readers >= READERS_LIMIT:
            raise TemporaryResourceError(f"{self.readers} read events already; at most {READERS_LIMIT} may")

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator["Reader"]:
        """While inside, the fleet is looked at. Raises TemporaryResourceError when too many read."""
        self.check()
        self.readers += 1
        if self._looking is None:
            self._told, self._was_heard = self._picture.version, self._picture.connected
            self._looking = asyncio.create_task(self._keep_looking())
        try:
            yield Reader(self, (self.readers - 1) % TURNS * TURN_S)
        finally:
            self.readers -= 1
            if not self.readers:
                self._looking.cancel()
                self._looking = None

    def snapshot(self) -> bytes:
        """The event that tells the whole fleet; the updates after `number` go on from it."""
        frame = self._frames.newest()
        if self._snapshot[:2] != (frame, self.number):
            event = b"retry: %d\n" % AGAIN_MS + self._event("snapshot", frame.whole)
            self._snapshot = (frame, self.number, event)
        return self._snapshot[2]

    def updates(self, after: int) -> bytes | None:
        """The events after update `after`; None where they are not kept any more."""
        missed = self.number - after
        kept = len(self._updates)
        return b"".join(itertools.islice(self._updates, kept - missed, kept)) if missed <= kept else None

    async def stepped(self) -> None:
        """Wait for the next update."""
        if self._stepped is None or self._stepped.done():
            self._stepped = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._stepped)

    async def _keep_looking(self) -> None:
        clock = asyncio.get_running_loop().time
        told_at = clock()
        while True:
            await asyncio.sleep(self._look_s)
            beats = self._picture.connected != self._was_heard or clock() - told_at >= self._beat_s
            if self._picture.version == self._told and not beats:
                continue
            try:
                if self._tell(beats=beats):
                    told_at = clock()
            except Exception:
                log.exception("events.failed")

    def _tell(self, *, beats: bool) -> bool:
        """Tell what changed, if it `beats` also that nothing did; whether something was told."""
        changes = self._picture.changes(self._told)
        self._told, self._was_heard = self._picture.version, changes.connected
        if is_empty(changes) and not beats:
            return False
        self.number += 1
        self._updates.append(self._event("update", codec.encode(changes)))
        self._wake()
        return True

    def _wake(self) -> None:
        if self._stepped is not None and not self._stepped.done():
            self._stepped.set_result(None)

    def _event(self, name: str, data: bytes) -> bytes:
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._id.encode(), self.number, name.encode(), data)


def is_empty(changes: FleetChanges) -> bool:
    """Whether nothing changed but the moment."""
    rows = (name for name in FleetChanges.__struct_fields__ if name not in ("overview", "connected"))
    return not any(getattr(changes, name) for name in rows)


class Reader:
    """One who reads."""

    def __init__(self, feed: Feed, turn_s: float = 0.0) -> None:
        """`turn_s`: so long after an update it is this one's turn."""
        self._feed = feed
        self._turn_s = turn_s
        self._at: int | None = None
        """The last update that it has; None at the beginning."""

    async def next(self) -> bytes:
        """What to send next: what it has not, as soon as there is something."""
        feed = self._feed
        if self._at is None:
            self._at = feed.number
            return feed.snapshot()
        if self._at == feed.number:
            try:
                async with asyncio.timeout(ALIVE_S):
                    await feed.stepped()
            except TimeoutError:
                return b": alive\n\n"
            await asyncio.sleep(self._turn_s)
        data = feed.updates(self._at)
        self._at = feed.number
        return feed.snapshot() if data is None else data


class EventStream(Response):
    """A response that goes on until the client leaves."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send all events. Raises GoneError when the client leaves."""
        async with self._feed.reading() as reader, watched(scope):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                while not self._feed.is_closed:
                    data = await reader.next()
                    for at in range(0, len(data), PIECE):
                        await send({"type": "http.response.body", "body": data[at : at + PIECE], "more_body": True})
            finally:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
