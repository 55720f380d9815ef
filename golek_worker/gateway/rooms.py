"""Who hears what is said in a room, when its guests are at several gateways?

Each gateway tells the others, on one subject of the bus, what it sends to rooms; what goes to one guest alone is not
told. Of what comes from there only our own events are believed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import structlog
from socketio.async_pubsub_manager import AsyncPubSubManager

from golek_client import Golek
from golek_client.passing import Heard
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError

log = structlog.get_logger("gateway")

EVENTS: Final = frozenset({"inference_token", "inference_complete", "inference_error"})
LOOK_S: Final = 5.0
"""So often it is seen to that a new connection hears, too."""
WAITING_LIMIT: Final = 10_000
"""Messages of other gateways that wait to be sent; what comes later is lost."""


class Rooms(AsyncPubSubManager):  # type: ignore[misc]  # without types
    """python-socketio's manager, with NATS between gateways."""

    name = "nats"

    def __init__(self, golek: Golek) -> None:
        super().__init__(channel=subjects.SOCKETS)
        self._golek = golek
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING_LIMIT)

    async def close(self) -> None:
        """Hear no more."""
        thread: asyncio.Task[None] | None = getattr(self, "thread", None)
        if thread is not None:
            thread.cancel()
            await asyncio.gather(thread, return_exceptions=True)

    async def _publish(self, data: dict[str, Any]) -> None:
        """Tell the others. That they cannot be told ends no stream here."""
        try:
            await self._golek.tell(subjects.SOCKETS, msgspec.json.encode(data))
        except InferenceServiceError as error:
            log.warning("rooms.untold", event_of=data.get("event"), problem=error.message)

    async def _listen(self) -> AsyncIterator[dict[str, Any]]:
        heard: Heard | None = None
        try:
            while True:
                with contextlib.suppress(InferenceServiceError):
                    heard = await self._golek.hear(subjects.SOCKETS, self._take, heard)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        data = _read(await self._waiting.get())
                        if data is not None:
                            yield data
        finally:
            if heard is not None:
                await heard.end()

    async def _take(self, message: Any) -> None:
        if self._waiting.full():
            log.warning("rooms.lost", problem=f"{WAITING_LIMIT} messages of other gateways wait already")
            return
        self._waiting.put_nowait(message.data)


def _read(said: bytes) -> dict[str, Any] | None:
    """What another gateway sent to a room; None for what is not that."""
    try:
        data = msgspec.json.decode(said, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    is_ours = data.get("method") == "emit" and data.get("event") in EVENTS and isinstance(data.get("room"), str)
    return data if is_ours and data.get("callback") is None else None
