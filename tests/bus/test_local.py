"""Does a model in the program answer as the same model behind a broker?

Each call is made to both, a real worker on a real server and `LocalGolek`; what is not a time must be equal.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from golek_client import (
    Asking,
    BadRequestError,
    BusUnavailableError,
    DeadlineExceededError,
    EngineFailedError,
    Golek,
    InferenceServiceError,
    ModelNotFoundError,
)
from golek_client.options import Options
from golek_worker.local import LocalGolek
from tests.support import adapters, minilm, reranker
from tests.support.leaving import left
from tests.support.workers import WorkerProcess

MODEL = Path("data/models/golek-tiny/model.gguf").absolute()
TINY = "golek-tiny"
SMALL = {"CTX_SIZE": 512, "WORKER_CONCURRENCY": 2, "MODEL_THREADS": 1}
TIMES = {"ms", "duration_ms", "ttft_ms", "tokens_cached"}
"""And what depends on which prompts a slot had before."""
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
    }
]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
ASKED: dict[str, Options] = {
    "greedy": {"temperature": 0, "max_tokens": 24},
    "seeded": {"seed": 7, "temperature": 1.5, "max_tokens": 24, "ignore_eos": True},
    "several": {"seed": 7, "temperature": 1.5, "max_tokens": 8, "n": 3},
    "best": {"seed": 7, "temperature": 1.5, "max_tokens": 8, "n": 2, "best_of": 4},
    "stop": {"temperature": 0, "max_tokens": 24, "stop": [" a"]},
    "raw": {"temperature": 0, "max_tokens": 8, "raw": True},
    "resumed": {"temperature": 0, "max_tokens": 12, "resume": {"text": "I am"}},  # type: ignore[typeddict-item]
    "schema": {
        "temperature": 0,
        "max_tokens": 40,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    },
    "regex": {"seed": 1, "max_tokens": 12, "regex": "[a-f]{4}"},
    "grammar": {"seed": 1, "max_tokens": 20, "grammar": 'root ::= "yes" | "no"'},
    "tools": {"temperature": 0, "max_tokens": 60, "tools": TOOLS, "tool_choice": "required"},
    "adapter": {"temperature": 0, "max_tokens": 12, "adapter": "one"},
    "labelled": {"temperature": 0, "max_tokens": 2, "req_id": "mine"},
}
WRONG: dict[str, Options] = {
    "grammar": {"grammar": "root ::= ("},
    "unknown grammar": {"grammar": "nowhere"},
    "adapter": {"adapter": "two"},
    "two wishes": {"regex": "a", "choice": ["b"]},
    "value": {"temperature": -1},
    "token": {"logit_bias": {"99999": 1}},
}


@pytest.fixture
async def both(nats_server: str, tmp_path: Path) -> AsyncIterator[tuple[Golek, LocalGolek]]:
    """A client of a fleet, and one whose model runs here."""
    adapters.write(tmp_path / "1.gguf", MODEL, 1)
    settings = {**SMALL, "ADAPTERS": f"one={tmp_path}/1.gguf"}
    with WorkerProcess(nats_server, tmp_path / "data", TINY, **settings):
        async with Golek(nats_server, deadline=20) as fleet, LocalGolek(TINY, deadline=20, settings=settings) as local:
            yield fleet, local


@pytest.fixture
async def local() -> AsyncIterator[LocalGolek]:
    async with LocalGolek(TINY, deadline=20, settings=SMALL) as local:
        yield local


def fields(reply: object) -> dict[str, Any]:
    """All that is no time."""
    told: dict[str, Any] = msgspec.to_builtins(reply)
    return {name: value for name, value in told.items() if name not in TIMES}


async def error_of(call: Awaitable[object]) -> InferenceServiceError:
    with pytest.raises(InferenceServiceError) as caught:
        await call
    return caught.value


async def test_a_text_is_the_same(both: tuple[Asking, Asking]) -> None:
    """Whatever is asked of it: each field, seed and tokens among them."""
    fleet, local = both
    for name, options in ASKED.items():
        one, other = [await golek.ask(TINY, "What is a lease?", **options) for golek in (fleet, local)]
        if "seed" not in options:
            one, other = (msgspec.structs.replace(reply, seed=0) for reply in (one, other))
        if "tools" in options:
            assert [call.function for call in one.tool_calls or []] == [c.function for c in other.tool_calls or []]
            one, other = (msgspec.structs.replace(reply, tool_calls=None) for reply in (one, other))
        assert fields(one) == fields(other), name


async def test_a_stream_is_the_same(both: tuple[Asking, Asking]) -> None:
    """Its text, its pieces of several texts, its log-probabilities, and its reply; also of a conversation."""
    fleet, local = both
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a queue?"}]
    told = []
    for golek in (fleet, local):
        async with golek.chat(TINY, turns, stream=True, seed=3, max_tokens=20) as stream:
            text = "".join([delta async for delta in stream])
        whole = await golek.chat(TINY, turns, seed=3, max_tokens=20)
        several = golek.stream(TINY, "Hello", seed=3, max_tokens=6, n=2, temperature=1.5, logprobs=True)
        texts = ["", ""]
        tokens = 0
        async for piece in several.pieces():
            texts[piece.index] += piece.text
            tokens += len(piece.logprobs or [])
        assert text == stream.reply.text == whole.text
        assert texts == [choice.text for choice in several.reply.all_choices]
        reply = fields(several.reply) | {"logprobs": None, "choices": None}  # the last bits depend on the batch
        told.append((fields(stream.reply), fields(whole), reply, texts, tokens))
    assert told[0] == told[1]


async def test_an_error_is_the_same(both: tuple[Asking, Asking]) -> None:
    """Class, code, message and details."""
    fleet, local = both
    asked: list[Callable[[Asking], Awaitable[object]]] = [
        lambda golek: golek.ask(TINY, "word " * 1000),
        lambda golek: golek.ask(TINY, ""),
        lambda golek: golek.ask("golek-tine", "Hello"),
        *(lambda golek, options=options: golek.ask(TINY, "Hello", **options) for options in WRONG.values()),  # type: ignore[misc]
    ]
    for call in asked:
        one, other = await error_of(call(fleet)), await error_of(call(local))
        assert (type(one), one.message, one.details) == (type(other), other.message, other.details)


async def test_vectors_and_scores_are_the_same(nats_server: str, tmp_path: Path) -> None:
    """A list of texts with its dimensions and its format, and documents in their order; in several models at once."""
    files = {"minilm": minilm.model_file(), "ranker": reranker.model_file()}
    texts = ["rivers of Africa", "The Nile is long", "Snow is white"]
    workers = [
        WorkerProcess(nats_server, tmp_path / "data", TINY, MODEL_NAME=name, MODEL_PATH=file, MODEL_THREADS=1)
        for name, file in files.items()
    ]
    with workers[0], workers[1]:
        async with Golek(nats_server, deadline=20) as fleet:
            vectors = await fleet.embed("minilm", texts, dimensions=100)
            packed = await fleet.embed("minilm", texts[0], encoding_format="base64")
            ranked = await fleet.rerank("ranker", texts[0], texts, top_n=2, return_documents=True)
    async with LocalGolek(model_path=files["minilm"], settings={"MODEL_THREADS": 1}) as local:
        (record,) = await local.models()
        assert (record.kinds, record.state, record.name) == (["embedding"], "online", "all-minilm-l6-v2-f32")
        same = await local.embed(record.name, texts, dimensions=100)
        assert fields(same) | {"model": "minilm"} == fields(vectors)
        assert (await local.embed(record.name, texts[0], encoding_format="base64")).data == packed.data
        refused = await error_of(local.ask(record.name, "Hello"))
        assert refused.message == f"{record.name} is no model for inference: ask it with `embed`"
    async with LocalGolek("ranker", model_path=files["ranker"], settings={"MODEL_THREADS": 1}) as local:
        assert fields(await local.rerank("ranker", texts[0], texts, top_n=2, return_documents=True)) == fields(ranked)


async def test_leaving_a_stream_ends_its_job() -> None:
    """By `async with`, and by a caller that stops waiting: the engine's place is free again."""
    slow = LocalGolek(TINY, settings={**SMALL, "WORKER_CONCURRENCY": 1, "ENGINE_STEP_MIN_MS": 20}, deadline=20)
    async with slow:
        async with slow.stream(TINY, "Hello", max_tokens=400, ignore_eos=True) as stream:
            assert await anext(stream)
            assert (await slow.health(TINY)).active == 1
        asking = asyncio.create_task(slow.ask(TINY, "Hello", max_tokens=400, ignore_eos=True))
        waiting = asyncio.create_task(slow.ask(TINY, "Hello", max_tokens=1))
        while (await slow.health(TINY)).active == 0:
            await asyncio.sleep(0)
        asking.cancel()
        assert (await waiting).tokens_out == 1
        assert (await slow.health(TINY)).active == 0


