"""A broker that dies and comes back under a gateway: who comes meanwhile is told so, who was there gets its answer."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from golek_worker.gateway.app import BUS_AWAY_S
from tests.support.broker import NatsServer
from tests.support.fronts import GatewayProcess
from tests.support.ports import free_port
from tests.support.workers import ROOT, WorkerProcess

WORDS = " ".join(f"word{number}" for number in range(100))


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[tuple[NatsServer, GatewayProcess]]:
    """A broker and a gateway for one test, with a model that takes 20 ms for a token."""
    (tmp_path / "nats").mkdir()
    server = NatsServer(tmp_path / "nats").start()
    try:
        with (
            WorkerProcess(server.url, tmp_path, "echo", ENGINE_STEP_MIN_MS=20, HTTP_ADDR=""),
            GatewayProcess(server.url, tmp_path) as gateway,
        ):
            yield server, gateway
    finally:
        server.kill()


async def test_a_broker_that_comes_back(apart: tuple[NatsServer, GatewayProcess]) -> None:
    """Meanwhile requests are refused with 503 and when to come again, and it is not ready but alive. Afterwards an
    answer and a stream that had begun come to their end, and others are answered."""
    server, gateway = apart
    asked = {"model": "echo", "prompt": WORDS}
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=40) as client:
        async with client.stream("POST", "/v1/completions", json=asked | {"stream": True}) as streamed:
            lines = streamed.aiter_lines()
            await anext(lines)
            unary = asyncio.create_task(client.post("/v1/completions", json=asked))
            await asyncio.sleep(0.3)  # the unary is somewhere in the middle of it
            server.kill()
            for method, path in (("POST", "/v1/completions"), ("GET", "/v1/models"), ("GET", "/grammars")):
                began = time.monotonic()
                refused = await client.request(method, path, json=asked if method == "POST" else None)
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "BUS_UNAVAILABLE")
                assert refused.headers["retry-after"] == "2"
                assert time.monotonic() - began < BUS_AWAY_S + 2
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.get("/ping")).status_code == 200
            server.start()
            rest = [line async for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert (await unary).json()["choices"][0]["text"] == WORDS
        again = await client.post("/v1/completions", json=asked | {"prompt": "x"})
        assert again.json()["choices"][0]["text"] == "x"


def test_without_a_broker_a_gateway_says_so_and_ends(tmp_path: Path) -> None:
    """As a worker does: it names where nobody answers, and who started it may try again."""
    where = f"nats://127.0.0.1:{free_port()}"
    given = {
        "NATS_URL": where,
        "GOLEK_DATA": str(tmp_path),
        "GOLEK_HEALTH_PORT": "0",
        "INFERENCE_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "golek_worker.front"]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | given, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    assert where.removeprefix("nats://") in ended.stderr
    assert "Traceback" not in ended.stderr
