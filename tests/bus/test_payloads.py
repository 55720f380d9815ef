"""Bodies and answers that no message carries, on a server as shipped: 1 MiB."""

import asyncio
import json
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from golek_client import (
    ContextBudgetExceededError,
    Golek,
    JobCancelledError,
    PayloadTooLargeError,
    PoisonJobError,
    large,
)
from golek_client.connection import connect
from golek_client.line import Line
from golek_wire import headers as h
from golek_wire import objects
from golek_wire.subjects import job_id
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.proxy import Proxy
from tests.support.scripted_worker import ScriptedWorker
from tests.support.workers import WorkerProcess

REQUEST = "inference.request.echo"
MIB = 1024 * 1024
TEN_MB = 10_000_000
LARGE_BODY = b'{"req_id": "big", "input": "%b"}' % (b"x" * 3 * MIB)


@pytest.fixture
def echo(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker as shipped, for prompts of up to 4 million words."""
    with WorkerProcess(nats_server, tmp_path / "data", CTX_SIZE=4_000_000) as worker:
        yield worker


@pytest.fixture
async def caller(nats_server: str) -> AsyncIterator[Client]:
    """A caller that knows NATS and nothing of Golek."""
    async with raw.connected(nats_server) as client:
        yield client


async def bodies(client: Client) -> int:
    """Messages in the bucket."""
    return (await client.jetstream().stream_info(objects.STREAM)).state.messages


async def until_empty(client: Client) -> None:
    """Wait until nothing is in the bucket any more."""
    async with asyncio.timeout(5):
        while await bodies(client):
            await asyncio.sleep(0.01)


async def put(client: Client, name: str, body: bytes) -> None:
    """Store `body` with nats-py's own object store, as `nats object put` does."""
    await (await client.jetstream().object_store("GOLEK_OBJECTS")).put(name, body)


async def meta(client: Client, name: str, **said: Any) -> None:
    """Describe an object as somebody with bad intentions would."""
    info = {"name": name, "bucket": "GOLEK_OBJECTS", "nuid": "abc", "size": 3, "chunks": 1, "digest": "SHA-256="} | said
    await client.jetstream().publish(objects.info_subject(name), json.dumps(info).encode())


async def test_ten_megabytes_go_both_ways(echo: WorkerProcess, nats_server: str, caller: Client) -> None:
    """Through ask, chat and stream, one word or many; nothing is left in the bucket."""
    word, words = "x" * TEN_MB, "a 7 letter" * (TEN_MB // 10)
    async with Golek(nats_server, deadline=30) as golek:
        assert (await golek.ask("echo", word)).text == word
        assert (await golek.ask("echo", words)).text == words
        assert await golek.stream("echo", word).text() == word
        assert (await golek.chat("echo", words)).text == words
    await until_empty(caller)


async def test_eight_large_requests_run_side_by_side(echo: WorkerProcess, nats_server: str, caller: Client) -> None:
    """80 MB each way over one connection, beside which a small request is answered within two seconds: half of one on
    an idle machine, and twice that beside other work.
    """
    async with Golek(nats_server, deadline=30) as golek:
        texts = [f"{number}" * TEN_MB for number in range(8)]
        asking = [asyncio.create_task(golek.ask("echo", text)) for text in texts]
        waits = []
        while not all(task.done() for task in asking):
            start = time.monotonic()
            await raw.ask(caller, REQUEST, {"input": "hi"})
            waits.append(time.monotonic() - start)
        assert [task.result().text for task in asking] == texts
        assert max(waits) < 2.0
    await until_empty(caller)


async def test_a_killed_worker_leaves_the_body_to_the_next(nats_server: str, tmp_path: Path, caller: Client) -> None:
    """The second attempt reads it again, and then it is deleted."""
    paced = {"CTX_SIZE": 4_000_000, "ENGINE_STEP_MIN_MS": 20, "STREAM_GATHER_MS": 0}
    word = "x" * 2 * MIB
    with WorkerProcess(nats_server, tmp_path / "data", **paced) as first:
        async with Golek(nats_server, deadline=40) as golek, golek.stream("echo", "a b c " + word) as stream:
            assert await anext(stream) == "a "
            with WorkerProcess(nats_server, tmp_path / "data", replica=2, **paced):
                first.kill()
                assert "a " + await stream.text() == "a b c " + word
                await until_empty(caller)


async def test_a_cancelled_body_is_deleted(nats_server: str, tmp_path: Path, caller: Client) -> None:
    """Of a job that ran, and of one that waited: whoever answers last cleans up."""
    settings = {"CTX_SIZE": 10**6, "ENGINE_STEP_MIN_MS": 20, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 1}
    with WorkerProcess(nats_server, tmp_path / "data", **settings):
        async with Golek(nats_server) as golek:
            running = golek.stream("echo", "a b c " * 100_000 + "x" * MIB)
            await anext(running)
            waiting = asyncio.create_task(golek.ask("echo", "d" * 2 * MIB))
            async with asyncio.timeout(5):
                while await pending(caller) < 1:
                    await asyncio.sleep(0.01)
            assert await bodies(caller) > 3 * MIB // objects.PIECE_SIZE
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await golek.cancel(running.job_id)
            with pytest.raises(JobCancelledError):
                await running.text()
            await until_empty(caller)


async def pending(client: Client) -> int:
    """Jobs of echo that were never delivered."""
    return (await client.jetstream().consumer_info("GOLEK_JOBS_echo", "inference-echo-normal")).num_pending or 0


async def test_with_objects_off_the_client_is_told_both_sizes(nats_server: str, tmp_path: Path, caller: Client) -> None:
    """413 at once: by golek_client before the body is sent, by the worker to who sends too much or a reference."""
    with WorkerProcess(nats_server, tmp_path / "data", GOLEK_OBJECTS="false"):
        async with Golek(nats_server) as golek:
            waits = []
            for _ in range(20):
                start = time.monotonic()
                with pytest.raises(PayloadTooLargeError, match=r"GOLEK_OBJECTS") as raised:
                    await golek.ask("echo", "x" * TEN_MB)
                waits.append(time.monotonic() - start)
                assert raised.value.details["size"] > TEN_MB > raised.value.details["limit"] == MIB - 16 * 1024
        assert statistics.median(waits) < 0.5
        reply, _ = await raw.ask(caller, REQUEST, b'{"input": "%b"}' % (b"x" * (MIB - 8 * 1024)))
        assert (reply["error"]["status"], reply["error"]["details"]["limit"]) == (413, MIB - 16 * 1024)
        reply, _ = await raw.ask(caller, REQUEST, b"", **{h.OBJECT: "nothing"})
        assert (reply["error"]["status"], reply["error"]["param"]) == (400, h.OBJECT)


async def test_a_body_larger_than_the_worker_reads_is_refused_unread(
    nats_server: str, tmp_path: Path, caller: Client
) -> None:
    """413 with both sizes, and the body is deleted."""
    with WorkerProcess(nats_server, tmp_path / "data", GOLEK_MAX_BODY=2):
        async with Golek(nats_server) as golek:
            with pytest.raises(PayloadTooLargeError, match=r"GOLEK_MAX_BODY") as raised:
                await golek.ask("echo", "x" * 3 * MIB)
        assert raised.value.details["size"] > 3 * MIB > raised.value.details["limit"] == 2 * MIB
        await until_empty(caller)


async def test_anybody_may_put_a_body_and_name_it(echo: WorkerProcess, caller: Client) -> None:
    """As with the `nats` command; without Golek-Parts an answer that does not fit is the 413 it always was."""
    await put(caller, "my-body.json", LARGE_BODY)
    reply, _ = await raw.ask(caller, REQUEST, b"", **{h.OBJECT: "my-body.json"})
    assert (reply["req_id"], reply["error"]["status"]) == ("big", 413)
    await until_empty(caller)
    await put(caller, "short", b'{"req_id": "s", "input": "hi"}')
    reply, _ = await raw.ask(caller, REQUEST, b"", **{h.OBJECT: "short"})
    assert (reply["req_id"], reply["text"]) == ("s", "hi")
    await put(caller, "wrong", b'{"req_id": "w", "input": 7}')
    reply, _ = await raw.ask(caller, REQUEST, b"", **{h.OBJECT: "wrong"})
    assert (reply["req_id"], reply["error"]["param"]) == ("w", "input")
    await until_empty(caller)


async def test_a_description_that_lies_harms_nobody(echo: WorkerProcess, caller: Client) -> None:
    """A wildcard for a subject, a wrong size or digest, a link, no JSON: 400, and what others stored stays."""
    await put(caller, "mine", b'{"input": "hi"}')
    kept = await bodies(caller)
    await meta(caller, "wild", nuid=">")
    await meta(caller, "link", options={"link": {"bucket": "GOLEK_OBJECTS", "name": "mine"}})
    await meta(caller, "gone", deleted=True)
    await caller.jetstream().publish(objects.info_subject("noise"), b"\xff{")
    for name in ("wild", "link", "gone", "noise", "a b", "x" * 200, "nobody"):
        reply, _ = await raw.ask(caller, REQUEST, b"", **{h.OBJECT: name})
        assert (reply["error"]["status"], reply["error"]["param"]) == (400, h.OBJECT), name
    assert await bodies(caller) == kept + 4
    await meta(caller, "short", size=70)
    await caller.jetstream().publish(objects.piece_subject("abc"), b"12345")
    reply, _ = await raw.ask(caller, REQUEST, b"", **{h.OBJECT: "short"})
    assert "has 5 bytes in the bucket and should have 70" in reply["error"]["message"]
    reply, _ = await raw.ask(caller, REQUEST, b"", **{h.OBJECT: "mine"})
    assert reply["text"] == "hi"


async def test_a_body_changed_after_the_gate_is_not_run(nats_server: str, tmp_path: Path, caller: Client) -> None:
    """Else a caller could show the gate one request and have another one run."""
    paced = {"ENGINE_STEP_MIN_MS": 20, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 1}
    with WorkerProcess(nats_server, tmp_path / "data", **paced):
        async with Golek(nats_server) as golek, golek.stream("echo", "a b c", ignore_eos=True) as running:
            await anext(running)
            await put(caller, "mine", b'{"input": "hi", "stream": true}')
            inbox = caller.new_inbox()
            answers = await caller.subscribe(inbox)
            await caller.publish(REQUEST, b"", reply=inbox, headers={h.OBJECT: "mine", h.ACCEPT: "1"})
            assert "job_id" in json.loads((await answers.next_msg(5)).data)
            await put(caller, "mine", b'{"input": "hi", "reply_to": "$SYS.x"}')
        error = json.loads((await answers.next_msg(5)).data)["error"]
    assert (error["status"], "not what was admitted" in error["message"]) == (400, True)


async def test_a_poison_body_leaves_its_hash_in_the_letter(
    echo: WorkerProcess, nats_server: str, caller: Client
) -> None:
    """The letter says why it has no request, and whose hash it is; the body is deleted as every other."""
    async with Golek(nats_server, deadline=40) as golek:
        with pytest.raises(PoisonJobError):
            await golek.ask("echo", "GOLEK_ECHO_CRASH " + "x" * 2 * MIB)
        (letter,) = await golek.dead_letters("echo")
    assert (letter.payload, len(letter.input_sha256)) == (None, 64)
    assert str(MIB) in letter.withheld
    await until_empty(caller)


async def test_nothing_is_read_for_who_may_not_ask(nats_server: str, tmp_path: Path, caller: Client) -> None:
    """A caller without a key gets 401, and its body is not fetched first, nor deleted."""
    with WorkerProcess(nats_server, tmp_path / "data", GOLEK_NATS_IDENTITY="keys"):
        await put(caller, "mine", LARGE_BODY)
        kept = await bodies(caller)
        reply, _ = await raw.ask(caller, REQUEST, b"", **{h.OBJECT: "mine"})
        assert reply["error"]["status"] == 401
        assert await bodies(caller) == kept


async def test_copies_of_a_large_request_run_once(nats_server: str, tmp_path: Path, caller: Client) -> None:
    """A copy names the same object; the stream drops it by the inbox, as any copy."""
    with WorkerProcess(nats_server, tmp_path / "data"):
        await put(caller, "twice", b'{"input": "hi"}')
        inbox = caller.new_inbox()
        answers = await caller.subscribe(inbox)
        for _ in range(2):
            await caller.publish(REQUEST, b"", reply=inbox, headers={h.OBJECT: "twice", h.ACCEPT: "1"})
        first = await answers.next_msg(5)
        assert json.loads(first.data)["job_id"] == job_id(inbox)
        assert json.loads((await answers.next_msg(5)).data)["text"] == "hi"


async def test_a_large_answer_goes_to_reply_to_as_an_error(
    echo: WorkerProcess, nats_server: str, caller: Client
) -> None:
    """Who listens there did not ask for parts; the caller has the whole answer."""
    other = await caller.subscribe("my.answers")
    async with Golek(nats_server) as golek:
        assert len((await golek.ask("echo", "x" * 2 * MIB, reply_to="my.answers")).text) == 2 * MIB
    error = json.loads((await other.next_msg(5)).data)["error"]
    assert (error["status"], error["details"]["limit"]) == (413, MIB)


async def test_a_prompt_far_beyond_the_context_is_refused_at_once(nats_server: str, tmp_path: Path) -> None:
    """200,000 words to golek-tiny: the error names both numbers, and a stream beside it does not stall."""
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny", STREAM_GATHER_MS=0):
        async with Golek(nats_server, deadline=20) as golek:
            stream = golek.stream("golek-tiny", "hi", max_tokens=500, ignore_eos=True)
            await anext(stream)
            asking = asyncio.create_task(golek.ask("golek-tiny", "word " * 200_000))
            gaps, last = [], time.monotonic()
            async for _ in stream:
                gaps.append(time.monotonic() - last)
                last += gaps[-1]
            with pytest.raises(ContextBudgetExceededError, match=r"at least \d{4,} tokens; the context has 2048"):
                await asking
            assert max(gaps) < 1.0


async def test_a_body_is_stored_again_when_the_server_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was heard of some piece: a second object, under another name, within the deadline."""
    monkeypatch.setattr(large, "SILENCE_S", 0.2)
    server = NatsServer(tmp_path).start()
    try:
        with WorkerProcess(server.url, tmp_path / "data"):
            client = await connect(server.url, "test")
            line = await Line.open(server.url, "test")
            until = asyncio.get_running_loop().time() + 10
            storing = asyncio.create_task(large.store(line, LARGE_BODY, until, 10))
            await asyncio.sleep(0)
            server._process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
            await asyncio.sleep(0.5)
            server._process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
            name = await storing
            store = await client.jetstream().object_store("GOLEK_OBJECTS")
            assert (await store.get(name)).data == LARGE_BODY  # with nats-py, which compares the digest
            assert await bodies(client) > len(LARGE_BODY) // objects.PIECE_SIZE + 2
            await line.close()
            await client.close()
    finally:
        server.kill()


async def test_a_body_waits_for_a_connection_that_is_away_for_long(
    echo: WorkerProcess, nats_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces do not pile up in nats-py's buffer until it takes no more."""
    monkeypatch.setattr(large, "SILENCE_S", 0.2)
    async with Proxy(nats_server) as proxy, Golek(proxy.url, deadline=20) as golek:
        await golek.models()
        proxy.cut()
        asking = asyncio.create_task(golek.ask("echo", "x" * 3_000_000, max_tokens=1))
        await asyncio.sleep(2.5)
        assert not asking.done()
        await proxy.heal()
        assert (await asking).text.startswith("x")


async def test_who_may_not_store_bodies_is_told_both_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server says nothing at the inbox; the call does not wait for its deadline."""
    monkeypatch.setattr(large, "SILENCE_S", 0.2)
    users = (
        "authorization { users: [ {user: w, password: w}, "
        '{user: c, password: c, permissions: {publish: {deny: ["$O.>", "$JS.API.STREAM.>"]}}} ] }'
    )
    server = NatsServer(tmp_path, users).start()
    try:
        with WorkerProcess(server.url.replace("//", "//w:w@"), tmp_path / "data"):
            async with Golek(server.url.replace("//", "//c:c@"), deadline=20) as golek:
                start = time.monotonic()
                with pytest.raises(PayloadTooLargeError, match="this client may not store larger ones"):
                    await golek.ask("echo", "x" * 2_000_000)
                assert time.monotonic() - start < 2
                assert (await golek.ask("echo", "a")).text == "a"
    finally:
        server.kill()


async def test_parts_that_do_not_all_come_are_waited_for(golek: Golek, worker: ScriptedWorker) -> None:
    """In any order, some of them twice, those of an earlier attempt dropped; nonsense is said to be none."""
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    job = await worker.next()
    assert job.headers[h.PARTS] == "1"
    body = (
        b'{"req_id":"","text":"all of it","tokens_in":1,"tokens_out":1,"finish_reason":"stop","duration_ms":1,"ms":1}'
    )
    for part, attempt, piece in (
        ("1/3", "1", b"{old"),
        ("3/3", "2", body[60:]),
        ("2/3", "1", b"old"),
        ("1/3", "2", body[:30]),
        ("1/3", "2", body[:30]),
    ):
        await job.say(piece, {h.PART: part, h.ATTEMPT: attempt})
    done, _ = await asyncio.wait([asking], timeout=0.1)
    assert not done
    await job.say(body[30:60], {h.PART: "2/3", h.ATTEMPT: "2"})
    assert (await asking).text == "all of it"
