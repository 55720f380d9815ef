"""Which pages can be looked at in a browser?

`/`, to talk to a model, and `/docs`, all routes. They are files of this package that load nothing from anywhere else,
and the browser is told to hold them to that. What they ask, they ask like any other client.
"""

import functools
import hashlib
from importlib import resources
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_wire.errors import NotFoundError
from golek_worker.gateway.described import describe

FOLDER: Final = resources.files(__package__) / "static"
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


class Page(NamedTuple):
    """A file that is served."""

    body: bytes
    media: str
    tag: str


@functools.cache
def pages() -> dict[str, Page]:
    """All files, by their names."""
    found = {}
    for file in FOLDER.iterdir():
        media = MEDIA.get(file.name.rpartition(".")[2])
        if media is not None:
            body = file.read_bytes()
            found[file.name] = Page(body, media, f'"{hashlib.sha256(body).hexdigest()[:24]}"')
    return found


def page(request: Request, name: str) -> Response:
    """The file `name`, or 304 where the browser has it. Raises NotFoundError."""
    found = pages().get(name)
    if found is None:
        raise NotFoundError(f"{request.method} {request.url.path}: there is no such file")
    headers = HEADERS | {"etag": found.tag}
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=found.media)


@describe(group="Pages", summary="A page to talk to a model.", reply=str, media="text/html")
async def chat(request: Request) -> Response:
    """GET /."""
    return page(request, "chat.html")


@describe(group="Pages", summary="A page that shows all routes, and lets them be tried.", reply=str, media="text/html")
async def docs(request: Request) -> Response:
    """GET /docs."""
    return page(request, "docs.html")


@describe(group="Pages", summary="The sign in the browser's tab.", reply=str, media="image/svg+xml")
async def icon(request: Request) -> Response:
    """GET /favicon.ico."""
    return page(request, "icon.svg")


@describe(
    group="Pages",
    summary="A file that the pages are made of.",
    reply=str,
    media="text/javascript",
    errors=(404,),
    values={"name": "chat.js"},
)
async def static(request: Request) -> Response:
    """GET /static/NAME."""
    return page(request, request.path_params["name"])


ROUTES = [
    Route("/", chat, methods=["GET"]),
    Route("/docs", docs, methods=["GET"]),
    Route("/favicon.ico", icon, methods=["GET"]),
    Route("/static/{name}", static, methods=["GET"]),
]
