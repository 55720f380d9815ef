"""Vectors over the bus: real nats-server, real worker, llama.cpp with all-MiniLM-L6-v2 in its engine child."""

import asyncio
import json
import math
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from golek_client import BadRequestError, DeadlineExceededError, Golek, InternalError
from golek_client.connection import flush
from golek_wire import codec, subjects
from golek_wire.replies import Embedding, EmbeddingReply, EmbeddingUsage
from golek_wire.vectors import unpacked
from tests.support import minilm, raw
from tests.support.broker import NatsServer
from tests.support.scripted_worker import ScriptedWorker
from tests.support.workers import WorkerProcess

MODEL = "nomic-embed-v1.5"
TOKEN = "nomic-embed-v1_5"
REQUEST = f"embedding.request.{MODEL}"
WIDTH = 384
TEXT = "A sentence of some length, so that a batch of many of them takes its time. " * 4
LONG = {"input": [f"{number} {TEXT}" for number in range(60)], "encoding_format": "base64"}
"""Seconds of work on one thread, in many batches. One, because threads that wait for each other on a busy machine take
ten times as long."""
REFUSED: list[tuple[object, str, str]] = [
    ({}, "BAD_REQUEST", "input"),
    ({"input": ["a", ""]}, "BAD_REQUEST", "input[1]"),
    ({"input": "a", "dimensions": 385}, "BAD_REQUEST", "384"),
    ({"input": "a", "encoding_format": "int8"}, "BAD_REQUEST", "base64, float"),
    ({"input": "a", "reply_to": "inference.request.x"}, "BAD_REQUEST", "reply_to"),
    ({"input": ["a", "word " * 900]}, "CONTEXT_BUDGET_EXCEEDED", "input[1]"),
    ({"input": "x" * 1_040_000}, "PAYLOAD_TOO_LARGE", "1032192"),
    ({"input": ["a"] * 600, "encoding_format": "base64"}, "PAYLOAD_TOO_LARGE", "1048576"),
    ({"input": ["a"] * 2048}, "PAYLOAD_TOO_LARGE", "base64"),
]
"""Bodies of requests, the code of the error, and what its message names."""


def worker(url: str, data: Path, **settings: object) -> WorkerProcess:
    return WorkerProcess(
        url,
        data,
        "golek-tiny",
        **{"MODEL_NAME": MODEL, "MODEL_PATH": minilm.model_file(), "MODEL_THREADS": 1, **settings},
    )


