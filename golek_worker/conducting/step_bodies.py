"""How does a step ask what no message carries?

A step's request may be larger than its parent's was: with what was said before, or what other models said. What does
not fit into a message lies in the object store while the step runs, as large requests of callers do.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from golek_client import Golek
from golek_client.bus_client import BusClient
from golek_wire import headers as h
from golek_worker.bus.objects import Objects


class StepBodies:
    """The large bodies of one router's steps."""

    def __init__(self, client: BusClient, golek: Golek) -> None:
        self._client = client
        self._golek = golek
        self._objects = Objects(client, lambda _: None)

    @asynccontextmanager
    async def carried(self, payload: bytes, seconds: float) -> AsyncIterator[tuple[bytes, str]]:
        """What a step's message carries: the payload, or nothing and the reference of an object, which is deleted
        afterwards. Raises as `Passing.kept` does.
        """
        if len(payload) <= self._client.max_payload - h.REQUEST_RESERVE:
            yield payload, ""
            return
        name = await self._golek.kept(payload, seconds)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(payload).hexdigest())
        reference = f"{name}/{digest}"
        try:
            yield b"", reference
        finally:
            self._objects.forget(reference)

    async def close(self) -> None:
        """Return once what is to be deleted is deleted."""
        await self._objects.close()
