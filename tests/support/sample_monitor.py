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


class Now(Time):
    """The time that it is."""

    def clock(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


async def live(seen: Picture, workers: int, now: Time) -> None:
    """Let every worker say something each second, until cancelled."""
    seq = 1
    while True:
        await asyncio.sleep(1)
        seq += 1
        for number in range(workers):
            fleets.say(seen, number, random.Random(number + 7919 * seq), now, seq)
        if workers and not seq % 5:
            fleets.gateway(seen, now, seq)
        if not seq % 10:
            fleets.records(seen, workers, now)
        seen.tick()


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
    seen = fleets.picture(workers, now)
    async with serving(seen, port) as url:
        print(f"{workers} workers that are not there, at {url}")
        await live(seen, workers, now)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*(int(word) for word in (*sys.argv[1:], *("5", "5799")[len(sys.argv) - 1 :]))))
