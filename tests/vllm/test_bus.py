"""The main job with vLLM: real nats-server, real worker, vLLM's processes below it."""

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from golek_client import Golek
from tests.support.broker import NatsServer
from tests.support.leaving import left_later
from tests.support.workers import WorkerProcess
from tests.vllm import place

pytestmark = [place.needs_vllm, pytest.mark.timeout(180)]
LONG: dict[str, Any] = {"max_tokens": 600, "ignore_eos": True, "seed": 3}
GONE_S = 5.0


def start(url: str, data: Path, name: str, **more: object) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(url, data, name, **place.settings(name), STREAM_GATHER_MS=0, **more)
    worker.start(wait=False)
    try:
        worker.wait_for("online", place.LOAD_S)
        yield worker
    finally:
        worker.end()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def worker(module_broker: NatsServer, data: Path) -> Iterator[WorkerProcess]:
    """A worker of priorities with an adapter."""
    yield from start(
        module_broker.url, data, place.TEXT,
        ADAPTERS=f"strange={place.model(place.ADAPTER)}", INFERENCE_QUEUE_STRATEGY="priority",
    )  # fmt: skip


def core(worker: WorkerProcess) -> psutil.Process:
    """EngineCore, below the worker's engine."""
    below = psutil.Process(worker.pid).children(recursive=True)
    (found,) = [process for process in below if "EngineCore" in " ".join(process.cmdline())]
    return found


async def test_a_chat_is_streamed_from_end_to_end(worker: WorkerProcess, module_broker: NatsServer) -> None:
    """Deltas joined are the text, with tokens counted, and the same seed writes it again; the log has both."""
    asked: dict[str, Any] = {"max_tokens": 24, "ignore_eos": True, "seed": 1}
    messages = [{"role": "user", "content": "Which river is longer?"}]
    async with Golek(module_broker.url) as golek:
        health = await golek.health(place.TEXT)
        assert (health.engine, health.status, health.slots) == ("vllm", "online", 4)
        assert health.model_info.architecture == "llama"
        answer = golek.chat(place.TEXT, messages, stream=True, **asked)
        pieces = [piece async for piece in answer]
        assert len(pieces) > 1
        assert "".join(pieces) == answer.reply.text
        assert (answer.reply.tokens_out, answer.reply.finish_reason) == (24, "length")
        assert answer.reply.tokens_in > 20  # with the template around it
        again = await golek.chat(place.TEXT, messages, **asked)
        assert again.text == answer.reply.text
        assert (await golek.chat(place.TEXT, messages, **(asked | {"seed": 2}))).text != again.text


async def test_answers_follow_a_schema(worker: WorkerProcess, module_broker: NatsServer) -> None:
    """And a choice, and an expression."""
    schema = {
        "type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["a"], "additionalProperties": False,
    }  # fmt: skip
    async with Golek(module_broker.url) as golek:
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        told = await golek.ask(place.TEXT, "A number", response_format=form, max_tokens=64)
        assert 0 <= json.loads(told.text)["a"] <= 9
        assert (await golek.ask(place.TEXT, "Choose", choice=["left", "right"])).text in ("left", "right")
        assert (await golek.ask(place.TEXT, "Digits", regex="[0-9]{4}")).text.isdigit()


async def test_an_adapter_of_the_env_file_is_there(worker: WorkerProcess, module_broker: NatsServer) -> None:
    """It changes what is written, for those who ask for it."""
    asked: dict[str, Any] = {"max_tokens": 12, "ignore_eos": True, "temperature": 0.0}
    async with Golek(module_broker.url) as golek:
        plain = await golek.ask(place.TEXT, "Which river is longer?", **asked)
        strange = await golek.ask(place.TEXT, "Which river is longer?", adapter="strange", **asked)
        assert strange.text != plain.text


async def test_a_killed_core_costs_time_alone(worker: WorkerProcess, module_broker: NatsServer) -> None:
    """In mid-stream: the caller has the whole text, once."""
    async with Golek(module_broker.url) as golek:
        whole = (await golek.ask(place.TEXT, "What is a lease?", **LONG)).text
        killed = core(worker)
        pieces: list[str] = []
        answer = golek.stream(place.TEXT, "What is a lease?", deadline=120, **LONG)
        async for piece in answer:
            if not pieces:
                killed.kill()
            pieces.append(piece)
        assert "".join(pieces) == answer.reply.text == whole
        assert core(worker) != killed


async def test_nothing_is_left_of_a_killed_worker(worker: WorkerProcess) -> None:
    """Not of EngineCore either, five seconds later."""
    below = psutil.Process(worker.pid).children(recursive=True)
    assert core(worker) in below
    os.kill(worker.pid, signal.SIGKILL)
    assert await left_later(below, GONE_S) == []


async def test_texts_become_vectors(module_broker: NatsServer, tmp_path: Path) -> None:
    """Of length one, by `embedding.request.<model>`, with the tokens that were read."""
    for _ in start(module_broker.url, tmp_path, place.EMBEDDER):
        async with Golek(module_broker.url) as golek:
            reply = await golek.embed(place.EMBEDDER, ["a lease", "snow"])
            assert [len(one.embedding) for one in reply.data] == [128, 128]
            assert reply.usage.prompt_tokens > 2


def test_the_log_has_what_was_asked(worker: WorkerProcess, data: Path) -> None:
    """As with any engine: how long prompt and text took, too."""
    with sqlite3.connect(data / "logs" / f"{place.TEXT}.sqlite") as log:
        rows = log.execute("SELECT count(*) FROM requests").fetchone()
    assert rows[0] >= 6