async def test_a_deadline_holds() -> None:
    """For a job that runs and for one that waits, with the words of the client on the bus."""
    settings = {**SMALL, "WORKER_CONCURRENCY": 1, "ENGINE_STEP_MIN_MS": 20}
    async with LocalGolek(TINY, deadline=20, settings=settings) as local:
        calls = [local.ask(TINY, "Hello", max_tokens=400, ignore_eos=True, deadline=0.2) for _ in range(2)]
        for late in await asyncio.gather(*map(error_of, calls)):
            assert isinstance(late, DeadlineExceededError)
            assert late.message == "no answer from golek-tiny within 0.2 s"
            assert late.details["deadline_ms"] == 200
        assert (await local.ask(TINY, "Hello", max_tokens=1)).tokens_out == 1


async def test_calls_run_side_by_side(local: LocalGolek) -> None:
    """More of them than there are places: all are answered, as they would be alone."""
    alone = [(await local.ask(TINY, "Hello", seed=seed, max_tokens=8)).text for seed in range(6)]
    together = await asyncio.gather(*(local.ask(TINY, "Hello", seed=seed, max_tokens=8) for seed in range(6)))
    assert [reply.text for reply in together] == alone


async def test_an_engine_that_dies_is_started_again(tmp_path: Path) -> None:
    """The stream that lost it goes on with the same text."""
    settings = {**SMALL, "ENGINE_STEP_MIN_MS": 20}
    async with LocalGolek(TINY, settings=settings, deadline=30) as local:
        whole = await local.ask(TINY, "What is a lease?", seed=1, max_tokens=30, ignore_eos=True)
        before = {child.pid for child in psutil.Process().children()}
        stream = local.stream(TINY, "What is a lease?", seed=1, max_tokens=30, ignore_eos=True)
        text = await anext(stream)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        text += await stream.text()
        assert text == whole.text


