"""Requests with something wrong about them: each gets an answer that the document knows, and none of them a 500."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from golek_client import Golek
from tests.support.fronts import Fleet, GatewayProcess
from tests.support.hostile_http import Range, Shots, bodies, document
from tests.support.workers import WorkerProcess

SHOTS = 500
MODEL = "fuzzed"


@pytest.fixture
def gateway(fleet: Fleet, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway beside echo, which answers whatever it is asked at once."""
    with (
        WorkerProcess(fleet.nats, tmp_path, "echo", MODEL_NAME=MODEL, HTTP_ADDR=""),
        GatewayProcess(fleet.nats, tmp_path, INFERENCE_REQUEST_TIMEOUT=20) as made,
    ):
        yield made


async def test_whatever_comes_is_answered(fleet: Fleet, gateway: GatewayProcess, embedder: str, judge: str) -> None:
    """No 500, no status and no body that is not documented; and then no slot and no connection is taken."""
    known = document(gateway.url)
    at = Range(gateway.url, known)
    await at.fire(iter(Shots(bodies(known, MODEL, embedder, judge), seed=7)), SHOTS)
    problems = (at.unanswered, at.failed, at.undocumented, at.invalid)
    assert not any(problems), problems
    assert at.fired == SHOTS
    assert {200, 400, 404} <= at.statuses.keys()
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=10) as client:
        answer = await client.post("/v1/completions", json={"model": MODEL, "prompt": "as ever"})
        assert answer.json()["choices"][0]["text"] == "as ever"
    async with Golek(fleet.nats) as golek, asyncio.timeout(10):
        for model in (MODEL, embedder, judge):
            while (await golek.health(model)).active:
                await asyncio.sleep(0.05)
        process = psutil.Process(gateway.pid)
        while any(one.raddr for one in process.net_connections("tcp") if one.laddr.port == gateway.port):
            await asyncio.sleep(0.05)
