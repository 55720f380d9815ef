"""What becomes of resumable streams whose readers have left?

They have half a minute to come back, here or at another gateway; then the job is cancelled. A gateway that ends leaves
the jobs to their end.
"""

import asyncio

from golek_client.reopening import Reopened
from golek_client.stream import Stream


class Lingering:
    """Streams whose readers left a moment ago, and may come back."""

    def __init__(self) -> None:
        self._leaving: set[asyncio.Task[bool]] = set()

    def add(self, stream: Stream | Reopened) -> None:
        """Cancel the job of `stream` in a while, unless somebody reads it then."""
        task = asyncio.create_task(stream.leave())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Wait no longer: what is not cancelled yet goes on to its end."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
