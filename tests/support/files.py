"""A server of files on a real socket: plain HTTP with ETag, Range and If-Range, and with the same answers what a client
of S3 asks for (path-style HEAD and GET, If-Match, errors as XML).

For S3 it is a stand-in: it checks no signature. What the server does wrong is set on it.
"""

import hashlib
from typing import NamedTuple
from urllib.parse import unquote

from tests.support.serving_files import Handler, StandIn

MODIFIED = "Fri, 02 Jan 2026 03:04:05 GMT"


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    range: str | None
    if_range: str | None
    user: str | None
    """The Authorization header."""


class FileServer(StandIn):
    """Serves `files` by their path, without the slash in front."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files, _Handler)
        self.asked: list[Asked] = []
        self.then: dict[str, bytes] = {}
        """What there is instead of `files` once a body was cut; empty changes nothing."""
        self.etags = True
        self.weak = False
        self.dates = True
        """Whether Last-Modified is said."""
        self.lengths = True
        """Whether Content-Length is said; without it a body ends with its connection."""
        self.head_status = 200
        """Another one is the answer to every HEAD."""
        self.status = 200
        """Another one is the answer to everything."""
        self.redirects: dict[str, str] = {}
        """Where a path has moved to."""

    def environment(self) -> dict[str, str]:
        """What a process needs to take this for S3, and no key of a developer."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "stand-in",
            "AWS_SECRET_ACCESS_KEY": "stand-in",
            "AWS_REGION": "eu-central-1",
            "AWS_SESSION_TOKEN": "",
        }

    def gets(self) -> list[Asked]:
        """The requests for bytes of a file."""
        return [asked for asked in self.asked if asked.method == "GET"]


class _Handler(Handler[FileServer]):
    def answer(self) -> None:
        files, path = self.server.stand_in, unquote(self.path.partition("?")[0]).removeprefix("/")
        headers = self.headers
        files.asked.append(
            Asked(self.command, self.path, headers.get("Range"), headers.get("If-Range"), headers.get("Authorization"))
        )
        content = files.files.get(path)
        status = files.head_status if self.command == "HEAD" and files.head_status != 200 else files.status
        if path in files.redirects:
            self.send_head(302, {"Location": files.redirects[path], "Content-Length": "0"})
        elif status != 200 or content is None:
            self._refuse(status if status != 200 else 404)
        elif (wanted := headers.get("If-Match")) is not None and wanted != self._etag(content):
            self._refuse(412)
        else:
            self._send(content)

    def _etag(self, content: bytes) -> str:
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        return f"W/{tag}" if self.server.stand_in.weak else tag

    def _refuse(self, status: int) -> None:
        code = {404: "NoSuchKey", 403: "AccessDenied", 412: "PreconditionFailed"}.get(status, "InternalError")
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.send_head(status, {"Content-Length": str(len(body)), "Content-Type": "application/xml"})
        if self.command == "GET":
            self.wfile.write(body)

    def _send(self, content: bytes) -> None:
        files, etag = self.server.stand_in, self._etag(content)
        size = files.claimed_size or len(content)
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        begin, end, status = 0, len(content), 200
        headers = {"ETag": etag} if files.etags else {}
        if files.dates:
            headers["Last-Modified"] = MODIFIED
        if asked and files.ranges and condition in (None, etag, MODIFIED if not files.etags else etag):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, status = int(first), 206
            end = int(last) + 1 if last else len(content)
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        if files.lengths:
            headers["Content-Length"] = str(end - begin if end < len(content) else size - begin)
        else:
            headers["Connection"] = "close"
        self.send_head(status, headers)
        if self.command == "GET":
            cut = self.send_body(content, begin, end)
            if cut and files.then:
                files.files = files.then
            if not files.lengths or files.claimed_size:
                self.close_connection = True
