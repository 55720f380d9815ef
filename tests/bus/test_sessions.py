"""Conversations that the fleet keeps: real nats-server, real worker processes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import redis

from golek_client import (
    BadRequestError,
    ContextBudgetExceededError,
    Golek,
    JobCancelledError,
    NotFoundError,
    NoWorkersError,
    TemporaryResourceError,
    UnauthorizedError,
)
from golek_client.bus_client import BusClient
from golek_client.connection import close, connect
from golek_wire import subjects
from golek_wire.requests import Message, Resume
from golek_wire.sessions import Session
from golek_worker.bus.sessions import KvStore
from golek_worker.sessions.memory import MemoryStore
from golek_worker.sessions.redis import RedisStore
from golek_worker.sessions.store import Store
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.ports import free_port
from tests.support.programs import golek as run_golek
from tests.support.redis_server import RedisServer
from tests.support.workers import WorkerProcess

PACED = {"ENGINE_STEP_MIN_MS": 10, "STREAM_GATHER_MS": 0}

MARKERS = {
    "name": "behind",
    "user_prefix": "",
    "user_suffix": " <user ",
    "model_prefix": "",
    "model_suffix": " <model ",
    "system_prefix": "",
    "system_suffix": " <system ",
}
"""With these the echo engine answers with all that the model reads: no mark of a user's turn ends its answer."""


@pytest.fixture
def markers(tmp_path: Path) -> str:
    file = tmp_path / "markers.json"
    file.write_text(json.dumps(MARKERS))
    return str(file)


@pytest.fixture
def echo(nats_server: str, tmp_path: Path, markers: str) -> Iterator[WorkerProcess]:
    with WorkerProcess(nats_server, tmp_path / "data", PROMPT_TEMPLATE=markers) as worker:
        yield worker


def said(session: Session) -> list[list[str | None]]:
    """What the messages of each turn say."""
    return [[message.content for message in turn.messages] for turn in session.turns]


async def test_the_second_request_knows_the_first(golek: Golek, echo: WorkerProcess) -> None:
    """What was asked and answered under a session's id comes before the next question; without the id nothing does."""
    first = await golek.ask("echo", "one", session_id="s", max_tokens=1)
    assert first.session is not None
    assert (first.session.turns, first.session.left_out, first.session.stored) == (0, 0, True)
    second = await golek.ask("echo", "two", session_id="s")
    assert second.text.split() == ["one", "<user", "one", "<model", "two", "<user"]
    assert second.session is not None
    assert second.session.turns == 1
    assert (await golek.ask("echo", "three")).text.split() == ["three", "<user"]
    kept = await golek.session("s")
    assert said(kept) == [["one", first.text], ["two", second.text]]
    assert kept.session_id == "s"
    assert kept.created < kept.updated


async def test_a_conversation_with_a_model(golek: Golek, nats_server: str, tmp_path: Path) -> None:
    """A chat template's turns, the session's system message and one that replaces it; `n` texts keep the first; raw
    prompts have no turns.
    """
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny", GOLEK_AUDIT_BODY="full"):
        some = {"session_id": "t", "max_tokens": 4, "temperature": 0}
        told = [Message("system", "Be brief."), Message("user", "Tell a story.")]
        first = await golek.chat("golek-tiny", told, **some)
        two = await golek.ask("golek-tiny", "Go on.", session_id="t", max_tokens=4, n=2, seed=1)
        await golek.chat("golek-tiny", [Message("developer", "Be long."), Message("user", "And then?")], **some)
        stream = golek.stream("golek-tiny", "The end?", **some)
        text = await stream.text()
        assert stream.reply.session is not None
        assert stream.reply.session.turns == 3
        with pytest.raises(BadRequestError, match="session_id: a raw prompt"):
            await golek.ask("golek-tiny", "x", session_id="t", raw=True)
        kept = await golek.session("t")
    assert [one.content for one in kept.system] == ["Be long."]
    assert said(kept)[0] == ["Tell a story.", first.text]
    assert said(kept)[1] == ["Go on.", two.text]
    assert said(kept)[3] == ["The end?", text]
    assert all(turn.tokens > 0 for turn in kept.turns)


