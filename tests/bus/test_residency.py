"""What a caller and an operator meet of a model that comes and goes: real nats-server, real worker processes."""

import asyncio
import json
import signal
import time
from pathlib import Path

from golek_client import Golek
from tests.support import raw
from tests.support.workers import WorkerProcess

REQUEST = "inference.request.echo"


async def test_questions_keep_no_model_loaded_and_requests_load_it_once(nats_server: str, tmp_path: Path) -> None:
    """Health, `$SRV` and load reports are no activity; the first of several requests loads the model for all."""
    with WorkerProcess(nats_server, tmp_path / "data", MODEL_TTL="1s") as worker:
        child, began = worker.child, time.monotonic()
        async with raw.connected(nats_server) as client:
            status = "online"
            while status != "unloaded":
                assert time.monotonic() - began < 2.0, "polling kept it loaded"
                health, _ = await raw.ask(client, "models.echo.health", {})
                await raw.ask(client, "$SRV.STATS.golek", {})
                status = health["status"]
            assert not child.is_running()
            assert (health["capabilities"], health["last_token_age_ms"]) == (["text-generation"], None)
            asked = [raw.ask(client, REQUEST, {"input": f"hello {n}"}) for n in range(5)]
            replies = [reply["text"] for reply, _ in await asyncio.gather(*asked)]
        assert replies == [f"hello {n}" for n in range(5)]
        assert len(worker.log_lines("model.loading")) == 2
        assert worker.log_lines("engine.died") == worker.log_lines("engine.down") == []


async def test_a_model_with_a_running_job_is_not_idle(nats_server: str, tmp_path: Path) -> None:
    """A job that takes longer than MODEL_TTL is finished by the engine that began it."""
    with WorkerProcess(nats_server, tmp_path / "data", MODEL_TTL="300ms", ENGINE_STEP_MIN_MS=40) as worker:
        async with Golek(nats_server) as golek:
            stream = golek.stream("echo", "go", max_tokens=30, ignore_eos=True)
            attempts = [delta async for delta in stream]
        assert len(attempts) > 1
        worker.wait_for("unloaded", 2)
        assert len(worker.log_lines("model.unloaded")) == 1


async def test_a_waiting_stream_is_told_that_the_model_is_loaded(nats_server: str, tmp_path: Path) -> None:
    """Its status messages say how far the load is, and health does; the model answers in its first attempt."""
    with WorkerProcess(nats_server, tmp_path / "data", MODEL_TTL="200ms") as worker:
        worker.wait_for("unloaded", 5)
        async with raw.connected(nats_server) as client:
            streamed = await raw.stream(client, REQUEST, {"input": "hello"})
            await client.flush()
            worker.wait_for("loading", 2)
            while not (child := worker.children):
                await asyncio.sleep(0.005)
            child[0].suspend()
            told = json.loads((await streamed.next(5)).data)
            health, _ = await raw.ask(client, "models.echo.health", {})
            child[0].resume()
            await streamed.rest()
    assert (told["status"], told["position"], told["loading"]) == ("queued", 1, 0.0)
    assert (health["status"], health["progress"], health["problem"]) == ("loading", 0.0, None)
    assert streamed.final["text"] == streamed.joined(1) == "hello"


def test_an_unloaded_worker_ends_as_any_other(nats_server: str, tmp_path: Path) -> None:
    """SIGTERM ends it at once with status 0."""
    with WorkerProcess(nats_server, tmp_path / "data", MODEL_TTL="200ms") as worker:
        worker.wait_for("unloaded", 5)
        assert worker.process is not None
        worker.signal(signal.SIGTERM)
        assert worker.process.wait(3) == 0
