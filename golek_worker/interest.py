"""Does the router still listen that has a step run here?

A router that was killed cancels nothing, and whoever takes its job over has the steps run anew. So while a step runs
its router is told so every other second; the server says when nobody listens at its inbox any more. One such word is no
proof, because whoever reconnects is deaf for a moment.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

from golek_wire.errors import InferenceServiceError

EVERY_S: Final = 2.0
AGAIN_S: Final = 0.25
"""Once nobody listened."""


class Interest:
    """The interest in one step."""

    def __init__(self, tell: Callable[[], Awaitable[None]], gone: Callable[[], None]) -> None:
        """`tell` sends the word; `gone` is called once when nobody has heard it for long enough."""
        self._tell = tell
        self._gone = gone
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None
        self._is_deaf = False
        """Whether the last word bounced."""
        self._deaf_since: float | None = None

    def begin(self) -> None:
        """Tell from now on."""
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._next)

    def bounced(self, patience_s: float) -> None:
        """Nobody heard a word; `patience_s` is how long that may be so."""
        now = time.monotonic()
        self._is_deaf = True
        if self._deaf_since is None:
            self._deaf_since = now
            self._again(AGAIN_S)
        elif now - self._deaf_since >= patience_s:
            self.end()
            self._gone()

    def end(self) -> None:
        """The step is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _again(self, after_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(after_s, self._next)

    def _next(self) -> None:
        if not self._is_deaf:
            self._deaf_since = None
        self._is_deaf = False
        self._telling = asyncio.get_running_loop().create_task(self._say())
        self._again(EVERY_S if self._deaf_since is None else AGAIN_S)

    async def _say(self) -> None:
        with contextlib.suppress(InferenceServiceError):  # our own connection is away: nothing is known
            await self._tell()