async def test_a_model_without_turns_says_so(golek: Golek, nats_server: str, tmp_path: Path) -> None:
    """At once, and not with the second request."""
    with (
        WorkerProcess(nats_server, tmp_path / "data", MODEL_FORMAT="raw"),
        pytest.raises(BadRequestError, match="session_id: MODEL_FORMAT=raw"),
    ):
        await golek.ask("echo", "one", session_id="s")


async def test_results_of_tools_go_on_from_their_call(golek: Golek, nats_server: str, tmp_path: Path) -> None:
    """The call is a turn; a request that brings the result alone is understood."""
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny"):
        called = await golek.ask("golek-tiny", "Rain?", session_id="w", tools=tools, tool_choice="required", seed=1)
        (call,) = called.tool_calls or ()
        result = Message("tool", "sunny", tool_call_id=call.id)
        await golek.chat("golek-tiny", [result], session_id="w", tools=tools, max_tokens=3)
        first, second = (await golek.session("w")).turns
    assert first.messages[1].tool_calls == [
        {"id": call.id, "function": {"name": "weather", "arguments": call.function.arguments}, "type": "function"}
    ]
    assert second.messages[0] == result


# -- exactly once ------------------------------------------------------------------------------------------------------


async def test_a_job_that_runs_again_is_one_turn(golek: Golek, nats_server: str, tmp_path: Path, markers: str) -> None:
    """The engine dies in mid-answer: attempt 2 reads what attempt 1 did, and adds the turn once."""
    with WorkerProcess(nats_server, tmp_path / "data", PROMPT_TEMPLATE=markers, **PACED) as worker:
        await golek.ask("echo", "one", session_id="s")
        pieces = []
        stream = golek.stream("echo", "two " * 30, session_id="s")
        async for piece in stream:
            pieces.append(piece)
            if len(pieces) == 10:
                worker.child.kill()
        assert "".join(pieces) == stream.reply.text
        kept = await golek.session("s")
    assert said(kept) == [["one", "one <user "], ["two " * 30, stream.reply.text]]
    assert stream.reply.text.count("one") == 2


async def test_a_turn_that_was_added_is_not_added_again(
    golek: Golek, nats_server: str, tmp_path: Path, markers: str
) -> None:
    """The worker dies between the answer and its ack, as far as the session can tell: the other replica finds the turn
    there, does not read it, and leaves it.
    """
    async with raw.connected(nats_server) as client:
        with WorkerProcess(nats_server, tmp_path / "data", PROMPT_TEMPLATE=markers) as worker:
            await golek.ask("echo", "one", session_id="s")
            before = await golek.session("s")
            inbox = client.new_inbox()
            answers = await client.subscribe(inbox)
            worker.child.suspend()
            body = b'{"input": "two", "session_id": "s"}'
            await client.publish(subjects.request("echo"), body, reply=inbox)
            key = subjects.session("anonymous", "s")
            bucket = await client.jetstream().key_value(subjects.SESSIONS_BUCKET)
            own = {"job_id": subjects.job_id(inbox), "messages": [{"role": "user", "content": "two"}]}
            later = {"job_id": "later", "messages": [{"role": "user", "content": "three"}]}
            value = json.loads((await bucket.get(key)).value or b"")
            value["turns"] += [own, later]
            await bucket.put(key, json.dumps(value).encode())
            worker.child.kill()
            answer = json.loads((await answers.next_msg(20)).data)
            after = await golek.session("s")
    assert answer["text"].split() == ["one", "<user", "one", "<user", "<model", "two", "<user"]
    assert answer["session"] == {"turns": 1}
    assert said(after) == [*said(before), ["two"], ["three"]]


async def test_what_ends_without_an_answer_adds_nothing(
    golek: Golek, nats_server: str, tmp_path: Path, markers: str
) -> None:
    """A cancelled job, and a failed one."""
    with WorkerProcess(nats_server, tmp_path / "data", PROMPT_TEMPLATE=markers, **PACED):
        await golek.ask("echo", "one", session_id="s")
        stream = golek.stream("echo", "two " * 100, session_id="s")
        await anext(stream)
        await golek.cancel(stream.job_id)
        with pytest.raises(JobCancelledError):
            await stream.text()
        with pytest.raises(BadRequestError):
            await golek.ask("echo", "three", session_id="s", logprobs=True)
        assert said(await golek.session("s")) == [["one", "one <user "]]


