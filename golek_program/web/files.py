"""How are the files of a page served?

They lie in a package and load nothing from anywhere else; the browser is told to hold them to that. A file that a
browser has is not sent again.
"""

import functools
import hashlib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from golek_wire.errors import NotFoundError

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
MEDIA: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class File(NamedTuple):
    """A file that is served."""

    body: bytes
    media: str
    tag: str


SHARED: Final = resources.files(__package__) / "static"
"""What all pages look like."""


class Files:
    """The files below a folder that are of a kind which browsers know, and those that all pages share."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder

    @functools.cached_property
    def all(self) -> dict[str, File]:
        """By their names, with `/` between folders."""
        return dict(_below(SHARED, "")) | (dict(_below(self._folder, "")) if self._folder.is_dir() else {})

    def answer(self, request: Request, name: str) -> Response:
        """The file `name`, or 304 where the browser has it. Raises NotFoundError."""
        found = self.all.get(name)
        if found is None:
            raise NotFoundError(f"{request.method} {request.url.path}: there is no such file")
        headers = HEADERS | {"etag": found.tag}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.body, headers=headers, media_type=found.media)


def _below(folder: Traversable, before: str) -> Iterator[tuple[str, File]]:
    for one in folder.iterdir():
        name = before + one.name
        if one.is_dir():
            yield from _below(one, f"{name}/")
        elif (media := MEDIA.get(name.rpartition(".")[2])) is not None:
            body = one.read_bytes()
            yield name, File(body, media, f'"{hashlib.sha256(body).hexdigest()[:24]}"')
