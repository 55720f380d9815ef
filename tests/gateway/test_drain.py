"""What ends in order: a gateway and a worker that are told to stop while they answer."""

import asyncio
import contextlib
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from golek_client import Golek
from golek_program.settings.http import Address, Http
from golek_worker.front import Front, open_front
from tests.support.fronts import Fleet, GatewayProcess
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

MODEL = "steady"
WORDS = " ".join(["word"] * 100)
"""Two seconds of it."""


@pytest.fixture(scope="module")
def steady(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model that takes 20 ms for a token."""
    given = {"MODEL_NAME": MODEL, "ENGINE_STEP_MIN_MS": 20, "HTTP_ADDR": ""}
    with WorkerProcess(fleet.nats, tmp_path_factory.mktemp("steady"), "echo", **given):
        yield MODEL


def asked(words: str = WORDS, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": words, **fields}


async def lines(response: httpx2.Response) -> AsyncIterator[str]:
    async for line in response.aiter_lines():
        if line:
            yield line


def text(events: list[str]) -> str:
    """What the events of a stream add up to, whose end was there."""
    assert events[-1] == "data: [DONE]"
    return "".join(json.loads(event[6:])["choices"][0]["text"] for event in events[:-1])


async def until_running(nats: str, jobs: int, model: str = MODEL) -> None:
    """Wait until so many jobs run."""
    async with Golek(nats) as golek, asyncio.timeout(10):
        while (await golek.health(model)).active != jobs:
            await asyncio.sleep(0.02)


async def refused(url: str) -> None:
    """Wait until nobody listens there."""
    async with asyncio.timeout(5):
        while True:
            try:
                async with httpx2.AsyncClient() as client:
                    await client.get(f"{url}/ping")
            except httpx2.TransportError:
                return
            await asyncio.sleep(0.05)


async def exit_status(process: subprocess.Popen[bytes] | None) -> int:
    assert process is not None
    return await asyncio.to_thread(process.wait, 10)


async def test_a_gateway_that_is_told_to_stop_ends_what_it_began(fleet: Fleet, steady: str, tmp_path: Path) -> None:
    """Answer and stream come to their end, an idle connection is closed, nobody new is let in, and its health port
    answers until the end. Then it ends with 0."""
    health = free_port()
    with GatewayProcess(fleet.nats, tmp_path, GOLEK_HEALTH_PORT=health) as gateway:
        idle = await asyncio.open_connection("127.0.0.1", gateway.port)
        idle[1].write(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
        await idle[0].readuntil(b"}")
        async with (
            httpx2.AsyncClient(base_url=gateway.url, timeout=30) as client,
            client.stream("POST", "/v1/completions", json=asked(stream=True)) as streamed,
        ):
            events = lines(streamed)
            first = await anext(events)
            unary = asyncio.create_task(client.post("/v1/completions", json=asked()))
            await until_running(fleet.nats, 2)
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGTERM)
            await refused(gateway.url)
            assert await asyncio.wait_for(idle[0].read(), 5) == b""
            async with httpx2.AsyncClient() as other:
                assert (await other.get(f"http://127.0.0.1:{health}/")).status_code == 200
            assert text([first] + [line async for line in events]) == WORDS
            answer = await unary
        assert answer.json()["choices"][0]["text"] == WORDS
        assert answer.headers["connection"] == "close"
        assert await exit_status(gateway.process) == 0
        idle[1].close()


async def test_who_is_told_twice_ends_at_once(fleet: Fleet, steady: str, tmp_path: Path) -> None:
    """The second SIGTERM waits for nobody, and says so by its status; the jobs are cancelled by nobody being there."""
    with GatewayProcess(fleet.nats, tmp_path) as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url, timeout=30) as client:
            with contextlib.suppress(httpx2.TransportError):
                async with client.stream("POST", "/v1/completions", json=asked(stream=True)) as streamed:
                    events = lines(streamed)
                    await anext(events)
                    assert gateway.process is not None
                    gateway.process.send_signal(signal.SIGTERM)
                    await refused(gateway.url)
                    gateway.process.send_signal(signal.SIGTERM)
                    assert await asyncio.to_thread(gateway.process.wait, 1) == 1
    await until_running(fleet.nats, 0)


@asynccontextmanager
async def front(fleet: Fleet, folder: Path) -> AsyncIterator[tuple[Front, httpx2.AsyncClient]]:
    """A gateway in this process, and who asks it."""
    chosen = msgspec.structs.replace(Http(), nats_url=fleet.nats, golek_data=str(folder))
    async with AsyncExitStack() as stack:
        opened = await open_front(stack, Address("127.0.0.1", 0), chosen, None)
        url = chosen.url(opened.where)
        yield opened, await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=30))


async def test_what_does_not_end_in_time_is_told_so(fleet: Fleet, steady: str, tmp_path: Path) -> None:
    """503 with retry-after where no answer was begun, an error event in a stream, and their jobs are cancelled."""
    async with (
        front(fleet, tmp_path) as (opened, client),
        client.stream("POST", "/v1/completions", json=asked(stream=True)) as streamed,
    ):
        events = lines(streamed)
        await anext(events)
        unary = asyncio.create_task(client.post("/v1/completions", json=asked()))
        await until_running(fleet.nats, 2)
        await opened.close(0.2)
        last = [line async for line in events][-1]
        answer = await unary
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "retriable"
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "TEMPORARY_RESOURCE")
        assert answer.headers["retry-after"] == "1"
        await until_running(fleet.nats, 0)


async def test_a_resumable_stream_is_only_hung_up(fleet: Fleet, steady: str, tmp_path: Path) -> None:
    """No event says that it failed: its job goes on, and its client reads the rest elsewhere."""
    async with front(fleet, tmp_path) as (opened, client):
        body = asked(stream=True, resumable=True)
        async with client.stream("POST", "/v1/completions", json=body) as streamed:
            events = lines(streamed)
            await anext(events)
            await opened.close(0.2)
            got: list[str] = []
            with contextlib.suppress(httpx2.RemoteProtocolError):
                while True:
                    got.append(await anext(events))
        assert not any("error" in line or "DONE" in line for line in got)
        job_id = streamed.headers["x-golek-job"]
    async with (
        httpx2.AsyncClient(base_url=fleet.gateway, timeout=30) as other,
        other.stream("GET", f"/v1/stream/{job_id}") as again,
    ):
        rest = [line async for line in lines(again) if line.startswith("data: ")]
    assert text(rest) == WORDS


async def test_a_worker_that_is_told_to_stop_answers_over_http_first(fleet: Fleet, tmp_path: Path) -> None:
    """Its jobs that were asked for over its own HTTP come to their end there; nobody new is let in."""
    address = f"127.0.0.1:{free_port()}"
    given = {"MODEL_NAME": "leaving", "ENGINE_STEP_MIN_MS": 20, "HTTP_ADDR": address}
    with WorkerProcess(fleet.nats, tmp_path, "echo", **given) as worker:
        async with (
            httpx2.AsyncClient(base_url=f"http://{address}", timeout=30) as client,
            client.stream("POST", "/v1/completions", json={"prompt": WORDS, "stream": True}) as streamed,
        ):
            events = lines(streamed)
            first = await anext(events)
            unary = asyncio.create_task(client.post("/v1/completions", json={"prompt": WORDS}))
            await until_running(fleet.nats, 2, "leaving")
            worker.signal(signal.SIGTERM)
            await refused(f"http://{address}")
            assert text([first] + [line async for line in events]) == WORDS
            assert (await unary).json()["choices"][0]["text"] == WORDS
        assert await exit_status(worker.process) == 0