async def test_a_stream_that_goes_on_with_a_lost_one_takes_its_place(golek: Golek, echo: WorkerProcess) -> None:
    """The lost job had added its turn all the same: the caller's text is what is kept."""
    first = await golek.ask("echo", "one", session_id="s")
    (lost,) = (await golek.session("s")).turns
    resumed = await golek.ask("echo", "one", session_id="s", resume=Resume("one <us", job_id=lost.job_id))
    assert resumed.text == first.text
    (turn,) = (await golek.session("s")).turns
    assert turn.job_id != lost.job_id


async def test_requests_at_the_same_time_lose_no_turn(
    golek: Golek, nats_server: str, tmp_path: Path, markers: str
) -> None:
    """Thirty requests on one session, over two replicas: each turn is there, once."""
    with (
        WorkerProcess(nats_server, tmp_path / "data", PROMPT_TEMPLATE=markers),
        WorkerProcess(nats_server, tmp_path / "data", "echo", 2, PROMPT_TEMPLATE=markers),
    ):
        replies = await asyncio.gather(*(golek.ask("echo", f"q{n}", session_id="s", max_tokens=1) for n in range(30)))
        kept = await golek.session("s")
    assert all(reply.session is not None and reply.session.stored for reply in replies)
    assert sorted(turn.messages[0].content or "" for turn in kept.turns) == sorted(f"q{n}" for n in range(30))


# -- too long ----------------------------------------------------------------------------------------------------------


async def test_the_oldest_turns_are_left_out_and_it_is_told(golek: Golek, nats_server: str, tmp_path: Path) -> None:
    """A context of 128 tokens and ever more turns: each is answered, the newest ones are read, the system's words stay.
    What alone does not fit is refused as ever.
    """
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny", CTX_SIZE=128, GOLEK_AUDIT_BODY="full") as worker:
        uses = []
        for n in range(12):
            told = [Message("system", "Be very brief.")] if n == 0 else []
            asked = [*told, Message("user", f"Question {n} of many")]
            reply = await golek.chat("golek-tiny", asked, session_id="s", max_tokens=8, ignore_eos=True)
            assert reply.session is not None
            assert reply.tokens_in + 8 <= 128
            uses.append((reply.session.turns, reply.session.left_out))
        assert [turns + left_out for turns, left_out in uses] == list(range(12))
        assert uses[1] == (1, 0)
        assert uses[-1][0] >= 1
        assert uses[-1][1] > 5
        without = await golek.ask("golek-tiny", "And without a limit?", session_id="s")
        assert without.session is not None
        assert without.tokens_in <= 128 - 32
        with pytest.raises(ContextBudgetExceededError):
            await golek.ask("golek-tiny", "x " * 500, session_id="s")
        assert len((await golek.session("s")).turns) == 13
        assert worker.log_lines("job.failed") == []


async def test_a_conversation_too_large_to_keep_loses_its_oldest_turns(golek: Golek, echo: WorkerProcess) -> None:
    """Ten turns of 150 KB: what is kept fits into a message, its newest turns whole; then one that alone is too large
    is answered, told as not stored, and counted.
    """
    for n in range(10):
        reply = await golek.ask("echo", f"{n} " + "x" * 150_000, session_id="s", max_tokens=1)
        assert reply.session is not None
        assert reply.session.stored
    kept = await golek.session("s")
    assert kept.dropped + len(kept.turns) == 10
    assert kept.dropped >= 3
    assert (kept.turns[-1].messages[0].content or "").startswith("9 ")
    assert reply.session.left_out == kept.dropped - 1
    large = await golek.ask("echo", "y" * 1_100_000, session_id="s", max_tokens=1)
    assert large.session is not None
    assert not large.session.stored
    assert (await golek.health("echo")).sessions_lost == 1
    assert (await golek.session("s")).turns == kept.turns
    (event,) = echo.log_lines("sessions.lost")
    assert "1 turns could not be added" in event["detail"]


# -- whose it is -------------------------------------------------------------------------------------------------------


