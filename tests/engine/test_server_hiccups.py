"""A server that is an engine and hesitates: what is not its end costs nobody an answer."""

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
from golek_worker.engine.server.site import SilentError, Site
from tests.support.played_servers import WORDS, PlayedServer, playing

HASTE_S = 0.1
LATE_S = 0.3
TEXT = "".join(WORDS)


class HastySite(Site):
    """One that waits for no answer as long as they do otherwise."""

    async def asked(self, method: str, path: str, body: Any = None, patience_s: float = HASTE_S) -> bytes:
        return await super().asked(method, path, body, min(patience_s, HASTE_S))


@asynccontextmanager
async def loaded(url: str) -> AsyncIterator[ServerEngine]:
    server = ServerConfig(url=url)
    engine = await loading.load(EngineConfig("openai", "", 4, 100, 0, server=server), lambda _done, _total: None)
    try:
        yield engine
    finally:
        await engine.close()


async def written(engine: ServerEngine) -> str:
    """The text of an answer for which the prompt is counted."""
    values = Params(max_tokens=90)
    command = Submit("a", "", values, 7, asked=InferenceRequest(input="What is it?", params=values))
    *_, end = [output async for output in engine.run(command, Counts())]
    assert isinstance(end, Finished)
    return end.text


async def test_a_silent_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is loaded, and while it counts a prompt: it has much to do, and is not gone."""
    monkeypatch.setattr(loading, "Site", HastySite)
    played = PlayedServer("vllm")
    played.late = [LATE_S]
    with playing(played) as url:
        async with loaded(url) as engine:
            played.late = [LATE_S]
            assert await written(engine) == TEXT
            played.late = [LATE_S]
            silent = await engine._site.trouble("/health")
            assert isinstance(silent, SilentError)
            assert not await engine._is_gone(silent)
    counted = [path for path, _ in played.asked if path == "/tokenize"]
    assert len(counted) == 2


async def test_a_connection_that_cannot_be_made_is_made_again() -> None:
    """Where the server is well all the same: it took none for a moment, and heard nothing of the request."""
    asked = []

    async def health(_: web.Request) -> web.Response:
        """Over a connection that was kept."""
        asked.append("health")
        if len(asked) > 2:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        return web.json_response({"data": [{"id": "a"}]})

    async def chat(_: web.Request) -> web.Response:
        message = {"role": "assistant", "content": TEXT}
        return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    application = web.Application()
    application.router.add_get("/v1/models", health)
    application.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with loaded(f"http://127.0.0.1:{port}") as engine:
            asked[:] = ["health", "health"]
            await site.stop()
            assert await written(engine) == TEXT
    finally:
        await runner.cleanup()
