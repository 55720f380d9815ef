"""A server of images: answers by path, leads elsewhere, sends too much or too slowly, and remembers who asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.support.pictures import jpeg_head, png


class Server:
    """On a port of this machine."""

    def __init__(self, pictures: dict[str, bytes]) -> None:
        self._pictures = pictures
        self.asked: list[str] = []
        self.port = 0
        self.hung_up = asyncio.Event()

    def at(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path in self._pictures:
            return web.Response(body=self._pictures[request.path], content_type="image/png")
        match request.path.split("/")[1:]:
            case ["wrongly.png"]:
                return web.Response(body=jpeg_head(8, 8), content_type="image/png")
            case ["page"]:
                return web.Response(text="<html>no image</html>", content_type="text/html")
            case ["to", *rest]:
                raise web.HTTPFound("/".join(rest) if ":" in rest[0] else "/" + "/".join(rest))
            case ["status", code]:
                return web.Response(status=int(code))
            case ["announced"]:
                return web.Response(body=b"\0" * 5000)
            case ["endless"]:
                return await self._endless(request, 0.0)
            case ["slow"]:
                return await self._endless(request, 0.02)
            case _:
                raise web.HTTPNotFound

    async def _endless(self, request: web.Request, pause_s: float) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"\x89" if pause_s else b"\0" * 4096)
                await asyncio.sleep(pause_s)
        except (ConnectionError, asyncio.CancelledError):
            self.hung_up.set()
            raise


@asynccontextmanager
async def serving(pictures: dict[str, bytes] | None = None, port: int = 0) -> AsyncIterator[Server]:
    """The server, with these pictures beside `/cat.png`."""
    found = Server({"/cat.png": png()} | (pictures or {}))
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()