async def test_a_conversation_is_removed(golek: Golek, echo: WorkerProcess) -> None:
    """Then there is none, and the next request begins anew. An id may hold what a key of a bucket may not."""
    await golek.ask("echo", "one", session_id="s/.*>1")
    name = "s/.*>1"
    await golek.delete_session(name)
    for call in (golek.session(name), golek.delete_session(name), golek.session("never")):
        with pytest.raises(NotFoundError, match="session_id"):
            await call
    with pytest.raises(BadRequestError, match="session_id"):
        await golek.session("with blank")
    again = await golek.ask("echo", "two", session_id=name)
    assert again.text.split() == ["two", "<user"]


async def test_a_request_that_runs_does_not_bring_it_back(
    golek: Golek, nats_server: str, tmp_path: Path, markers: str
) -> None:
    """Removed in mid-answer: the answer comes, says that it was not kept, and that is no loss."""
    with WorkerProcess(nats_server, tmp_path / "data", PROMPT_TEMPLATE=markers, **PACED):
        await golek.ask("echo", "one", session_id="s")
        stream = golek.stream("echo", "two " * 50, session_id="s")
        await anext(stream)
        await golek.delete_session("s")
        await stream.text()
        assert stream.reply.session is not None
        assert (stream.reply.session.turns, stream.reply.session.stored) == (1, False)
        with pytest.raises(NotFoundError):
            await golek.session("s")
        assert (await golek.health("echo")).sessions_lost == 0


