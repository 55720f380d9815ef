"""Which models of the fleet see, for whom a model refused that does not?

The records of all models are read when somebody needs to be told, and what was found counts for a while.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from nats.js.errors import KeyNotFoundError, NoKeysError

from golek_client.bus_client import BusClient
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.signals import TAKES_REQUESTS, ModelRecord
from golek_worker.bus.jetstream import BUS_ERRORS

FRESH_S: Final = 5.0
LOOK_S: Final = 1.0
"""An error waits at most so long for their names."""
LIMIT: Final = 64
"""Errors that may wait; more are sent as they are."""
SHOWN: Final = 8
LEAVE_S: Final = 2.0
Send = Callable[[], Awaitable[None]]


class Seers:
    """The models of the fleet that read images: in chats, and classifiers."""

    def __init__(self, client: BusClient) -> None:
        self._client = client
        self._records: list[ModelRecord] = []
        self._until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, error: InferenceServiceError, send: Send) -> bool:
        """Have `send` called once `error` says who sees; False where it needs no such word, or too many wait."""
        if not _wants(error) or len(self._tasks) >= LIMIT:
            return False
        task = asyncio.get_running_loop().create_task(self._then(error, send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def advise(self, error: InferenceServiceError) -> None:
        """Say in `error`, where a model was asked that does not see, which ones do."""
        if not _wants(error):
            return
        with contextlib.suppress(TimeoutError, *BUS_ERRORS):
            async with asyncio.timeout(LOOK_S):
                await self._look()
        classified = error.details.get("kind") == "vision"
        names = sorted(one.name for one in self._records if classified or "vision" in one.capabilities)
        error.details["available"] = names
        if names:
            error.message += f". Here {', '.join(names[:SHOWN])} {'see' if len(names) > 1 else 'sees'}"

    async def close(self) -> None:
        """Let those that wait be sent."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_S)

    async def _then(self, error: InferenceServiceError, send: Send) -> None:
        await self.advise(error)
        with contextlib.suppress(InferenceServiceError):  # the connection is closing
            await send()

    async def _look(self) -> None:
        if time.monotonic() < self._until:
            return
        bucket = await self._client.jetstream().key_value(subjects.MODELS_BUCKET)
        found = []
        with contextlib.suppress(NoKeysError):
            for token in await bucket.keys():
                with contextlib.suppress(KeyNotFoundError, msgspec.DecodeError):
                    entry = await bucket.get(token)
                    record = msgspec.json.decode(entry.value or b"", type=ModelRecord)
                    if "vision" in record.kinds and record.state in TAKES_REQUESTS:
                        found.append(record)
        self._records, self._until = found, time.monotonic() + FRESH_S


def _wants(error: InferenceServiceError) -> bool:
    return error.details.get("needs") == "vision" and "available" not in error.details
