"""What becomes of a request whose key this worker does not know?

A key that was made a moment ago may not have been heard of. So the bucket is asked once, beside everything else, and
then the request is looked at again. Wrong keys wait together: of each there is one question at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from golek_client.bus_client import Delivery
from golek_worker.bus.jetstream import BUS_ERRORS

log = structlog.get_logger("ingress")

LIMIT: Final = 256
"""Requests that may wait for the bucket's word; more are refused at once."""
LEAVE_S: Final = 2.0


class Strangers:
    """The requests of one ingress with keys that are looked for."""

    def __init__(self, look: Callable[[str], Awaitable[object]], admit: Callable[[Delivery], Awaitable[None]]) -> None:
        """`look` asks for the key of a digest, and remembers for a while that there is none; `admit` looks at a
        request again.
        """
        self._look = look
        self._admit = admit
        self._waiting: dict[str, list[Delivery]] = {}
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, digest: str, message: Delivery) -> bool:
        """Ask for the key of this digest; False when too many wait."""
        if self._count >= LIMIT:
            return False
        self._count += 1
        waiting = self._waiting.setdefault(digest, [])
        waiting.append(message)
        if len(waiting) == 1:
            task = asyncio.get_running_loop().create_task(self._ask(digest))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Let those that wait be looked at, as far as LEAVE_S allows."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_S)

    async def _ask(self, digest: str) -> None:
        try:
            await self._look(digest)
        except BUS_ERRORS as error:
            log.warning("keys.unread", problem=str(error) or type(error).__name__)
        waiting = self._waiting.pop(digest)
        self._count -= len(waiting)
        for message in waiting:
            await self._admit(message)