async def test_nobody_reads_anothers_conversation(nats_server: str, tmp_path: Path, markers: str) -> None:
    """Two keys, one id: two conversations. A key may read its own at a worker whose model it may not ask."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "api_keys.txt").write_text("ann:anns-key\nbob:bobs-key\nfar:fars-key models=other\n")
    (data / "api_keys.txt").chmod(0o600)
    with WorkerProcess(nats_server, data, PROMPT_TEMPLATE=markers, GOLEK_NATS_IDENTITY="keys"):
        async with (
            Golek(nats_server, key="anns-key") as ann,
            Golek(nats_server, key="bobs-key") as bob,
            Golek(nats_server, key="fars-key") as far,
            Golek(nats_server, key="") as nobody,
        ):
            await ann.ask("echo", "secret", session_id="s")
            with pytest.raises(NotFoundError):
                await bob.session("s")
            with pytest.raises(NotFoundError):
                await bob.delete_session("s")
            assert (await bob.ask("echo", "mine", session_id="s")).text.split() == ["mine", "<user"]
            with pytest.raises(NotFoundError):
                await far.session("s")
            for call in (nobody.session("s"), nobody.delete_session("s")):
                with pytest.raises(UnauthorizedError):
                    await call
            assert said(await ann.session("s")) == [["secret", "secret <user "]]


async def test_without_a_worker_nobody_answers(golek: Golek) -> None:
    """At once."""
    with pytest.raises(NoWorkersError, match="conversations"):
        await golek.session("s")


# -- where they are kept -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
async def bus(nats_server: str) -> AsyncIterator[BusClient]:
    client = await connect(nats_server, "sessions")
    yield client
    await close(client)


@pytest.fixture(params=["kv", "memory", "redis"])
async def store(request: pytest.FixtureRequest, bus: BusClient) -> AsyncIterator[Store]:
    """Each kind of place; what is changed lives for a second."""
    made: Store
    if request.param == "kv":
        made = await KvStore.open(bus, 1.0)
    elif request.param == "memory":
        made = MemoryStore(1.0)
    else:
        url = request.getfixturevalue("redis_url")
        made = await RedisStore.open(url, 1.0, url)
    yield made
    await made.close()


def appended(word: bytes) -> Callable[[bytes | None], bytes | None]:
    return lambda old: (old or b"") + word


async def test_a_store_keeps_changes_and_deletes(store: Store) -> None:
    """What every place can do: read, change, leave as it is, delete, begin again."""
    key = f"ann.{store.name}"
    assert await store.read(key) is None
    assert not await store.delete(key)
    await store.change(key, appended(b"a"))
    await store.change(key, lambda _: None)
    await store.change(key, appended(b"b"))
    assert await store.read(key) == b"ab"
    assert await store.read(key + "x") is None
    assert await store.delete(key)
    assert await store.read(key) is None
    assert not await store.delete(key)
    await store.change(key, appended(b"c"))
    assert await store.read(key) == b"c"
    await store.delete(key)


async def test_a_store_loses_none_of_many_changes(store: Store) -> None:
    """Twenty at the same time: each sees what the ones before it left."""
    key = "ann.many"
    await asyncio.gather(*(store.change(key, appended(b"%c" % (65 + n))) for n in range(20)))
    assert sorted(await store.read(key) or b"") == list(range(65, 85))
    await store.delete(key)


async def test_a_store_forgets(store: Store) -> None:
    """What was not changed for its time is gone; a change renews it; then it begins anew."""
    await store.change("ann.renewed", appended(b"a"))
    await store.change("ann.old", appended(b"a"))
    for _ in range(3):
        await asyncio.sleep(0.5)
        await store.change("ann.renewed", appended(b"b"))
    async with asyncio.timeout(3):
        while await store.read("ann.old") is not None:
            await asyncio.sleep(0.05)
    assert await store.read("ann.renewed") == b"abbb"
    await store.change("ann.old", appended(b"c"))
    assert await store.read("ann.old") == b"c"


async def test_an_error_of_a_change_changes_nothing(store: Store) -> None:
    """It reaches who asked for the change."""

    def fail(_: bytes | None) -> bytes | None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.change("ann.error", fail)
    assert await store.read("ann.error") is None


async def test_memory_gives_way(bus: BusClient) -> None:
    """The conversation that nobody went on with for longest goes first."""
    del bus
    store = MemoryStore(60.0, room=10)
    for key in ("a", "b"):
        await store.change(key, appended(b"1234"))
    await store.change("a", appended(b"5"))
    await store.change("c", appended(b"1234"))
    assert [await store.read(key) for key in ("a", "b", "c")] == [b"12345", None, b"1234"]


async def test_conversations_in_redis(
    golek: Golek, nats_server: str, tmp_path: Path, markers: str, redis_url: str
) -> None:
    """As in the broker; each ends after its time."""
    with WorkerProcess(
        nats_server, tmp_path / "data", PROMPT_TEMPLATE=markers, GOLEK_SESSION_STORE=redis_url, GOLEK_SESSION_TTL="10s"
    ):
        await golek.ask("echo", "one", session_id="s")
        reply = await golek.ask("echo", "two", session_id="s")
        assert reply.text.split() == ["one", "<user", "one", "<user", "<model", "two", "<user"]
        assert len((await golek.session("s")).turns) == 2
        assert (await golek.health("echo")).session_store == "redis"
        with redis.Redis.from_url(redis_url) as client:
            (key,) = client.keys("golek:session:anonymous.*")
            assert 0 < client.ttl(key) <= 10
        await golek.delete_session("s")
        with pytest.raises(NotFoundError):
            await golek.session("s")


async def test_a_redis_that_goes_away(
    golek: Golek, nats_server: str, tmp_path: Path, markers: str, redis_server: RedisServer
) -> None:
    """In mid-answer: the answer comes and says that it was not kept. Before a request: error 503, and none without its
    memory. When it is back, so are conversations.
    """
    settings = {"PROMPT_TEMPLATE": markers, "GOLEK_SESSION_STORE": redis_server.url}
    with WorkerProcess(nats_server, tmp_path / "data", **settings, **PACED):
        stream = golek.stream("echo", "one " * 30, session_id="away")
        await anext(stream)
        redis_server.stop()
        try:
            await stream.text()
            assert stream.reply.session is not None
            assert not stream.reply.session.stored
            with pytest.raises(TemporaryResourceError, match="Redis does not answer"):
                await golek.ask("echo", "two", session_id="away")
            with pytest.raises(TemporaryResourceError, match="Redis does not answer"):
                await golek.session("away")
            assert (await golek.ask("echo", "two")).text == "two <user "
        finally:
            redis_server.start()
        await golek.ask("echo", "three", session_id="away")
        assert said(await golek.session("away")) == [["three", "three <user "]]
        assert (await golek.health("echo")).sessions_lost == 1


async def test_a_redis_that_is_not_there(nats_server: str, tmp_path: Path) -> None:
    """The worker does not start, and says which setting is wrong; a password is not shown."""
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    problem = WorkerProcess(nats_server, tmp_path / "data", GOLEK_SESSION_STORE=url).start_failing()
    assert "GOLEK_SESSION_STORE" in problem
    assert "Redis does not answer" in problem
    assert "secret" not in problem


async def test_conversations_in_the_memory_of_workers(
    golek: Golek, nats_server: str, tmp_path: Path, markers: str
) -> None:
    """Each worker has its own. Whichever is asked for one, the one that has it answers; nobody has it: 404."""
    settings = {"PROMPT_TEMPLATE": markers, "GOLEK_SESSION_STORE": "memory"}
    with (
        WorkerProcess(nats_server, tmp_path / "data", **settings),
        WorkerProcess(nats_server, tmp_path / "other", MODEL_NAME="second", **settings),
    ):
        await golek.ask("echo", "one", session_id="a")
        await golek.ask("second", "two", session_id="b")
        assert (await golek.health("echo")).session_store == "memory"
        for _ in range(6):
            assert said(await golek.session("a")) == [["one", "one <user "]]
            assert said(await golek.session("b")) == [["two", "two <user "]]
        await golek.delete_session("a")
        await golek.delete_session("b")
        for name in ("a", "b"):
            with pytest.raises(NotFoundError):
                await golek.session(name)


async def test_replicas_with_memories_of_their_own_say_so(nats_server: str, tmp_path: Path, markers: str) -> None:
    """Whoever starts a second replica learns that conversations are not shared."""
    settings = {"PROMPT_TEMPLATE": markers, "GOLEK_SESSION_STORE": "memory"}
    with WorkerProcess(nats_server, tmp_path / "data", "echo", 2, **settings) as worker:
        said_by_it = worker.state()
        assert said_by_it is not None
        assert any("GOLEK_SESSION_STORE=memory" in remark for remark in said_by_it.remarks)


# -- trouble -----------------------------------------------------------------------------------------------------------


async def test_a_turn_that_cannot_be_stored_holds_no_answer_back(
    golek: Golek, nats_server: str, tmp_path: Path, markers: str
) -> None:
    """The bucket is gone in mid-answer: the answer comes, says so, and health counts it."""
    with WorkerProcess(nats_server, tmp_path / "data", PROMPT_TEMPLATE=markers, **PACED) as worker:
        stream = golek.stream("echo", "one " * 50, session_id="s")
        await anext(stream)
        async with raw.connected(nats_server) as client:
            await client.jetstream().delete_stream(f"KV_{subjects.SESSIONS_BUCKET}")
        await stream.text()
        assert stream.reply.session is not None
        assert not stream.reply.session.stored
        assert (await golek.health("echo")).sessions_lost == 1
        assert len(worker.log_lines("sessions.lost")) == 1


async def test_a_conversation_outlives_its_worker_and_the_broker(
    broker: NatsServer, tmp_path: Path, markers: str
) -> None:
    """Both are started anew; the next request knows what was said."""
    async with Golek(broker.url) as golek:
        with WorkerProcess(broker.url, tmp_path / "data", PROMPT_TEMPLATE=markers):
            await golek.ask("echo", "one", session_id="s")
        broker.kill()
        broker.start()
        with WorkerProcess(broker.url, tmp_path / "data", PROMPT_TEMPLATE=markers):
            reply = await golek.ask("echo", "two", session_id="s", deadline=20)
    assert reply.session is not None
    assert reply.session.turns == 1


async def test_the_commands(nats_server: str, tmp_path: Path, markers: str) -> None:
    """`golek chat --session` goes on where another process stopped; show and rm."""
    with WorkerProcess(nats_server, tmp_path / "data", PROMPT_TEMPLATE=markers):
        one = await run_golek(nats_server, "chat", "echo", "one", "--session", "s")
        assert one.out.split() == ["one", "<user"]
        two = await run_golek(nats_server, "chat", "echo", "two", "--session", "s")
        assert two.out.split() == ["one", "<user", "one", "<user", "<model", "two", "<user"]
        piped = await run_golek(nats_server, "chat", "echo", "-i", "--session", "s", stdin=b"three\nfour\n")
        assert piped.status == 0
        shown = await run_golek(nats_server, "session", "show", "s")
        kept = json.loads(shown.out)
        assert [turn["messages"][0]["content"] for turn in kept["turns"]] == ["one", "two", "three", "four"]
        assert (await run_golek(nats_server, "session", "rm", "s")).out == "removed s\n"
        gone = await run_golek(nats_server, "session", "show", "s")
        assert gone.status == 1
        assert "NOT_FOUND" in gone.err
