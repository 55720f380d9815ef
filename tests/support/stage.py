"""A monitor's page on a fleet that a test moves: served in a thread, for the test's own loop is the browser's."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from golek_monitor.logs.explorer import Explorer
from golek_monitor.picture import Picture
from golek_monitor.web import requests
from tests.support import fleets, sample_monitor
from tests.support.ports import free_port
from tests.support.sample_monitor import Now

T = TypeVar("T")
PATIENCE_S = 10.0
NOWHERE: Final = Path("nowhere")


class Stage:
    """Serves the picture of so many workers until its end; nothing moves but by `do`."""

    def __init__(self, workers: int, data: Path = NOWHERE, *, show_prompts: bool = False, **parts: Any) -> None:
        """`data` is the folder of a machine whose logs are read, `parts` are those of the application."""
        self.now = Now()
        self.seen: Picture = fleets.picture(workers, self.now)
        self.seen.tick()
        self._port = free_port()
        explorer = Explorer(data, show_prompts=show_prompts)
        self._parts = parts | {"more": requests.routes(explorer, None, show_prompts=show_prompts)}
        self.url = f"http://127.0.0.1:{self._port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._served: AbstractAsyncContextManager[str] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def begin(self) -> None:
        """Serve, always on the same port."""

        async def begin() -> None:
            self._served = sample_monitor.serving(self.seen, self._port, **self._parts)
            await self._served.__aenter__()

        self._run(begin())

    def end(self) -> None:
        """Serve no longer, as when the monitor ended."""

        async def end() -> None:
            if self._served is not None:
                served, self._served = self._served, None
                await served.__aexit__(None, None, None)

        self._run(end())

    def do(self, change: Callable[[Picture], T]) -> T:
        """Change the picture, and let the second go by after which that is told."""

        async def change_it() -> T:
            found = change(self.seen)
            self.seen.tick()
            return found

        return self._run(change_it())

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)