async def test_what_only_a_fleet_has_is_refused_by_name(local: LocalGolek) -> None:
    """Not taken and passed over."""
    only: list[tuple[str, Options]] = [
        ("reply_to", {"reply_to": "a.subject"}),
        ("session_id", {"session_id": "s"}),
    ]
    for name, options in only:
        refused = await error_of(local.ask(TINY, "Hello", **options))
        assert isinstance(refused, BadRequestError)
        assert refused.details["param"] == name
    with pytest.raises(BadRequestError, match="resumable: only a fleet has this"):
        await local.stream(TINY, "Hello", resumable=True).text()
    with pytest.raises(BadRequestError, match="orchestration_mode: debate needs several models and a router"):
        await local.ask(TINY, "Hello", orchestration_mode="debate")
    assert (await local.ask(TINY, "Hello", orchestration_mode="single", max_tokens=1)).tokens_out == 1


async def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    """A file that is not there, one that is no model, and a setting that is wrong, each in a sentence."""
    with pytest.raises(ModelNotFoundError, match="no such file"):
        LocalGolek(model_path=tmp_path / "nothing.gguf")
    (tmp_path / "torn.gguf").write_bytes(MODEL.read_bytes()[:200_000])
    with pytest.raises((BadRequestError, EngineFailedError), match="torn"):
        async with LocalGolek(model_path=tmp_path / "torn.gguf"):
            pass
    with pytest.raises(BadRequestError, match="CTX_SIZE"):
        LocalGolek(TINY, settings={"CTX_SIZE": "many"})
    with pytest.raises(BadRequestError, match="did you mean CTX_SIZE"):
        LocalGolek(TINY, settings={"CTX_SIZ": 512})


async def test_after_close_nothing_runs(caplog: pytest.LogCaptureFixture) -> None:
    """The engine's process has ended; a call says so. A first call without `async with` loads."""
    caplog.set_level(logging.DEBUG, "golek.local")
    local = LocalGolek(TINY, settings=SMALL, deadline=20)
    assert (await local.models())[0].state == "starting"
    assert (await local.ask(TINY, "Hello", max_tokens=1)).tokens_out == 1
    children = psutil.Process().children()
    assert children
    await local.close()
    assert left(children, 0) == []
    with pytest.raises(BusUnavailableError, match="closed"):
        await local.ask(TINY, "Hello")
    assert caplog.records == []


def test_the_example_runs() -> None:
    """As it is printed: an answer, a story and a choice, and nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "examples/local_sdk.py"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] in {"yes", "no"}
