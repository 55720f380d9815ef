"""A hub on a real socket that speaks what huggingface_hub 2.4 asks: resolve with HEAD and GET, a CDN with ranges.

The CDN has another host name than the hub, as the real one has, so that a token sent to it is seen. What the hub does
wrong is set on the `Hub`: slow, cut off, damaged, a claimed size, refusals.
"""

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

COMMIT = "5f0b02c75b57c5855da9ae460ce51323ea669d8a"
CHUNK = 16 * 1024


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    range: str | None
    token: str | None
    """The Authorization header."""


class Hub:
    """Serves files by `<owner>/<repository>/<file>` from a thread."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[Asked] = []
        self.served = 0
        """Bytes of files that left the CDN."""
        self.rate: float | None = None
        """Bytes per second of each connection; None is as fast as it goes."""
        self.cut_after: list[int] = []
        """The next connections to the CDN end after so many bytes."""
        self.corrupt = False
        """The last byte of each answer is wrong."""
        self.claimed_size: int | None = None
        self.ranges = True
        self.etag: str | None = None
        """What the hub says instead of the SHA-256, as one that knows none."""
        self.circular = False
        """A GET is sent back to where it came from."""
        self.refusal: tuple[int, str] | None = None
        """Status and X-Error-Code of every answer of the hub."""
        self.token: str | None = None
        """Who does not send it gets 401."""
        self._server = _Server(self)
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
    def endpoint(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What a process needs to ask this hub and no other, and to find no token of a developer."""
        return {"HF_ENDPOINT": self.endpoint, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "", "HF_HOME": "/nonexistent"}

    def gets(self) -> list[Asked]:
        """The requests for bytes of a file."""
        return [asked for asked in self.asked if asked.method == "GET" and asked.path.startswith("/cdn/")]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *_: Any) -> None:
        """Tests read `asked` instead."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server.hub
        token = self.headers.get("Authorization")
        hub.asked.append(Asked(self.command, self.path, self.headers.get("Range"), token))
        path = unquote(self.path.partition("?")[0]).removeprefix("/")
        if path.startswith("cdn/"):
            self._send(hub.files[path.removeprefix("cdn/")])
            return
        repo, _, name = path.partition("/resolve/")
        key = f"{repo}/{name.partition('/')[2]}"
        if refusal := self._refusal(repo, key, token):
            self._refuse(*refusal)
        else:
            self._redirect(key)

    def _refusal(self, repo: str, key: str, token: str | None) -> tuple[int, str] | None:
        """Why the hub would not say where `key` is."""
        hub = self.server.hub
        if hub.refusal is not None:
            return hub.refusal
        if hub.token is not None and token != f"Bearer {hub.token}":
            return 401, "RepoNotFound"
        if not any(file.startswith(f"{repo}/") for file in hub.files):
            return 401, "RepoNotFound"
        return None if key in hub.files else (404, "EntryNotFound")

    def _redirect(self, key: str) -> None:
        """Where the bytes are, and what the hub knows of them."""
        hub = self.server.hub
        content = hub.files[key]
        self.send_response(302)
        back = hub.circular and self.command == "GET"
        self.send_header("Location", self.path if back else f"http://localhost:{hub.port}/cdn/{key}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{hub.etag or sha256(content)}"')
        self.send_header("X-Linked-Size", str(hub.claimed_size or len(content)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes) -> None:
        hub = self.server.hub
        begin = 0
        asked = self.headers.get("Range")
        if asked and hub.ranges:
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if self.command == "HEAD":
            return
        if hub.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        limit = begin + hub.cut_after.pop(0) if hub.cut_after else len(content)
        try:
            self._trickle(content[begin:limit])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if limit < len(content):
            self.close_connection = True

    def _trickle(self, content: bytes) -> None:
        hub = self.server.hub
        began, sent = time.monotonic(), 0
        while sent < len(content):
            piece = content[sent : sent + CHUNK]
            self.wfile.write(piece)
            sent += len(piece)
            hub.served += len(piece)
            if hub.rate is not None:
                time.sleep(max(0.0, began + sent / hub.rate - time.monotonic()))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
