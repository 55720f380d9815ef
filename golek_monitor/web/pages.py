"""Which page shows the fleet? Files of this package that load nothing from elsewhere (golek_program/web/files.py)."""

from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_program.web.described import describe
from golek_program.web.files import Files

FILES: Final = Files(resources.files(__package__) / "static")


@describe(group="Pages", summary="The fleet, live.", reply=str, media="text/html")
async def index(request: Request) -> Response:
    """GET /."""
    return FILES.answer(request, "index.html")


@describe(group="Pages", summary="The sign in the browser's tab.", reply=str, media="image/svg+xml")
async def icon(request: Request) -> Response:
    """GET /favicon.ico."""
    return FILES.answer(request, "icon.svg")


@describe(
    group="Pages",
    summary="A file that the page is made of.",
    reply=str,
    media="text/javascript",
    errors=(404,),
    values={"name": "app.js"},
)
async def static(request: Request) -> Response:
    """GET /static/NAME."""
    return FILES.answer(request, request.path_params["name"])


ROUTES = [
    Route("/", index),
    Route("/favicon.ico", icon),
    Route("/static/{name:path}", static),
]
