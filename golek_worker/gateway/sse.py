"""How do events reach a client while they are made?

Server-sent events (WHATWG HTML, 9.2). The response begins with the first event, so that what goes wrong before is a
status and not a broken stream; when that takes long, or the job waits in the queue, it begins with comments. A client
that leaves ends the work; a server that ends says so as an event, but of a resumable stream only hangs up: its client
goes on elsewhere.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from golek_program.web import errors
from golek_program.web.leaving import GoneError, watched
from golek_wire import codec
from golek_wire.errors import InferenceServiceError, InternalError
from golek_wire.orchestration import StepEvent
from golek_worker.gateway import door

log = structlog.get_logger("gateway")

ALIVE_S: Final = 15.0
"""A comment goes out after so long a silence, because proxies cut connections that say nothing."""

HELD_BYTES: Final = 256 * 1024
"""The maker of events waits while more than this is not sent."""

Events = AsyncGenerator[bytes, None]
"""Whole events: `data: …`, a blank line behind each."""


class Waiting:
    """What a stream is told before its text: where it stands in the queue, as comments: `: position=3 eta_s=2.5`, and
    the steps of several models, in the form that its API has for them.
    """

    def __init__(self, written: Callable[[StepEvent], bytes] | None = None) -> None:
        """`written` makes the event of a step; it may be given later. Without it, and by default, that is a comment."""
        self.changed = asyncio.Event()
        self.comment = b""
        self.written = written or step_comment
        self.put: Callable[[bytes], None] = lambda _: None
        """Has an event sent, in its place among the others."""

    def __call__(self, position: int, eta_s: float | None) -> None:
        """The `on_queued` of a stream."""
        eta = "" if eta_s is None else f" eta_s={eta_s:.1f}"
        self.comment = f": position={position}{eta}\n\n".encode()
        self.changed.set()

    def step(self, step: StepEvent) -> None:
        """The `on_step` of a stream."""
        self.put(self.written(step))


def step_comment(step: StepEvent) -> bytes:
    """Word of a step for clients that know no other events than those of their API: `: orchestration_step {…}`."""
    return b": orchestration_step " + codec.encode(step) + b"\n\n"


class EventStream(Response):
    """A response of events. Where none has been sent yet, an error of theirs is raised to who answers the request.

    Events that are there at once go out in one write: a write costs more than the making of an event.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: Events,
        waiting: Waiting,
        told: Callable[[InferenceServiceError], bytes] | None = None,
        *,
        resumable: bool = False,
    ) -> None:
        """`told` makes the event that ends it in an error; without it that is as in OpenAI's streams."""
        self._events = events
        self._waiting = waiting
        waiting.put = self._put
        self._told = told
        self._resumable = resumable
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._begun = False
        self._unsent: list[bytes] = []
        self._held = 0
        """Bytes of them."""
        self._sent = asyncio.Event()
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send all events. Raises GoneError when the client leaves."""
        sending = asyncio.create_task(self._keep_sending(send))
        try:
            await self._make(scope)
        except BaseException:
            sending.cancel()
            raise
        self._ended = True
        self._waiting.changed.set()
        await sending  # never cut off: who reads slowly has something under way

    async def _make(self, scope: Scope) -> None:
        """Have all events made, or the one that tells why there are no more. Raises what is no event."""
        try:
            async with watched(scope):
                async for event in self._events:
                    await self._hold(event)
        except InferenceServiceError as error:
            if self._is_new:
                raise
            self._end_in(error, scope)
        except GoneError:
            raise
        except asyncio.CancelledError:  # by who ends the server
            if self._is_new or self._resumable:
                raise
            self._end_in(errors.stopping(), scope)
        except Exception as error:
            if self._is_new:
                raise
            log.exception("stream.failed", path=scope["path"])
            self._end_in(InternalError("the stream could not be written to its end", of=str(error)), scope)
        finally:
            with contextlib.suppress(InferenceServiceError):
                await self._events.aclose()

    def _end_in(self, error: InferenceServiceError, scope: Scope) -> None:
        """The response has begun well: its last event tells how it ended, and so do access log, metrics and trace."""
        request = Request(scope)
        door.visit(request).fail(error)
        if self._told is not None:
            self._unsent.append(self._told(error))
            return
        strict = door.door(request).settings.golek_strict_openai
        self._unsent.append(b"data: " + errors.event(error, strict=strict) + b"\n\n")

    @property
    def _is_new(self) -> bool:
        """Whether nothing of the response is there, so that an error can be a status."""
        return not self._begun and not self._unsent

    async def _hold(self, event: bytes) -> None:
        """Have `event` sent when there is nothing more to add at once; waits while the client does not keep up."""
        self._put(event)
        while self._held > HELD_BYTES:
            self._sent.clear()
            await self._sent.wait()

    def _put(self, event: bytes) -> None:
        self._unsent.append(event)
        self._held += len(event)
        self._waiting.changed.set()

    async def _keep_sending(self, send: Send) -> None:
        """Events as soon as their maker waits, word of the queue when it changes, a sign of life after a silence."""
        changed = self._waiting.changed
        while True:
            comment = b""
            try:
                async with asyncio.timeout(ALIVE_S):
                    await changed.wait()
            except TimeoutError:
                comment = b": alive\n\n"
            changed.clear()
            if self._waiting.comment and not self._unsent:
                comment, self._waiting.comment = self._waiting.comment, b""
            if self._ended:
                await self._send(send, more=False)
                return
            if comment:
                self._unsent.append(comment)
            if self._unsent:
                await self._send(send, more=True)

    async def _send(self, send: Send, *, more: bool) -> None:
        """What is held, in one write."""
        data, self._held = b"".join(self._unsent), 0
        self._unsent.clear()
        if not self._begun:
            self._begun = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": data, "more_body": more})
        self._sent.set()