@pytest.fixture
def embedder(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    with worker(nats_server, tmp_path / "data") as started:
        yield started


def rows(started: WorkerProcess, sql: str) -> list[tuple[object, ...]]:
    """What the request log holds once the worker has ended."""
    started.end()
    with sqlite3.connect(started.data / "logs" / f"{MODEL}.sqlite") as log:
        return log.execute(sql).fetchall()


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_a_request_as_documented_gets_openais_list(embedder: WorkerProcess, nats_server: str) -> None:
    """The published example, answered to its inbox and to `reply_to`, on the literal name and on the token."""
    body = {"req_id": "embed-123", "input": "Hello world", "model": MODEL, "reply_to": "embed.reply.test"}
    async with raw.connected(nats_server) as client:
        other = await client.subscribe("embed.reply.test")
        reply, message = await raw.ask(client, REQUEST, body)
        assert list(message.headers or ()) == ["Golek-Worker"]
        assert json.loads((await other.next_msg(5)).data) == reply
        by_token, _ = await raw.ask(client, f"embedding.request.{TOKEN}", {"input": "Hello world", "stream": True})
    assert (reply["object"], reply["model"], reply["req_id"]) == ("list", MODEL, "embed-123")
    (item,) = reply["data"]
    assert (item["object"], item["index"], len(item["embedding"])) == ("embedding", 0, WIDTH)
    assert math.hypot(*item["embedding"]) == pytest.approx(1.0, abs=1e-6)
    assert reply["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert reply["ms"] == reply["duration_ms"] >= 0
    assert dot(by_token["data"][0]["embedding"], item["embedding"]) == pytest.approx(1.0, abs=1e-4)
    logged = rows(embedder, "SELECT kind, raw_input, output, tokens_in, tokens_out, status FROM requests")
    assert logged == [("embedding", "Hello world", None, 4, 0, "ok")] * 2


async def test_vectors_mean_something(embedder: WorkerProcess, nats_server: str) -> None:
    """A list comes back in its order; what is alike is near; base64 and `dimensions` are as asked."""
    texts = ["A cat sleeps on the sofa", "A kitten naps on the couch", "The stock market fell today"]
    async with raw.connected(nats_server) as client:
        reply, _ = await raw.ask(client, REQUEST, {"input": texts})
        packed, _ = await raw.ask(client, REQUEST, {"input": texts, "encoding_format": "base64", "dimensions": 64})
    cat, kitten, market = (item["embedding"] for item in reply["data"])
    assert [item["index"] for item in reply["data"]] == [0, 1, 2]
    assert dot(cat, kitten) > dot(cat, market) + 0.3
    short = unpacked(packed["data"][0]["embedding"])
    assert len(short) == 64
    assert math.hypot(*short) == pytest.approx(1.0, abs=1e-6)
    assert short[0] / short[1] == pytest.approx(cat[0] / cat[1], rel=0.05)
    ((logged,),) = rows(embedder, "SELECT DISTINCT raw_input FROM requests")
    assert json.loads(str(logged)) == texts


async def test_a_wrong_request_is_refused_by_name(embedder: WorkerProcess, nats_server: str) -> None:
    """With both headers, in one message, and not as a stream."""
    async with raw.connected(nats_server) as client:
        for body, code, named in REFUSED:
            start = time.monotonic()
            reply, message = await raw.ask(client, REQUEST, body)
            assert time.monotonic() - start < 5
            assert (reply["error"]["code"], named in reply["error"]["message"]) == (code, True), (named, reply)
            assert message.headers is not None
            assert message.headers.keys() - {"Golek-Worker"} == {"Nats-Service-Error-Code", "Nats-Service-Error"}


async def test_a_reply_too_large_for_the_bus_is_an_error_with_both_sizes(
    embedder: WorkerProcess, nats_server: str
) -> None:
    """Found out only when the vectors are there: the caller is told how many fit, and nobody is hurt."""
    async with raw.connected(nats_server) as client:
        reply, _ = await raw.ask(client, REQUEST, {"req_id": "big", "input": ["a"] * 300}, timeout=30)
        error = reply["error"]
        assert (error["code"], error["status"], reply["req_id"]) == ("PAYLOAD_TOO_LARGE", 413, "big")
        assert error["details"]["size"] > error["details"]["limit"] == 1024 * 1024
        fits = error["details"]["fits"]
        reply, _ = await raw.ask(client, REQUEST, {"input": ["a"] * fits}, timeout=30)
        assert len(reply["data"]) == fits
    assert rows(embedder, "SELECT status, tokens_in FROM requests WHERE req_id = 'big'") == [("PAYLOAD_TOO_LARGE", 900)]


async def test_a_text_too_large_for_the_bus_is_an_error_too(tmp_path: Path) -> None:
    """The same for a model that writes: never silence, never a closed connection."""
    folder = tmp_path / "nats"
    folder.mkdir()
    broker = NatsServer(folder, "max_payload: 20KB").start()
    try:
        with WorkerProcess(broker.url, tmp_path / "data"):
            async with raw.connected(broker.url) as client:
                body = {"req_id": "big", "input": "a", "params": {"max_tokens": 6000, "ignore_eos": True}}
                reply, _ = await raw.ask(client, "inference.request.echo", body)
                assert reply["error"]["code"] == "PAYLOAD_TOO_LARGE"
                assert "20480" in reply["error"]["message"]
                assert "max_tokens" in reply["error"]["message"]
                streamed = await raw.stream(client, "inference.request.echo", body)
                await streamed.rest()
                assert streamed.final["error"]["code"] == "PAYLOAD_TOO_LARGE"
                reply, _ = await raw.ask(client, "inference.request.echo", {"input": "a"})
                assert reply["text"] == "a"
    finally:
        broker.kill()


async def test_the_client_embeds_any_number_of_texts(embedder: WorkerProcess, nats_server: str) -> None:
    """A list that no message carries comes back whole and in order, as numbers, with its usage."""
    texts = [f"text number {number}" for number in range(1100)]
    async with Golek(nats_server, deadline=50) as golek:
        reply = await golek.embed(MODEL, texts)
        alone = await golek.embed(MODEL, texts[1099])
    assert [item.index for item in reply.data] == list(range(1100))
    assert dot(reply.vectors[1099], alone.vectors[0]) > 0.999 > dot(reply.vectors[0], alone.vectors[0])
    assert (reply.model, alone.usage.prompt_tokens) == (MODEL, 6)  # [CLS] text number 109 ##9 [SEP]
    assert reply.usage.total_tokens > 1100 * 5


async def test_a_model_asked_for_what_it_does_not_do_says_so_at_once(
    embedder: WorkerProcess, nats_server: str, tmp_path: Path
) -> None:
    """In both directions, on literal name and token, raw and through the client; a stream is ended as one."""
    with WorkerProcess(nats_server, tmp_path / "other"):
        async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
            for name in (MODEL, TOKEN):
                reply, _ = await raw.ask(client, f"inference.request.{name}", {"req_id": "r", "input": "hi"}, timeout=2)
                assert (reply["error"]["code"], reply["req_id"]) == ("BAD_REQUEST", "r")
                assert REQUEST in reply["error"]["message"]
            reply, _ = await raw.ask(client, "embedding.request.echo", {"input": "hi", "stream": True}, timeout=2)
            assert "inference.request.echo" in reply["error"]["message"]
            streamed = await raw.stream(client, f"inference.request.{MODEL}", {"input": "hi"})
            await streamed.rest(2)
            assert REQUEST in streamed.final["error"]["message"]
            with pytest.raises(BadRequestError, match="turns texts into vectors"):
                await asyncio.wait_for(golek.ask(MODEL, "hi"), 2)
            with pytest.raises(BadRequestError, match="writes text"):
                await asyncio.wait_for(golek.embed("echo", "hi"), 2)


async def test_a_subject_of_its_own_replaces_the_usual_ones(nats_server: str, tmp_path: Path) -> None:
    """SUBJECT is where requests are taken and what health names; the client reaches it by `subject`."""
    mine = "embedding.request.team.vectors"
    with worker(nats_server, tmp_path / "data", SUBJECT=mine):
        async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
            health, _ = await raw.ask(client, f"models.{MODEL}.health", {})
            assert health["nats_topic"] == mine
            assert len((await golek.embed(MODEL, "hi", subject=mine)).vectors[0]) == WIDTH
            # Nobody listens on the usual subjects, and the record tells that the model makes vectors.
            with pytest.raises(BadRequestError, match=r"no model for inference"):
                await asyncio.wait_for(golek.ask(MODEL, "hi"), 2)


@pytest.mark.parametrize(
    ("deployment", "subject", "below"),
    [("golek-tiny", "inference.request.mine", "embedding.request."), ("echo", "embedding.request.mine", "inference.")],
)
def test_a_subject_of_the_other_kind_is_refused_at_the_start(
    nats_server: str, tmp_path: Path, deployment: str, subject: str, below: str
) -> None:
    """The worker says what its model does and where its subject may lie."""
    settings = {"MODEL_PATH": minilm.model_file()} if deployment == "golek-tiny" else {}
    started = WorkerProcess(nats_server, tmp_path / "data", deployment, SUBJECT=subject, **settings)
    problem = started.start_failing()
    assert problem.startswith(f"SUBJECT={subject}: ")
    assert below in problem


async def test_health_record_and_micro_tell_what_the_model_does(embedder: WorkerProcess, nats_server: str) -> None:
    """`nats_topic`, capabilities, kinds and the endpoint are those of an embedding model."""
    async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
        health, _ = await raw.ask(client, f"models.{TOKEN}.health", {})
        assert (health["nats_topic"], health["capabilities"]) == (REQUEST, ["embeddings"])
        assert health["model_info"]["embedding_size"] == WIDTH
        (record,) = await golek.models()
        assert (record.name, record.kinds) == (MODEL, ["embedding"])
        info, _ = await raw.ask(client, "$SRV.INFO.golek", {})
        assert (info["endpoints"][0]["name"], info["endpoints"][0]["subject"]) == ("embedding", REQUEST)


async def test_a_deadline_ends_a_long_list(embedder: WorkerProcess, nats_server: str) -> None:
    """408 on time, and the engine takes the next job."""
    async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
        start = time.monotonic()
        reply, _ = await raw.ask(client, REQUEST, LONG | {"deadline_ms": 500})
        assert reply["error"]["code"] == "DEADLINE_EXCEEDED"
        assert 0.4 < time.monotonic() - start < 3
        with pytest.raises(DeadlineExceededError):
            await golek.embed(MODEL, LONG["input"], deadline=0.5)
        start = time.monotonic()
        await raw.ask(client, REQUEST, {"input": "hi"})
        assert time.monotonic() - start < 3


async def test_a_cancel_ends_a_long_list(embedder: WorkerProcess, nats_server: str) -> None:
    """499 at once; a caller of the client that gives up does the same."""
    async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        await client.publish(REQUEST, json.dumps(LONG).encode(), reply=inbox, headers={"Golek-Accept": "1"})
        assert (await answers.next_msg(5)).headers == {"Golek-Status": "accepted", "Golek-Job": subjects.job_id(inbox)}
        await busy(client)
        await client.publish(subjects.cancel(subjects.job_id(inbox)))
        error = json.loads((await answers.next_msg(3)).data)["error"]
        assert error["code"] == "CANCELLED"
        giving_up = asyncio.create_task(golek.embed(MODEL, LONG["input"]))
        await busy(client)
        giving_up.cancel()
        start = time.monotonic()
        while (await raw.ask(client, f"models.{MODEL}.health", {}))[0]["active"]:
            await asyncio.sleep(0.02)
        assert time.monotonic() - start < 3
    assert rows(embedder, "SELECT DISTINCT status FROM requests") == [("CANCELLED",)]


async def test_a_killed_engine_costs_an_attempt(embedder: WorkerProcess, nats_server: str) -> None:
    """SIGKILL in mid-batch: the caller gets every vector, from attempt 2, and a job beside it too."""
    async with raw.connected(nats_server) as client:
        long = asyncio.create_task(raw.ask(client, REQUEST, LONG | {"req_id": "long"}, timeout=50))
        await busy(client)
        embedder.child.send_signal(signal.SIGKILL)
        short, _ = await raw.ask(client, REQUEST, {"req_id": "short", "input": "hi"}, timeout=50)
        assert len(short["data"]) == 1
        reply, _ = await long
        assert len(reply["data"]) == len(LONG["input"])
    assert rows(embedder, "SELECT status, attempt FROM requests WHERE req_id = 'long'") == [("ok", 2)]


async def test_a_list_that_kills_the_engine_each_time_is_poison(embedder: WorkerProcess, nats_server: str) -> None:
    """Three crashes, two of them alone: 500, and no fourth attempt."""
    async with raw.connected(nats_server) as client:
        long = asyncio.create_task(raw.ask(client, REQUEST, LONG, timeout=50))
        for _ in range(3):
            await busy(client)
            embedder.child.send_signal(signal.SIGKILL)
            while (await raw.ask(client, f"models.{MODEL}.health", {}))[0]["problem"] is None:
                await asyncio.sleep(0.01)
            while (await raw.ask(client, f"models.{MODEL}.health", {}))[0]["status"] != "online":
                await asyncio.sleep(0.01)
        reply, message = await long
    assert reply["error"]["code"] == "POISON_JOB"
    assert message.headers is not None
    assert message.headers["Nats-Service-Error-Code"] == "500"


async def test_sigterm_finishes_what_runs(nats_server: str, tmp_path: Path) -> None:
    """A worker told to stop answers its jobs first."""
    with worker(nats_server, tmp_path / "data") as started:
        async with raw.connected(nats_server) as client:
            long = asyncio.create_task(raw.ask(client, REQUEST, LONG, timeout=50))
            await busy(client)
            started.signal(signal.SIGTERM)
            assert len((await long)[0]["data"]) == len(LONG["input"])
        assert started.process is not None
        assert await asyncio.to_thread(started.process.wait, 10) == 0


async def test_what_no_message_carries_is_embedded_too(embedder: WorkerProcess, nats_server: str) -> None:
    """A text of 2 MiB goes by reference, beside its neighbours in messages; 2048 vectors are one answer in parts."""
    async with Golek(nats_server, deadline=50) as golek:
        reply = await golek.embed(MODEL, ["a", "a" + " " * 2 * 1024 * 1024, "b"])
        first, blanks, other = reply.vectors
        assert dot(first, blanks) > 0.999 > dot(first, other)
        reply = await golek.embed(MODEL, ["a"] * 2048, req_id="many")
        assert len(reply.data) == 2048
        assert dot(reply.vectors[2047], first) > 0.999
    assert rows(embedder, "SELECT count(*) FROM requests WHERE req_id = 'many'") == [(1,)]


async def test_a_request_without_a_sign_of_life_is_sent_again(golek: Golek, mute: ScriptedWorker) -> None:
    """The same bytes with the same inbox, as in every call; an answer that is no list of vectors is said to be none."""
    mine = "embedding.request.tiny"
    await mute.client.subscribe(mine, subjects.QUEUE_GROUP, cb=mute._on_request)
    await flush(mute.client)
    asking = asyncio.create_task(golek.embed("tiny", "hi"))
    first, second = await mute.next(), await mute.next()
    assert (first.inbox, first.payload) == (second.inbox, second.payload)
    reply = EmbeddingReply([Embedding([0.6, 0.8], 0)], "tiny", EmbeddingUsage(1, 1))
    await second.say(codec.encode(reply))
    assert (await asking).vectors == [[0.6, 0.8]]
    asking = asyncio.create_task(golek.embed("tiny", "hi"))
    await (await mute.next()).say(b'{"text": "hi"}')
    with pytest.raises(InternalError, match="not Golek's"):
        await asking


async def busy(client: Any) -> None:
    """Wait until the worker runs a job."""
    while not (await raw.ask(client, f"models.{MODEL}.health", {}))[0]["active"]:
        await asyncio.sleep(0.01)
