"""What becomes of a request whose key this worker does not know?

A key that was made a moment ago may not have been heard of. So the bucket is asked once, beside everything else, and
then the request is looked at again. Where the bucket cannot say, the request is refused: as one to be asked again, for
its key may be right.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from golek_client.bus_client import Delivery
from golek_wire.errors import BusUnavailableError, InferenceServiceError
from golek_worker.bus.jetstream import BUS_ERRORS

LIMIT: Final = 256
"""Requests that may wait for the bucket's word; more are refused at once."""
LEAVE_S: Final = 2.0


class Strangers:
    """The requests of one ingress with keys that are looked for."""

    def __init__(
        self,
        look: Callable[[str], Awaitable[object]],
        admit: Callable[[Delivery], Awaitable[None]],
        refuse: Callable[[Delivery, InferenceServiceError], Awaitable[None]],
    ) -> None:
        """`look` asks for the key of a digest, and remembers for a while that there is none; `admit` looks at a
        request again; `refuse` answers it with an error.
        """
        self._look = look
        self._admit = admit
        self._refuse = refuse
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, digest: str, message: Delivery) -> bool:
        """Ask for the key of this digest; False when too many wait."""
        if len(self._tasks) >= LIMIT:
            return False
        task = asyncio.get_running_loop().create_task(self._ask(digest, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Let those that wait be looked at, as far as LEAVE_S allows."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_S)

    async def _ask(self, digest: str, message: Delivery) -> None:
        with contextlib.suppress(BusUnavailableError):  # the connection is closing
            try:
                await self._look(digest)
            except BUS_ERRORS as error:
                problem = f"whether the fleet knows this key could not be asked: {str(error) or type(error).__name__}"
                await self._refuse(message, BusUnavailableError(problem, may_run=False))
            else:
                await self._admit(message)
