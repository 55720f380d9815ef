"""A server that is an engine and hesitates: what is not its end costs nobody an answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from golek_wire.requests import InferenceRequest, Params
from golek_worker.engine.asynchronous import Counts
from golek_worker.engine.base import EngineConfig, Finished, Submit
from golek_worker.engine.outside import ServerConfig
from golek_worker.engine.server import loading
from golek_worker.engine.server.engine import ServerEngine
from golek_worker.engine.server.site import Site
from golek_worker.providers.transport import STALE_LIMIT

HASTE_S = 0.1
LATE_S = 0.3
CONTEXT = 100
TEXT = "It is well."


class HastySite(Site):
    """One that waits for no answer as long as they do otherwise."""

    async def asked(self, method: str, path: str, body: Any = None, patience_s: float = HASTE_S) -> bytes:
        return await super().asked(method, path, body, min(patience_s, HASTE_S))


class Hesitant:
    """A server that says it is vLLM's. One that is deaf takes no new connection until its health is asked twice."""

    def __init__(self) -> None:
        self.late_s: list[float] = []
        """How long the next counts take."""
        self.counted = 0
        self.refused = 0
        """Looks at its health while it is deaf."""
        self.hung_up = 0
        """On so many requests for texts it hangs up."""
        self.port = 0
        self._deaf = False
        self._together = asyncio.Barrier(1)

    async def deafen(self) -> None:
        """Connections that are there stay."""
        self._deaf = True
        await self._site.stop()

    async def keep_connections(self, engine: ServerEngine, count: int) -> None:
        """Have so many answers written at the same time."""
        self._together = asyncio.Barrier(count)
        await asyncio.gather(*(written(engine, 10) for _ in range(count)))
        self._together = asyncio.Barrier(1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ServerEngine]:
        """The engine over it."""
        application = web.Application()
        routes = {"/health": self._health, "/v1/models": self._models}
        application.add_routes([web.get(path, answer) for path, answer in routes.items()])
        application.add_routes([web.post("/tokenize", self._count), web.post("/v1/chat/completions", self._chat)])
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await self._listen()
        self.port = self._runner.addresses[0][1]
        config = ServerConfig(url=f"http://127.0.0.1:{self.port}")
        engine = await loading.load(EngineConfig("openai", "", 4, CONTEXT, 0, server=config), lambda _done, _all: None)
        try:
            yield engine
        finally:
            await engine.close()
            await self._runner.cleanup()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await self._site.start()

    async def _health(self, _: web.Request) -> web.Response:
        self.refused += self._deaf
        if self.refused == 2:
            self._deaf = False
            await self._listen()
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "a", "owned_by": "vllm"}]})

    async def _count(self, _: web.Request) -> web.Response:
        self.counted += 1
        await asyncio.sleep(self.late_s.pop(0) if self.late_s else 0.0)
        return web.json_response({"count": 5})

    async def _chat(self, request: web.Request) -> web.Response:
        if self.hung_up:
            self.hung_up -= 1
            assert request.transport is not None
            request.transport.abort()
        await self._together.wait()
        message = {"role": "assistant", "content": TEXT}
        return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


async def written(engine: ServerEngine, max_tokens: int) -> str:
    """The text of an answer. Its prompt is counted first where it might not fit."""
    values = Params(max_tokens=max_tokens)
    command = Submit("a", "", values, 7, asked=InferenceRequest(input="What is it?", params=values))
    *_, end = [output async for output in engine.run(command, Counts())]
    assert isinstance(end, Finished)
    return end.text


async def test_a_server_that_is_slow_to_count_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has much to do, which is no failure of the request."""
    monkeypatch.setattr(loading, "Site", HastySite)
    server = Hesitant()
    async with server.running() as engine:
        server.late_s = [LATE_S]
        assert await written(engine, CONTEXT - 10) == TEXT
    assert server.counted == 2


async def test_a_connection_that_cannot_be_made_is_tried_again() -> None:
    """Where the server is well all the same: it took none for a moment, and heard nothing of the request."""
    server = Hesitant()
    async with server.running() as engine:
        await server.deafen()
        assert await written(engine, 10) == TEXT
    assert server.refused == 2


async def test_connections_that_ended_unnoticed_are_made_anew() -> None:
    """As after a machine slept: each of those that were kept breaks off as soon as it is used."""
    server = Hesitant()
    async with server.running() as engine:
        await server.keep_connections(engine, STALE_LIMIT)
        server.hung_up = STALE_LIMIT
        assert await written(engine, 10) == TEXT
    assert server.hung_up == 0
