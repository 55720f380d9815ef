"""What a caller and an operator meet of a model that comes and goes: real nats-server, real worker processes."""

import asyncio
import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from golek_client import Golek, NoWorkersError
from golek_wire.signals import Residence
from golek_worker.machine import runfile
from tests.engine.driver import counted
from tests.support import programs, raw
from tests.support.workers import ROOT, WorkerProcess

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


async def test_operators_reach_every_replica_or_one(nats_server: str, tmp_path: Path) -> None:
    """An order goes to all replicas; each does it once, answers for itself, and takes a second one for the first."""
    data = tmp_path / "data"
    with WorkerProcess(nats_server, data) as one, WorkerProcess(nats_server, data, replica=2) as two:
        first, second = (runfile.worker_id("echo", number) for number in (1, 2))
        async with Golek(nats_server, deadline=10) as golek:
            for _ in range(2):
                found = await golek.unload("echo")
                assert [(each.worker_id, each.status, each.problem) for each in found] == [
                    (first, "unloaded", None),
                    (second, "unloaded", None),
                ]
            assert one.children == two.children == []
            (found_one,) = await golek.load("echo", worker_id=second)
            assert (found_one.worker_id, found_one.status, found_one.problem) == (second, "online", None)
            assert one.children == []
            assert (await golek.ask("echo", "hello")).text == "hello"
            with pytest.raises(NoWorkersError, match="no replica 'echo-nowhere-1'"):
                await golek.load("echo", worker_id="echo-nowhere-1")
            said: list[Residence] = []
            (gone,) = await golek.drain("echo", worker_id=first, on_status=said.append)
            assert (gone.status, gone.problem, said[0].worker_id) == ("offline", None, first)
            assert one.process is not None
            assert one.process.wait(3) == 0
            assert two.process is not None
            assert two.process.poll() is None


async def test_a_plain_request_is_an_order_and_is_answered_once(nats_server: str, tmp_path: Path) -> None:
    """Who sends no `Golek-Accept` gets one message, when it is done; what is no order is refused by name."""
    with WorkerProcess(nats_server, tmp_path / "data"):
        async with raw.connected(nats_server) as client:
            done, message = await raw.ask(client, "models.echo.unload", b"")
            assert (done["status"], message.headers) == ("unloaded", None)
            done, _ = await raw.ask(client, "models.echo.load", {"worker_id": runfile.worker_id("echo", 1)})
            assert done["status"] == "online"
            wrong, message = await raw.ask(client, "models.echo.unload", {"force": "yes"})
            assert (wrong["error"]["code"], message.headers["Nats-Service-Error-Code"]) == ("BAD_REQUEST", "400")
            assert "force" in wrong["error"]["message"]


async def test_a_model_in_use_stays_unless_forced(nats_server: str, tmp_path: Path) -> None:
    """An order to unload waits for jobs up to DRAIN_S; with force they go back to the queue, and load it again."""
    with WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=50, DRAIN_S=0.2) as worker:
        child = worker.child
        async with Golek(nats_server, deadline=20) as golek:
            stream = golek.stream("echo", "go", max_tokens=25, ignore_eos=True)
            pieces = [await anext(stream)]
            (kept,) = await golek.unload("echo")
            assert (kept.status, kept.active, child.is_running()) == ("online", 1, True)
            assert kept.problem == "1 job still ran after 0.2 s; force gives them back to the queue"
            (done,) = await golek.unload("echo", force=True)
            assert (done.problem, child.is_running()) == (None, False)
            pieces += [piece async for piece in stream]
        assert "".join(pieces) == stream.reply.text == counted(25)
        assert len(worker.log_lines("model.unloaded")) == 1


async def test_a_load_that_fails_says_why_and_is_tried_again(nats_server: str, tmp_path: Path) -> None:
    """Who ordered it hears the reason, health shows it, and the next try serves the request that waited."""
    model = tmp_path / "model.gguf"
    shutil.copy(ROOT / "data/models/golek-tiny/model.gguf", model)
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny", MODEL_PATH=model):
        async with Golek(nats_server, deadline=20) as golek:
            await golek.unload("golek-tiny")
            away = model.rename(tmp_path / "away.gguf")
            (failed,) = await golek.load("golek-tiny")
            assert failed.status == "loading"
            assert f"{model}: no such file" in (failed.problem or "")
            assert f"{model}: no such file" in ((await golek.health("golek-tiny")).problem or "")
            asking = asyncio.create_task(golek.ask("golek-tiny", "hi", max_tokens=2))
            away.rename(model)
            assert (await asking).tokens_out <= 2
            assert (await golek.health("golek-tiny")).problem is None


async def test_the_commands_tell_each_replica(nats_server: str, tmp_path: Path) -> None:
    """`golek unload` and `load` print a line for each, and what keeps one from it ends them with status 1."""
    with WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=50, DRAIN_S=0.1):
        for verb, status in (("unload", "unloaded"), ("load", "online")):
            done = await programs.golek(nats_server, verb, "echo")
            assert (done.status, done.err) == (0, "")
            assert [line.split()[:2] for line in done.out.splitlines()] == [
                ["WORKER", "STATUS"],
                [runfile.worker_id("echo", 1), status],
            ]
        async with (
            Golek(nats_server, deadline=20) as golek,
            golek.stream("echo", "go", max_tokens=100, ignore_eos=True) as stream,
        ):
            await anext(stream)
            done = await programs.golek(nats_server, "unload", "echo")
        assert done.status == 1
        assert "1 job still ran after 0.1 s" in done.out
