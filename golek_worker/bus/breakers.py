"""How do routers tell each other which targets fail?

By the bucket GOLEK_BREAKERS, a key per target: a router that starts reads all of it, and every router hears each value
as it is written. Nobody waits for a write; while the broker is away each router goes by what it finds out itself.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import structlog
from nats.aio.msg import Msg

from golek_client.bus_client import BusClient
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire.breakers import BreakerNote
from golek_worker.bus.jetstream import BUS_ERRORS, patiently, walk
from golek_worker.bus.streams import bucket_config, ensure_stream

log = structlog.get_logger("breakers")

TTL_S: Final = 3600
"""What nobody wrote again within this time is forgotten."""
RETRY_S: Final = 1.0
_PREFIX: Final = f"$KV.{subjects.BREAKERS_BUCKET}."
_STREAM: Final = f"KV_{subjects.BREAKERS_BUCKET}"

Hear = Callable[[BreakerNote, float], None]
"""Takes a note, and in how many seconds its `until` is."""


class SharedBreakers:
    """The bucket, as one router uses it. `run` writes what `tell` was given."""

    def __init__(self, client: BusClient, router: str, now: Callable[[], float], hear: Hear) -> None:
        """`now` is the broker's clock, in epoch seconds."""
        self._client = client
        self._router = router
        self._now = now
        self._hear = hear
        self._unwritten: dict[str, BreakerNote] = {}
        """The newest note by target."""
        self._news = asyncio.Event()

    async def start(self) -> None:
        """Create or find the bucket, hear what is written from now on, and read what was. Raises as `ensure_stream`."""
        await ensure_stream(self._client, bucket_config(subjects.BREAKERS_BUCKET, TTL_S))
        await self._client.subscribe(f"{_PREFIX}>", cb=self._on_note)
        await patiently(self._client, self._read_all)

    def tell(self, note: BreakerNote, left_s: float) -> None:
        """Write it soon, in place of an older one of its target."""
        self._unwritten[note.target] = msgspec.structs.replace(note, until=self._now() + left_s)
        self._news.set()

    async def run(self) -> None:
        """Write for as long as the router lives."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._write()
            except BUS_ERRORS as error:
                log.debug("breakers.unwritten", problem=str(error) or type(error).__name__)
                self._news.set()
                await asyncio.sleep(RETRY_S)

    async def reconnected(self, known: Iterable[tuple[BreakerNote, float]]) -> None:
        """Read what was missed, and say again what is `known` here. Raises one of BUS_ERRORS."""
        await self._read_all(others=True)
        for note, left_s in known:
            self.tell(note, left_s)

    async def _write(self) -> None:
        while self._unwritten:
            target, note = next(iter(self._unwritten.items()))
            await publish(self._client, subjects.breaker(target), codec.encode(note))
            if self._unwritten.get(target) is note:
                del self._unwritten[target]

    async def _read_all(self, *, others: bool = False) -> None:
        """Hear what lies in the bucket; with `others` not what this router wrote."""
        async for row in walk(self._client, _STREAM, _PREFIX):
            self._take(row.data, own=not others)

    async def _on_note(self, message: Msg) -> None:
        self._take(message.data, own=False)

    def _take(self, data: bytes, *, own: bool) -> None:
        with contextlib.suppress(msgspec.DecodeError):  # a later version's, or a deleted key
            note = msgspec.json.decode(data, type=BreakerNote)
            if own or note.router != self._router:
                self._hear(note, note.until - self._now())
