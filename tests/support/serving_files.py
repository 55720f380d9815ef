"""What do the stand-ins for places of files share? A socket, a thread, and bodies that are slow, cut off or damaged."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Generic, Self, TypeVar

CHUNK = 16 * 1024
S = TypeVar("S", bound="StandIn")


class StandIn:
    """Serves `files` from a thread; what it does wrong is set on it."""

    def __init__(self, files: dict[str, bytes], handler: type["Handler[Any]"]) -> None:
        self.files = files
        self.served = 0
        """Bytes of bodies that left."""
        self.rate: float | None = None
        """Bytes per second of each connection; None is as fast as it goes."""
        self.cut_after: list[int] = []
        """The next bodies end after so many bytes."""
        self.corrupt = False
        """The last byte of each answer is wrong."""
        self.claimed_size: int | None = None
        self.ranges = True
        self._server = _Server(self, handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Handler(BaseHTTPRequestHandler, Generic[S]):
    """One connection to a stand-in; what it says to a HEAD or GET is `answer`."""

    protocol_version = "HTTP/1.1"
    server: "_Server[S]"

    def log_message(self, *_: Any) -> None:
        """Tests read what was asked instead."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        raise NotImplementedError

    def send_head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_body(self, content: bytes, begin: int, end: int) -> bool:
        """Send `content[begin:end]` as the stand-in's faults have it; whether it was cut off."""
        stand_in = self.server.stand_in
        if stand_in.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        limit = begin + stand_in.cut_after.pop(0) if stand_in.cut_after else end
        try:
            self._trickle(content[begin : min(limit, end)])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if limit < end:
            self.close_connection = True
        return limit < end

    def _trickle(self, content: bytes) -> None:
        stand_in = self.server.stand_in
        began, sent = time.monotonic(), 0
        while sent < len(content):
            piece = content[sent : sent + CHUNK]
            self.wfile.write(piece)
            sent += len(piece)
            stand_in.served += len(piece)
            if stand_in.rate is not None:
                time.sleep(max(0.0, began + sent / stand_in.rate - time.monotonic()))


class _Server(ThreadingHTTPServer, Generic[S]):
    daemon_threads = True

    def __init__(self, stand_in: S, handler: type[Handler[S]]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.stand_in = stand_in
