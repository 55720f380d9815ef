"""What may a connection do before there is a request?

uvicorn waits for ever for a request's head, and takes one of any size. Here a head has HEAD_S seconds and HEAD_BYTES
bytes, and what is no HTTP is told so as every other error is: as JSON.
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from golek_worker.gateway import errors
from golek_worker.gateway.errors import HttpError

HEAD_S: Final = 10.0
"""From the first byte of a head, or from connecting, to its end."""
HEAD_BYTES: Final = 64 * 1024
"""Of the path and all headers together."""

_REASONS: Final = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class HeadError(Exception):
    """The head is refused; `error` says why."""


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._refusal: HttpError | None = None
        self._size = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._size = 0
        if self._waiting is None:
            self._wait()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._measure(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._measure(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._wait_no_more()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read, or what was refused while it read."""
        self._refuse(self._refusal or HttpError(400, "BAD_REQUEST", f"this is not HTTP/1.1: {msg}"))

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

    def _too_slow(self) -> None:
        self._waiting = None
        self._refuse(HttpError(408, "REQUEST_TIMEOUT", f"the request's head was not there after {HEAD_S:g} s"))

    def _refuse(self, error: HttpError) -> None:
        """Say why and hang up; in the middle of another response only hang up."""
        self._wait_no_more()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = errors.event(error)
            head = (
                b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head % (error.http, _REASONS[error.http], len(body)) + body)
        self.transport.close()
