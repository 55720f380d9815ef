"""Is a replica still there whose step is silent?

Whoever watches the fleet knows within seconds that a busy worker is gone, and within twelve that an idle one is. Who
waits for an answer need not wait for that: it asks at once.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

import nats.errors

from golek_client.bus_client import BusClient
from golek_client.fleet import Presence, Replica
from golek_wire import subjects

AGAIN_S: Final = 1.0
"""Who was asked after is not asked after again for so long, nor is who was heard."""
ANSWER_S: Final = 1.0


class AskingAfter:
    """One router's questions."""

    def __init__(self, client: BusClient, found: Callable[[str, Presence], None], clock: Callable[[], float]) -> None:
        """`found` is told of who is gone or silent, by worker id; `clock` is the one by which replicas were heard."""
        self._client = client
        self._found = found
        self._clock = clock
        self._asked: dict[str, float] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def ask(self, replicas: Iterable[Replica]) -> None:
        """Ask after those that were not heard lately, beside everything else."""
        now = time.monotonic()
        self._asked = {worker: at for worker, at in self._asked.items() if now - at < AGAIN_S}
        for one in replicas:
            is_due = one.incarnation and one.worker_id not in self._asked and self._clock() - one.heard_at >= AGAIN_S
            if is_due and self._client.is_connected:
                self._asked[one.worker_id] = now
                task = asyncio.get_running_loop().create_task(self._ask(one))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def _ask(self, replica: Replica) -> None:
        try:
            await self._client.request(subjects.micro("PING", replica.incarnation), b"", timeout=ANSWER_S)
        except nats.errors.NoRespondersError:
            self._found(replica.worker_id, "gone")
        except (nats.errors.Error, TimeoutError):
            return  # frozen, or the broker is: who watches the fleet finds out which
