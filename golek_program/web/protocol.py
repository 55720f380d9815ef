"""What may a connection do, besides asking and being answered?

uvicorn waits for ever: for a request's head, of any size; for the rest of a body whose answer is written; for a client
that does not read. Here a head has HEAD_S seconds and HEAD_BYTES bytes, such a rest has LINGER_S, and who reads less
than SLOWEST bytes of what waits in UNREAD_S is cut off. What is no HTTP is told so as every other error is: as JSON.
"""

import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from golek_program.web import errors
from golek_program.web.departure import CONNECTION, Departure
from golek_program.web.errors import HttpError

HEAD_S: Final = 10.0
"""From the first byte of a head, or from connecting, to its end."""
HEAD_BYTES: Final = 64 * 1024
"""Of the path and all headers together."""
LINGER_S: Final = 10.0
"""What still comes of a body after its answer, a refusal, is thrown away for so long: who is cut off while it sends may
never see the answer."""
UNREAD_S: Final = 30.0
SLOWEST: Final = 4 * 1024
"""Bytes of what waits that are to be read in UNREAD_S; all where it is less."""

_REASONS: Final = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class HeadError(Exception):
    """The head is refused; `error` says why."""


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._departure = Departure()
        self._refusal: HttpError | None = None
        self._size = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._reading = False
        """Whether a request's body is not at its end."""
        self._lingering: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; those that were sent behind it wait."""
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        self._watch_no_more()
        self._linger_no_more()
        self._departure.tell()
        if self._running is not None and not self._running.response_complete:
            # uvicorn tells it to the last request that came, which another may stand before
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def cut_off(self) -> None:
        """End it with what is written, without waiting for who does not read it."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        is_idle = self.cycle is not None and self.cycle.response_complete and self._waiting is None
        if is_idle and self.timeout_keep_alive_task is None:  # uvicorn forgets it at a byte that begins no request
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        self._size = 0
        if self._waiting is None:
            self._wait()
        super().on_message_begin()
        self.scope[CONNECTION] = self._departure  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        self._measure(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._measure(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._wait_no_more()
        super().on_headers_complete()
        self._reading = True

    def on_message_complete(self) -> None:
        self._reading = False
        self._linger_no_more()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._reading and self._lingering is None:
            self._lingering = self.loop.call_later(LINGER_S, self.transport.close)
        self._watch_reader()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._running is not None and not self._running.response_complete:
            self._watch_no_more()  # more is written to what waits

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read, or what was refused while it read."""
        self._refuse(self._refusal or HttpError(400, "BAD_REQUEST", f"this is not HTTP/1.1: {msg}"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if cycle.scope["http_version"] == "1.0":
            cycle.transport = _Unchunked(cycle.transport)  # type: ignore[assignment]
        super()._start_asgi_task(cycle, app)

    def _measure(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_BYTES:
            self._refusal = HttpError(
                431, "HEADERS_TOO_LARGE", f"path and headers have more than {HEAD_BYTES} bytes", limit=HEAD_BYTES
            )
            raise HeadError

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_S, self._too_slow)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _linger_no_more(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def _too_slow(self) -> None:
        self._waiting = None
        self._refuse(HttpError(408, "REQUEST_TIMEOUT", f"the request's head was not there after {HEAD_S:g} s"))

    def _watch_reader(self) -> None:
        """From now on: see to it that the client reads what was written."""
        self._watch_no_more()
        if self.transport.get_write_buffer_size():
            self._unread = self.loop.call_later(UNREAD_S, self._judge_reader, self._bytes_unread())

    def _watch_no_more(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _judge_reader(self, before: int) -> None:
        """Cut off who has read too little of the `before` bytes; nothing was added to them since."""
        self._unread = None
        if before - self._bytes_unread() < min(SLOWEST, before):
            self.transport.abort()
        else:
            self._watch_reader()

    def _bytes_unread(self) -> int:
        """Here and in the kernel, which takes no more for a while although the client reads."""
        held = self.transport.get_write_buffer_size()
        with contextlib.suppress(OSError):  # only Linux says it of sockets
            return held + int.from_bytes(fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return held

    def _refuse(self, error: HttpError) -> None:
        """Say why, where that answers a request, and hang up; what was asked before is answered first."""
        self._wait_no_more()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not self._reading and not cycle.response_complete:
            cycle.keep_alive = False
            return
        if cycle is not None and self._reading:  # it is about that one's body
            is_answered = cycle.response_started or cycle is not self._running
            cycle.disconnected = True
            cycle.message_event.set()
            if is_answered:
                self.transport.close()
                return
        body = errors.event(error)
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (error.http, _REASONS[error.http], len(body)) + body)
        self.transport.close()


class _Unchunked:
    """Where a response to HTTP/1.0 is written, which knows no chunks: what has no length ends with the connection.

    uvicorn writes a head, then each chunk, in one call.
    """

    _HEADER: Final = b"transfer-encoding: chunked\r\n"

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_chunked: bool | None = None

    def write(self, data: bytes) -> None:
        if self._is_chunked is None:
            head, found, rest = data.partition(self._HEADER)
            self._is_chunked = bool(found)
            self._transport.write(head + rest)
        elif self._is_chunked:
            size, _, rest = data.partition(b"\r\n")
            self._transport.write(rest[: int(size or b"0", 16)])
        else:
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
