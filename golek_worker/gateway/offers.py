"""Which models could be started that no worker serves?

Those of the supervisors (`golek serve`) and of this process's own machine. Asking takes half a second, so what was
found is good for some seconds.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from golek_client import Golek
from golek_wire.errors import InferenceServiceError
from golek_wire.hosts import Startable

FRESH_S: Final = 10.0


class Offers:
    """What the machines could start."""

    def __init__(self, golek: Golek, here: Callable[[], Iterable[Startable]]) -> None:
        """`here` tells what this machine has; it may read files."""
        self._golek = golek
        self._here = here
        self._looking = asyncio.Lock()
        self._found: list[Startable] = []
        self._until = 0.0

    async def all(self) -> list[Startable]:
        """Each model once, by name; without those of supervisors that cannot be asked."""
        async with self._looking:
            if time.monotonic() >= self._until:
                self._found = await self._look()
                self._until = time.monotonic() + FRESH_S
            return self._found

    async def _look(self) -> list[Startable]:
        found = {one.name: one for one in await asyncio.to_thread(lambda: list(self._here()))}
        try:
            reports = await self._golek.startable()
        except InferenceServiceError:  # a list of what there is is worth more than none
            reports = []
        found |= {one.name: one for report in reports for one in report.models}
        return [found[name] for name in sorted(found)]
