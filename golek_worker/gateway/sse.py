"""How do events reach a client while they are made?

Server-sent events (WHATWG HTML, 9.2). The response begins with the first event, so that what goes wrong before is a
status and not a broken stream; when that takes long, or the job waits in the queue, it begins with comments. A client
that leaves ends the work.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from golek_wire.errors import InferenceServiceError, InternalError
from golek_worker.gateway import errors
from golek_worker.gateway.body import GoneError
from golek_worker.gateway.leaving import watched

ALIVE_S: Final = 15.0
"""A comment goes out after so long a silence, because proxies cut connections that say nothing."""

Events = AsyncGenerator[bytes, None]
"""Whole events: `data: …`, a blank line behind each."""


class Waiting:
    """Where a stream stands in the queue, told as comments: `: position=3 eta_s=2.5`."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.comment = b""

    def __call__(self, position: int, eta_s: float | None) -> None:
        """The `on_queued` of a stream."""
        eta = "" if eta_s is None else f" eta_s={eta_s:.1f}"
        self.comment = f": position={position}{eta}\n\n".encode()
        self.changed.set()


def told(error: InferenceServiceError) -> bytes:
    """The event that ends a stream in `error`."""
    return b"data: " + errors.event(error) + b"\n\n"


class EventStream(Response):
    """A response of events. Where none has been sent yet, an error of theirs is raised to who answers the request."""

    media_type = "text/event-stream"

    def __init__(
        self, events: Events, waiting: Waiting, on_error: Callable[[InferenceServiceError], bytes] = told
    ) -> None:
        self._events = events
        self._waiting = waiting
        self._on_error = on_error
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._begun = False
        self._quiet = True
        """Since the last look of the ticker."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send all events. Raises GoneError when the client leaves."""
        ticking = asyncio.create_task(self._tick(send))
        try:
            async with watched(receive):
                async for event in self._events:
                    await self._put(send, event)
        except InferenceServiceError as error:
            await self._fail(send, error)
        except (GoneError, asyncio.CancelledError):
            raise
        except Exception as error:
            if not self._begun:
                raise
            await self._fail(send, InternalError("the stream could not be written to its end"))
            raise error from None
        finally:
            ticking.cancel()
            with contextlib.suppress(InferenceServiceError):
                await self._events.aclose()
        await self._begin(send)
        await send({"type": "http.response.body", "body": b""})

    async def _fail(self, send: Send, error: InferenceServiceError) -> None:
        if not self._begun:
            raise error
        await self._put(send, self._on_error(error))

    async def _begin(self, send: Send) -> None:
        if not self._begun:
            self._begun = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _put(self, send: Send, data: bytes) -> None:
        if not self._begun:
            await self._begin(send)
        self._quiet = False
        await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _tick(self, send: Send) -> None:
        """Comments: the place in the queue when it changes, and a sign of life after a silence."""
        while True:
            self._quiet = True
            try:
                async with asyncio.timeout(ALIVE_S):
                    await self._waiting.changed.wait()
            except TimeoutError:
                if self._quiet:
                    await self._put(send, b": alive\n\n")
            else:
                self._waiting.changed.clear()
                await self._put(send, self._waiting.comment)
