"""A monitor of a fleet that is not there, to look at its page:

    python -m tests.support.sample_monitor 5 5799

Of so many workers each says something every second; the second number is the port.
"""

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from golek_client import Golek
from golek_monitor.picture import Picture
from golek_monitor.web.access import Access
from golek_monitor.web.app import application
from golek_program.settings.http import Address, Http
from golek_program.web import server
from tests.support import fleets
from tests.support.fleets import Time
from tests.support.flowing import Flowing

PAST_S = 600.0
"""So much has happened before somebody looks, in a fleet of up to FEW workers."""
FEW = 50


class Now(Time):
    """The time that it is."""

    def clock(self) -> float:
        return time.monotonic() + self.passed

    def wall(self) -> float:
        return time.time() + self.passed


class Life:
    """What a fleet says from second to second."""

    def __init__(self, seen: Picture, workers: int, now: Time) -> None:
        self._seen = seen
        self._workers = workers
        self._now = now
        self._flowing = Flowing(seen)
        self._seq = 1

    def second(self) -> None:
        """Let every worker say something."""
        self._seq += 1
        self._flowing.at += 1
        for number in range(self._workers):
            fleets.say(self._flowing, number, random.Random(number + 7919 * self._seq), self._now, self._seq)
        if self._workers and not self._seq % 5:
            fleets.gateway(self._seen, self._now, self._seq)
        if not self._seq % 10:
            fleets.records(self._seen, self._workers, self._now)
        self._seen.tick()

    async def go_on(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(1)
            self.second()


@contextlib.asynccontextmanager
async def serving(
    seen: Picture, port: int = 0, access: Access | None = None, golek: Golek | None = None, **parts: Any
) -> AsyncIterator[str]:
    """While inside, `seen` is shown on a port of this machine; its URL."""
    web = application(seen, golek, access, **parts)
    served = await server.serve(web, Address("127.0.0.1", port), Http())
    try:
        yield f"http://127.0.0.1:{served.where.port}"
    finally:
        web.close()
        await served.close(1.0)


async def main(workers: int, port: int) -> None:
    """Serve until Ctrl-C."""
    now = Now()
    now.passed = -PAST_S if workers <= FEW else 0.0
    seen = fleets.picture(workers, now)
    life = Life(seen, workers, now)
    while now.passed < 0:
        now.passed += 1
        life.second()
    async with serving(seen, port) as url:
        print(f"{workers} workers that are not there, at {url}")
        await life.go_on()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*(int(word) for word in (*sys.argv[1:], *("5", "5799")[len(sys.argv) - 1 :]))))
