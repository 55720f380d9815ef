"""The main job with llama.cpp's own server as the engine: what the bus promises holds whoever computes."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from golek_client import Golek
from tests.support import llama_server
from tests.support.leaving import left_later
from tests.support.llama_server import LlamaServer
from tests.support.workers import WorkerProcess

TINY = Path("data/models/golek-tiny/model.gguf")
MODEL = "golek-tiny-server"
LONG: dict[str, Any] = {"max_tokens": 600, "ignore_eos": True, "seed": 3}
GONE_S = 5.0

pytestmark = pytest.mark.skipif(llama_server.PROGRAM is None, reason=llama_server.MISSING)


@pytest.fixture
def worker(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker that starts its server."""
    with WorkerProcess(
        nats_server, tmp_path / "data", "llama-server", LLAMA_SERVER=llama_server.PROGRAM, STREAM_GATHER_MS=0
    ) as running:
        yield running


def servers(worker: WorkerProcess) -> list[psutil.Process]:
    """The server among a worker's descendants."""
    below = psutil.Process(worker.pid).children(recursive=True)
    return [process for process in below if process.name() == "llama-server"]


async def test_a_chat_is_streamed_from_end_to_end(worker: WorkerProcess, nats_server: str) -> None:
    """Deltas joined are the text, with tokens counted, and the same seed writes it again."""
    async with Golek(nats_server) as golek:
        health = await golek.health(MODEL)
        assert (health.engine, health.status) == ("llama-server", "online")
        answer = golek.stream(MODEL, "What is NATS?", seed=1)
        pieces = [piece async for piece in answer]
        assert len(pieces) > 1
        assert "".join(pieces) == answer.reply.text
        assert answer.reply.text.startswith("NATS is a small, fast message bus.")
        assert (answer.reply.tokens_in > 0, answer.reply.tokens_out > 0) == (True, True)
        assert (await golek.ask(MODEL, "What is NATS?", seed=1)).text == answer.reply.text


async def test_a_killed_server_costs_time_alone(worker: WorkerProcess, nats_server: str) -> None:
    """In mid-stream: the caller has the whole text, once."""
    async with Golek(nats_server) as golek:
        whole = (await golek.ask(MODEL, "What is a lease?", **LONG)).text
        pieces: list[str] = []
        answer = golek.stream(MODEL, "What is a lease?", deadline=40, **LONG)
        async for piece in answer:
            pieces.append(piece)
            if len(pieces) == 20:
                (server,) = servers(worker)
                server.kill()
        assert "".join(pieces) == answer.reply.text == whole


async def test_a_killed_worker_leaves_no_server(worker: WorkerProcess, nats_server: str) -> None:
    """Within 5 s of its SIGKILL, with a job in it."""
    async with Golek(nats_server) as golek:
        asked = asyncio.create_task(golek.ask(MODEL, "What is a lease?", deadline=5, **LONG))
        family = psutil.Process(worker.pid).children(recursive=True)
        assert servers(worker)
        worker.kill()
        assert await left_later(family, GONE_S) == []
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


async def test_requests_wait_for_a_server_that_is_away(nats_server: str, tmp_path: Path) -> None:
    """One that others run: while it is away nothing is lost, and when it is back all are answered."""
    server = LlamaServer(TINY)
    attached = WorkerProcess(nats_server, tmp_path / "data", "openai", SERVER_URL=server.url)
    try:
        attached.start(wait=False)
        server.start()
        attached.wait_for("online")
        async with Golek(nats_server) as golek:
            first = await golek.ask("local-openai", "What is NATS?", seed=1)
            server.kill()
            attached.wait_for("loading")
            waiting = [asyncio.create_task(golek.ask("local-openai", "What is NATS?", seed=1)) for _ in range(3)]
            server.start()
            assert [(await one).text for one in waiting] == [first.text] * 3
    finally:
        attached.end()
        server.kill()


async def test_a_worker_that_is_told_to_stop_ends_its_server(worker: WorkerProcess) -> None:
    """And nothing is left."""
    family = psutil.Process(worker.pid).children(recursive=True)
    os.kill(worker.pid, signal.SIGTERM)
    assert await left_later(family, GONE_S) == []
