"""What goes wrong while several models answer one request: what their caller gets, and what is left of it."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from golek_client import Golek
from golek_wire import subjects
from golek_wire.replies import InferenceReply
from tests.bus.test_orchestration import Fleet, asked
from tests.bus.test_router import providers, router
from tests.support import raw
from tests.support.clouds import Cloud
from tests.support.workers import WorkerProcess

SLOW = {"ENGINE_STEP_MIN_MS": 1000}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def echo(url: str, folder: Path, name: str, **settings: object) -> WorkerProcess:
    return WorkerProcess(url, folder / name, name, ENGINE="echo", MODEL_NAME=name, **settings)


async def jobs_left(client: Client, *models: str) -> int:
    """Jobs that wait or run in the queues of these models."""
    left = 0
    for model in models:
        answer = await client.request(f"$JS.API.STREAM.INFO.{subjects.job_stream(subjects.model_token(model))}", b"")
        left += json.loads(answer.data)["state"]["messages"]
    return left


async def until_none_left(client: Client, *models: str) -> None:
    async with asyncio.timeout(10):
        while await jobs_left(client, *models):
            await asyncio.sleep(0.05)


async def test_a_cancel_ends_every_branch(nats_server: str, tmp_path: Path, stack: ExitStack) -> None:
    """A cancel of the request ends its steps at all workers: no job is left, and the logs say so."""
    fleet = Fleet(nats_server, tmp_path, **SLOW)
    for process in (*fleet.workers.values(), fleet.router):
        stack.enter_context(process)
    async with raw.connected(nats_server) as client:
        stream = await raw.stream(
            client, "inference.request.auto", asked("debate", "one", "two", "three", progress="steps")
        )
        began = 0
        while began < 3:
            message = await stream.next()
            began += b'"began"' in message.data
        async with asyncio.timeout(10):
            while await jobs_left(client, "one", "two", "three") < 3:
                await asyncio.sleep(0.05)
        await client.publish(subjects.cancel(subjects.job_id(stream.inbox)), b"")
        await stream.rest()
        assert stream.final["error"]["code"] == "CANCELLED"
        await until_none_left(client, "one", "two", "three", "router")
    [own] = await fleet.logged("router", 1)
    assert own["status"] == "CANCELLED"  # by its own cancel, or by the first word of a step that heard it
    for name in fleet.workers:
        rows = [row for row in fleet.rows(name) if row["parent"] == own["job_id"]]
        assert {row["status"] for row in rows} <= {"CANCELLED"}


async def test_a_slow_model_is_named_and_the_others_answer_in_time(
    nats_server: str, tmp_path: Path, stack: ExitStack
) -> None:
    """A branch that takes longer than its share is cancelled where it runs; the answer comes before the deadline."""
    stack.enter_context(echo(nats_server, tmp_path, "one"))
    stack.enter_context(echo(nats_server, tmp_path, "two"))
    stack.enter_context(echo(nats_server, tmp_path, "slow", **SLOW))
    stack.enter_context(router(nats_server, tmp_path / "router"))
    async with raw.connected(nats_server) as client:
        began = time.monotonic()
        said, _ = await raw.ask(
            client, "inference.request.auto", asked("ensemble", "one", "two", "slow") | {"deadline_ms": 3000}
        )
        assert time.monotonic() - began < 3.0
        assert said["orchestration"]["failed"] == {"slow": "DEADLINE_EXCEEDED"}
        assert said["orchestration"]["steps"][2]["outcome"] == "DEADLINE_EXCEEDED"
        await until_none_left(client, "one", "two", "slow", "router")


async def test_a_model_that_dies_meanwhile_ends_in_a_partial_answer(
    nats_server: str, tmp_path: Path, stack: ExitStack
) -> None:
    """A pipeline whose second stage's worker was killed gives the first stage's text, `partial`, in time."""
    fleet = Fleet(nats_server, tmp_path)
    for process in (*fleet.workers.values(), fleet.router):
        stack.enter_context(process)
    async with raw.connected(nats_server) as client:
        request = asked(
            "pipeline", "one", "two", "three", duties={"draft": "one", "refine": "two", "validate": "three"}
        )
        said, _ = await raw.ask(client, "inference.request.auto", request)
        assert said["finish_reason"] == "stop"
        fleet.workers["two"].kill()
        said, _ = await raw.ask(client, "inference.request.auto", request | {"deadline_ms": 3000})
    assert said["finish_reason"] == "partial", said
    how = said["orchestration"]
    assert (how["partial"], how["models_used"], how["completed_steps"], how["total_steps"]) == (True, ["one"], 1, 3)
    assert how["error"] in ("DEADLINE_EXCEEDED", "NO_WORKERS")


@pytest.mark.parametrize("how", ["end", "kill"])
async def test_nobody_waits_for_a_model_that_left(nats_server: str, tmp_path: Path, stack: ExitStack, how: str) -> None:
    """What waits in the queue of a model whose worker was stopped, or killed, ends in seconds, long before its share
    of the deadline.
    """
    for name in ("one", "two"):
        stack.enter_context(echo(nats_server, tmp_path, name))
    gone = stack.enter_context(echo(nats_server, tmp_path, "gone", WORKER_CONCURRENCY=1, **SLOW))
    stack.enter_context(router(nats_server, tmp_path / "router"))
    async with raw.connected(nats_server) as client:
        request = asked("ensemble", "one", "two", "gone") | {"deadline_ms": 60_000, "params": {"max_tokens": 3}}
        running = [
            asyncio.create_task(raw.ask(client, "inference.request.auto", request | {"input": f"four {number}"}))
            for number in range(6)
        ]
        async with asyncio.timeout(10):
            while await jobs_left(client, "gone") < len(running):
                await asyncio.sleep(0.05)
        await asyncio.to_thread(getattr(gone, how))
        began = time.monotonic()
        failed = []
        for said, _ in await asyncio.gather(*running):
            assert said["finish_reason"] != "partial", said
            failed.append(said["orchestration"]["failed"].get("gone"))
        assert time.monotonic() - began < 20.0
        assert {*failed} <= {None, "NO_WORKERS"}
        assert failed.count("NO_WORKERS") >= 3
        await until_none_left(client, "one", "two", "gone", "router")


async def test_a_model_that_starts_again_is_waited_for(nats_server: str, tmp_path: Path, stack: ExitStack) -> None:
    """Its worker was stopped, and its next one takes what waited."""
    stack.enter_context(echo(nats_server, tmp_path, "one"))
    back = stack.enter_context(echo(nats_server, tmp_path, "back", WORKER_CONCURRENCY=1, **SLOW))
    stack.enter_context(router(nats_server, tmp_path / "router"))
    async with raw.connected(nats_server) as client:
        request = asked("ensemble", "one", "back") | {"deadline_ms": 60_000, "params": {"max_tokens": 2}}
        running = [
            asyncio.create_task(raw.ask(client, "inference.request.auto", request | {"input": f"four {number}"}))
            for number in range(3)
        ]
        async with asyncio.timeout(10):
            while await jobs_left(client, "back") < len(running):
                await asyncio.sleep(0.05)
        await asyncio.to_thread(back.end)
        back.start(wait=False)
        for said, _ in await asyncio.gather(*running):
            assert said["orchestration"]["failed"] == {}, said


async def test_without_a_router_a_worker_says_what_to_start(nats_server: str, tmp_path: Path, stack: ExitStack) -> None:
    """A worker alone refuses at once, naming what is missing; what is wrong anyway is a 400 there as well."""
    stack.enter_context(echo(nats_server, tmp_path, "one"))
    async with raw.connected(nats_server) as client:
        said, _ = await raw.ask(client, "inference.request.one", asked("debate", "one", "one"))
        assert said["error"]["code"] == "NO_WORKERS"
        assert "make start WORKER=router" in said["error"]["message"]
        said, _ = await raw.ask(client, "inference.request.one", asked("debate", "one", max_round=3))
        assert (said["error"]["code"], said["error"]["param"]) == ("BAD_REQUEST", "orchestration.max_round")


async def test_a_router_that_stops_is_no_longer_counted_on(nats_server: str, tmp_path: Path, stack: ExitStack) -> None:
    """It takes its leave of the workers: a debate asked right after that is refused at once."""
    stack.enter_context(echo(nats_server, tmp_path, "one"))
    with router(nats_server, tmp_path / "router"):
        async with raw.connected(nats_server) as client:
            said, _ = await raw.ask(client, "inference.request.one", asked("ensemble", "one", "one"))
            assert said["orchestration"]["mode"] == "ensemble"
    async with raw.connected(nats_server) as client:
        said, _ = await raw.ask(client, "inference.request.one", asked("ensemble", "one", "one"))
        assert said["error"]["code"] == "NO_WORKERS"
        assert said["error"]["details"]["command"] == "make start WORKER=router"


async def test_a_worker_hands_over_what_several_answer(nats_server: str, tmp_path: Path, stack: ExitStack) -> None:
    """Whoever takes a request, the model's own worker or a router, has it answered by several: also one that is
    submitted, or repeated with a key.
    """
    stack.enter_context(echo(nats_server, tmp_path, "one"))
    stack.enter_context(echo(nats_server, tmp_path, "two"))
    stack.enter_context(router(nats_server, tmp_path / "router"))
    request = asked("ensemble", "one", "two")
    async with raw.connected(nats_server) as client:
        for number in range(24):  # the server gives each to either of the two
            said, _ = await raw.ask(client, "inference.request.one", request | {"req_id": f"r{number}"})
            assert said["orchestration"]["models_used"] == ["one", "two"], said
            assert (said["model"], said["req_id"]) == ("one", f"r{number}")
        for key in "abcdefgh":
            first, _ = await raw.ask(client, "inference.request.one", request, **{"Idempotency-Key": key})
            again, _ = await raw.ask(client, "inference.request.one", request, **{"Idempotency-Key": key})
            assert first["seed"] == again["seed"]
    async with Golek(nats_server, deadline=10) as golek:
        wishes: dict[str, Any] = {"orchestration_mode": "ensemble", "orchestration": {"models": ["one", "two"]}}
        receipts = [await golek.submit("one", "later", **wishes) for _ in range(8)]
        for receipt in receipts:
            result = await golek.wait(receipt, 10)
            assert isinstance(result, InferenceReply)
            assert result.orchestration is not None


async def test_a_large_request_is_answered_by_several(nats_server: str, tmp_path: Path, stack: ExitStack) -> None:
    """A body that lies in the object store is read before it is known what it wants, by whoever took it."""
    stack.enter_context(echo(nats_server, tmp_path, "one", CTX_SIZE=2_000_000))
    stack.enter_context(echo(nats_server, tmp_path, "two", CTX_SIZE=2_000_000))
    stack.enter_context(router(nats_server, tmp_path / "router"))
    text = "word " * 300_000
    async with Golek(nats_server, deadline=20) as golek:
        for _ in range(6):
            wishes: dict[str, Any] = {"orchestration_mode": "ensemble", "orchestration": {"models": ["one", "two"]}}
            reply = await golek.ask("one", text, max_tokens=3, **wishes)
            assert reply.orchestration is not None
            assert reply.orchestration.models_used == ["one", "two"]


async def test_a_key_is_for_the_models_that_it_names(nats_server: str, tmp_path: Path, stack: ExitStack) -> None:
    """A key for a preset has it answered by its models; a key for one model has no others take part; both are refused
    what they are not for, naming it, also where the request adds it to the preset or calls it `auto`.
    """
    preset, single = "a-key-for-the-preset-0123456789", "a-key-for-two-models-0123456789"
    other, some, every = (
        "a-key-for-the-other-preset-0123",
        "a-key-for-auto-and-one-0123456",
        "a-key-for-auto-0123456789",
    )
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "api_keys.txt").write_text("".join([
        f"ann:{preset} models=trio\nbob:{single} models=one,two\ncid:{other} models=duo\n",
        f"dan:{some} models=auto,one\neve:{every} models=auto\n",
    ]))  # fmt: skip
    keys = {"GOLEK_NATS_IDENTITY": "keys"}
    fleet = Fleet(nats_server, tmp_path, **keys)
    fleet.router = router(nats_server, tmp_path / "router", PRESETS_FILE=tmp_path / "presets.yaml", **keys)
    for process in (fleet.router, *fleet.workers.values()):
        stack.enter_context(process)

    async def ask(client: Client, name: str, key: str, request: dict[str, Any]) -> dict[str, Any]:
        return (await raw.ask(client, f"inference.request.{name}", request, Authorization=f"Bearer {key}"))[0]

    async with raw.connected(nats_server) as client:
        said = await ask(client, "trio", preset, {"input": "x"})
        assert len(said["orchestration"]["models_used"]) == 3, said
        said = await ask(client, "trio", preset, asked("ensemble", "one", "alien"))
        assert (said["error"]["code"], said["error"]["details"]["missing"]) == ("FORBIDDEN", ["alien"])
        assert (await ask(client, "one", preset, asked("debate", "one", "two")))["error"]["code"] == "FORBIDDEN"
        assert (await ask(client, "one", single, asked("debate", "one", "two")))["orchestration"]["failed"] == {}
        said = await ask(client, "one", single, asked("debate", "one", "two", "three"))
        assert (said["error"]["code"], said["error"]["details"]["missing"]) == ("FORBIDDEN", ["three"])
        assert (await ask(client, "trio", single, {"input": "x"}))["error"]["code"] == "FORBIDDEN"
        added = {"input": "x", "orchestration": {"models": ["one", "two"]}}
        assert (await ask(client, "trio", preset, added))["orchestration"]["failed"] == {}
        said = await ask(client, "duo", other, added)
        assert (said["error"]["code"], said["error"]["details"]["missing"]) == ("FORBIDDEN", ["two"])
        said = await ask(client, "one", some, asked("ensemble", "one", "auto"))
        assert (said["error"]["code"], said["error"]["details"]["missing"]) == ("FORBIDDEN", ["auto"])
        assert (await ask(client, "auto", every, asked("ensemble", "one", "two")))["orchestration"]["failed"] == {}


async def test_a_cloud_that_pauses_is_a_branch_that_failed(nats_server: str, tmp_path: Path, stack: ExitStack) -> None:
    """While its breaker is open an ensemble is answered by the others, as it was before; alone it is refused, and so is
    a pipeline, which needs all.
    """
    stack.enter_context(echo(nats_server, tmp_path, "one"))
    async with Cloud() as cloud, raw.connected(nats_server) as client:
        cloud.always = "500"
        stack.enter_context(router(nats_server, tmp_path / "router", **providers(tmp_path / "router", cloud)))
        for _ in range(8):
            said, _ = await raw.ask(client, "inference.request.auto", asked("ensemble", "one", "cloud:big"))
            assert said["finish_reason"] == "stop", said
            assert set(said["orchestration"]["failed"]) == {"cloud:big"}
        before = len(cloud.asked)
        for wish in (asked("pipeline", "one", "cloud:big"), asked("ensemble", "cloud:big", "cloud:big")):
            said, _ = await raw.ask(client, "inference.request.auto", wish)
            assert said["error"]["code"] == "NO_WORKERS", said
        assert len(cloud.asked) == before
