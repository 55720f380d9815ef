"""Which pages can be looked at in a browser?

`/`, to talk to a model, and `/docs`, all routes. They are files of this package that load nothing from anywhere else
(golek_program/web/files.py). What they ask, they ask like any other client.
"""

from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_program.web.described import describe
from golek_program.web.files import Files

FILES: Final = Files(resources.files(__package__) / "static")


@describe(group="Pages", summary="A page to talk to a model.", reply=str, media="text/html")
async def chat(request: Request) -> Response:
    """GET /."""
    return FILES.answer(request, "chat.html")


@describe(group="Pages", summary="A page that shows all routes, and lets them be tried.", reply=str, media="text/html")
async def docs(request: Request) -> Response:
    """GET /docs."""
    return FILES.answer(request, "docs.html")


@describe(group="Pages", summary="The sign in the browser's tab.", reply=str, media="image/svg+xml")
async def icon(request: Request) -> Response:
    """GET /favicon.ico."""
    return FILES.answer(request, "icon.svg")


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
    return FILES.answer(request, request.path_params["name"])


ROUTES = [
    Route("/", chat, methods=["GET"]),
    Route("/docs", docs, methods=["GET"]),
    Route("/favicon.ico", icon, methods=["GET"]),
    Route("/static/{name}", static, methods=["GET"]),
]
