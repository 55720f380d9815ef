"""Does it live, may requests come, how much is going on: over real HTTP."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from golek_client import Golek
from golek_wire import codec
from golek_wire.signals import Health, ModelInfo
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.fronts import Fleet, GatewayProcess
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

ENDS_S = 30.0


async def becomes(client: httpx2.AsyncClient, url: str, wanted: dict[str, Any]) -> None:
    """Wait until the answer at `url` has all that is `wanted`."""
    found = None
    try:
        async with asyncio.timeout(ENDS_S):
            while True:
                found = (await client.get(url)).json()
                if wanted.items() <= found.items():
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{url} says {found}") from None


@pytest.mark.parametrize("path", ["/ping", "/health", "/healthz"])
async def test_the_process_lives(fleet: Fleet, path: str) -> None:
    """Worker and gateway say so without a key."""
    async with httpx2.AsyncClient() as client:
        for url in (fleet.worker, fleet.gateway):
            answer = await client.get(url + path)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert (await client.head(url + path)).status_code == 200


async def test_who_serves_is_ready(fleet: Fleet) -> None:
    """With the models that are loaded, in the form that services ask for."""
    async with httpx2.AsyncClient() as client:
        for url in (fleet.worker, fleet.gateway):
            await becomes(
                client, f"{url}/health/ready", {"status": "ready", "config": "", "orchestration_mode": "single"}
            )
            answer = await client.get(f"{url}/health/ready")
            assert answer.status_code == 200
            assert "golek-tiny" in answer.json()["loaded_models"]


async def test_a_gateway_without_models_is_not(broker: NatsServer, tmp_path: Path) -> None:
    """503 with the reason; and ready once there is one, not without the broker. Its health port answers all the while,
    on every path, and to who asks for nothing but the header."""
    port = free_port()
    async with httpx2.AsyncClient() as client:
        with GatewayProcess(broker.url, tmp_path, GOLEK_HEALTH_PORT=port) as gateway:
            answer = await client.get(f"{gateway.url}/health/ready")
            assert (answer.status_code, answer.json()) == (
                503,
                {"reason": "No models are served", "progress": "0/0", "status": "not_ready"},
            )
            with WorkerProcess(broker.url, tmp_path / "worker"):
                await becomes(client, f"{gateway.url}/health/ready", {"status": "ready", "loaded_models": ["echo"]})
                broker.kill()
                await becomes(client, f"{gateway.url}/health/ready", {"reason": "The connection to NATS is away"})
                for path in ("/", "/anything"):
                    answer = await client.get(f"http://127.0.0.1:{port}{path}")
                    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
                assert (await client.head(f"http://127.0.0.1:{port}/")).status_code == 200
                broker.start()


async def test_a_model_that_comes_later_does_not_take_a_serving_gateway_out(nats_server: str, tmp_path: Path) -> None:
    """Even where nobody asked before it came: what counts is that the gateway served."""
    comes = Health("another", "loading", "", [], "", "", "", ModelInfo(), worker_id="another-1")
    with WorkerProcess(nats_server, tmp_path / "worker"), GatewayProcess(nats_server, tmp_path) as gateway:
        async with httpx2.AsyncClient() as client, raw.connected(nats_server) as bus:
            await bus.publish("models.another.heartbeat", codec.encode(comes))
            async with asyncio.timeout(10):
                while len((await client.get(f"{gateway.url}/v1/status")).json()["models"]) < 2:
                    await asyncio.sleep(0.02)
            assert (await client.get(f"{gateway.url}/health/ready")).status_code == 200


async def test_a_worker_without_progress_is_not_ready(nats_server: str, tmp_path: Path) -> None:
    """Its engine is frozen: it says so itself, and a gateway knows it from its heartbeat."""
    address = f"127.0.0.1:{free_port()}"
    with (
        WorkerProcess(nats_server, tmp_path / "worker", HTTP_ADDR=address, STALL_S=2) as worker,
        GatewayProcess(nats_server, tmp_path) as gateway,
    ):
        async with httpx2.AsyncClient() as client:
            await becomes(client, f"http://{address}/health/ready", {"status": "ready"})
            worker.child.send_signal(signal.SIGSTOP)
            await becomes(client, f"http://{address}/health/ready", {"reason": "The engine makes no progress"})
            await becomes(client, f"{gateway.url}/health/ready", {"reason": "The engines make no progress"})
            assert (await client.get(f"http://{address}/healthz")).status_code == 200


async def test_the_status_tells_what_runs_and_waits(nats_server: str, tmp_path: Path) -> None:
    """Active and waiting requests, slots and what the queue holds; of a worker's model, of all at the gateway."""
    address = f"127.0.0.1:{free_port()}"
    paced = {"WORKER_CONCURRENCY": 2, "ENGINE_STEP_MIN_MS": 50, "HTTP_ADDR": address}
    with WorkerProcess(nats_server, tmp_path / "worker", **paced), GatewayProcess(nats_server, tmp_path) as gateway:
        async with httpx2.AsyncClient() as client, Golek(nats_server) as golek:
            asked = [asyncio.create_task(golek.ask("echo", "go", max_tokens=2000, ignore_eos=True)) for _ in range(5)]
            for url in (f"http://{address}", gateway.url):
                await becomes(client, f"{url}/v1/status", {"active": 2, "waiting": 3, "slots": 2, "capacity": 2000})
                (model,) = (await client.get(f"{url}/v1/status")).json()["models"]
                (replica,) = model.pop("replicas")
                assert model == {
                    "model": "echo", "status": "online", "level": "warning", "active": 2, "waiting": 3, "slots": 2,
                    "capacity": 2000, "utilization": 0.0025,
                }  # fmt: skip
                assert (replica["status"], replica["active"], replica["slots"]) == ("online", 2, 2)
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
