"""How does a worker run without an engine of its own?

A router's jobs run elsewhere. It has no child to load, to unload or to watch, so its host is ready from the beginning
until the end.
"""

import asyncio
from collections.abc import Callable

from golek_worker.engine.base import SequenceStart
from golek_worker.engine.host import EngineDied, EngineHost, Run


class Childless(EngineHost):
    """A host without a child: always ready, always making progress, with nothing to tell of a model."""

    stays = "there is no model in memory here: other workers and clouds answer; drain takes this router out"

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__(None, 0.0, on_change)
        self._ends = asyncio.Event()

    @property
    def unloaded(self) -> bool:
        return False

    @property
    def is_unloading(self) -> bool:
        return False

    @property
    def progress_age_s(self) -> float:
        return 0.0

    @property
    def is_alive(self) -> bool:
        return True

    def submit(self, command: SequenceStart, run: Run | None = None) -> Run:  # noqa: ARG002 - nothing runs here
        run = run or Run()
        run.put(EngineDied(ran=False))
        return run

    async def run(self) -> None:
        """Be ready, for as long as the worker lives."""
        self.serving = True
        self._on_change()
        await self._ends.wait()

    def load(self) -> None:
        """There is nothing to load."""

    async def unload(self) -> None:
        """There is nothing to unload."""

    async def close(self) -> None:
        """Nothing is left behind."""
        self._closing = True
