"""A hub on a real socket that speaks what huggingface_hub 2.4 asks: resolve with HEAD and GET, a CDN with ranges, and
which files a repository has.

The CDN has another host name than the hub, as the real one has, so that a token sent to it is seen. What the hub does
wrong is set on the `Hub`: slow, cut off, damaged, a claimed size, refusals.
"""

import hashlib
import json
from typing import NamedTuple
from urllib.parse import unquote

from tests.support.serving_files import Handler, StandIn

COMMIT = "5f0b02c75b57c5855da9ae460ce51323ea669d8a"


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    range: str | None
    token: str | None
    """The Authorization header."""


class Hub(StandIn):
    """Serves files by `<owner>/<repository>/<file>`; faults of bodies are the CDN's."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files, _Handler)
        self.asked: list[Asked] = []
        self.etag: str | None = None
        """What the hub says instead of the SHA-256, as one that knows none."""
        self.circular = False
        """A GET is sent back to where it came from."""
        self.refusal: tuple[int, str] | None = None
        """Status and X-Error-Code of every answer of the hub."""
        self.in_git: set[str] = set()
        """Files that the hub keeps in git itself: it sends them without a CDN, and knows git's name of their bytes."""
        self.token: str | None = None
        """Who does not send it gets 401."""

    def environment(self) -> dict[str, str]:
        """What a process needs to ask this hub and no other, and to find no token of a developer."""
        return {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "", "HF_HOME": "/nonexistent"}

    def gets(self) -> list[Asked]:
        """The requests for bytes of a file."""
        return [asked for asked in self.asked if asked.method == "GET" and asked.path.startswith("/cdn/")]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blob(content: bytes) -> str:
    """Git's name of a file's bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class _Handler(Handler[Hub]):
    def answer(self) -> None:
        hub = self.server.stand_in
        token = self.headers.get("Authorization")
        hub.asked.append(Asked(self.command, self.path, self.headers.get("Range"), token))
        path = unquote(self.path.partition("?")[0]).removeprefix("/")
        if path.startswith("cdn/"):
            self._send(hub.files[path.removeprefix("cdn/")])
            return
        if path.startswith("api/models/"):
            self._list(path.removeprefix("api/models/").partition("/revision/")[0], token)
            return
        repo, _, name = path.partition("/resolve/")
        key = f"{repo}/{name.partition('/')[2]}"
        if refusal := self._refusal(repo, key, token):
            self._refuse(*refusal)
        elif key in hub.in_git:
            self._send(hub.files[key], {"ETag": f'"{blob(hub.files[key])}"', "X-Repo-Commit": COMMIT})
        else:
            self._redirect(key)

    def _list(self, repo: str, token: str | None) -> None:
        hub = self.server.stand_in
        if refusal := self._refusal(repo, "", token, listed=True):
            self._refuse(*refusal)
            return
        names = [name.removeprefix(f"{repo}/") for name in hub.files if name.startswith(f"{repo}/")]
        said = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
        body = json.dumps(said).encode()
        self.send_head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _refusal(self, repo: str, key: str, token: str | None, *, listed: bool = False) -> tuple[int, str] | None:
        """Why the hub would not say where `key` is."""
        hub = self.server.stand_in
        if hub.refusal is not None:
            return hub.refusal
        if hub.token is not None and token != f"Bearer {hub.token}":
            return 401, "RepoNotFound"
        if not any(file.startswith(f"{repo}/") for file in hub.files):
            return 401, "RepoNotFound"
        return None if listed or key in hub.files else (404, "EntryNotFound")

    def _redirect(self, key: str) -> None:
        """Where the bytes are, and what the hub knows of them."""
        hub = self.server.stand_in
        content = hub.files[key]
        back = hub.circular and self.command == "GET"
        headers = {
            "Location": self.path if back else f"http://localhost:{hub.port}/cdn/{key}",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{hub.etag or sha256(content)}"',
            "X-Linked-Size": str(hub.claimed_size or len(content)),
            "Content-Length": "0",
        }
        self.send_head(302, headers)

    def _refuse(self, status: int, code: str) -> None:
        self.send_head(status, {"X-Error-Code": code, "Content-Length": "0"})

    def _send(self, content: bytes, said: dict[str, str] | None = None) -> None:
        begin, status, headers = 0, 200, dict(said or {})
        asked = self.headers.get("Range")
        if asked and self.server.stand_in.ranges:
            begin, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        headers["Content-Length"] = str(len(content) - begin)
        self.send_head(status, headers)
        if self.command == "GET":
            self.send_body(content, begin, len(content))
