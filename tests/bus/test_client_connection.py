"""The client's connection: how it is made, restored, closed, and what a caller sees of that."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from golek_client import (
    BadRequestError,
    BusUnavailableError,
    DeadlineExceededError,
    Golek,
    connection,
    discovery,
    terminal_bus,
)
from golek_client.bus_client import BusClient
from golek_client.connection import connect, publish
from golek_client.inbox import ReplyMux
from golek_client.line import Line
from golek_wire import codec, subjects
from tests.support.broker import NatsServer
from tests.support.scripted_worker import ScriptedWorker


async def transport_of(golek: Golek) -> BusClient:
    """The connection below a client."""
    transport = (await golek._line()).transport
    assert isinstance(transport, BusClient)
    return transport


async def offend(transport: BusClient) -> None:
    """Make the server end the connection with an error, as it does when a user expires."""
    await transport._send_command(b"NONSENSE\r\n")
    await transport._flush_pending()


@pytest.fixture
async def silent() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The URL of a listener that says nothing, and what happens when its caller hangs up."""
    gone = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", gone
    server.close()


async def test_a_client_is_back_before_the_workers(nats_server: str) -> None:
    """Clients try again every 0.1-0.25 s, workers every 0.25-2 s: an inbox must be there when its answer comes."""
    async with Golek(nats_server) as golek:
        assert 0.1 <= (await transport_of(golek)).options["reconnect_time_wait"] <= 0.25
    worker = await connect(nats_server, "worker")
    assert 0.25 <= worker.options["reconnect_time_wait"] <= 2.0
    await worker.close()


async def test_a_connection_the_server_ends_wakes_its_calls(golek: Golek, worker: ScriptedWorker) -> None:
    """Those who wait get BusUnavailableError at once with the server's word, and the next call connects anew."""
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    await worker.next()
    lost = await transport_of(golek)
    await offend(lost)
    with pytest.raises(BusUnavailableError, match=r"closed .*unknown protocol operation"):
        await asyncio.wait_for(asking, 1)
    asking = asyncio.create_task(golek.ask("tiny", "again"))
    await (await worker.next()).final("here")
    assert (await asking).text == "here"
    assert await transport_of(golek) is not lost


async def test_a_connection_that_ended_while_idle_is_replaced(golek: Golek, worker: ScriptedWorker) -> None:
    """Nobody waited; the next call notices and connects."""
    lost = await transport_of(golek)
    await offend(lost)
    while not lost.is_closed:
        await asyncio.sleep(0.01)
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    await (await worker.next()).final("here")
    assert (await asking).text == "here"


async def test_closing_without_a_broker_hides_no_error(broker: NatsServer) -> None:
    """While the broker is down `close` says nothing, so that the error of the block comes out."""
    golek = Golek(broker.url)
    transport = await transport_of(golek)

    async def program() -> None:
        async with golek:
            broker.kill()
            while transport.is_connected:
                await asyncio.sleep(0.01)
            await golek.cancel("waits-to-be-sent")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await program()
    assert transport.is_closed
    assert not transport._subs


async def test_a_broken_connection_is_closed_to_the_end(broker: NatsServer) -> None:
    """nats-py stops half-way when it cannot write what is pending; ours calls back and ends its tasks."""
    told: list[str] = []
    client = await connect(broker.url, "test", on_closed=told.append)
    await client.subscribe("a", cb=nothing)
    broker.kill()
    while client.is_connected:
        await asyncio.sleep(0.01)
    await publish(client, "a", b"pending")
    await client.close()
    assert (len(told), client.is_closed, client._subs) == (1, True, {})


async def nothing(_: object) -> None:
    """A callback that does nothing."""


async def test_close_during_the_first_connect_leaves_nothing_behind(
    nats_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call that connects is told, and its fresh connection is closed."""
    made: list[BusClient] = []
    may_go_on = asyncio.Event()
    really = connection.connect

    async def slow(*args: Any, **options: Any) -> BusClient:
        made.append(await really(*args, **options))
        await may_go_on.wait()
        return made[0]

    monkeypatch.setattr(connection, "connect", slow)
    golek = Golek(nats_server)
    calls = [asyncio.create_task(golek.models()) for _ in range(2)]
    while not made:
        await asyncio.sleep(0.01)
    await golek.close()
    may_go_on.set()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, BusUnavailableError)
    assert [client.is_closed for client in made] == [True]


@pytest.mark.parametrize("stands", [False, True])
async def test_who_is_cancelled_while_connecting_is(
    nats_server: str, monkeypatch: pytest.MonkeyPatch, stands: bool
) -> None:
    """Also where the connection fails, or stands, in the moment of the cancel: `asyncio.wait_for`, by which nats-py
    connects, forgets it then in Python 3.11."""
    really, begun = BusClient.connect, asyncio.Event()

    async def forgetful(self: BusClient, *args: Any, **options: Any) -> None:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if not stands:
            raise ConnectionRefusedError
        await really(self, *args, **options)

    monkeypatch.setattr(BusClient, "connect", forgetful)
    task = asyncio.create_task(connect(nats_server, "test"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Refusing:
    """A connection that takes no subscription."""

    is_connected = True
    max_payload = 1024

    def __init__(self) -> None:
        self.is_closed = False

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None: ...

    async def subscribe(self, subject: str, *, cb: Callable[[Any], Awaitable[None]]) -> object:
        raise ConnectionResetError("Connection lost")

    async def close(self) -> None:
        self.is_closed = True


async def test_a_connection_without_its_subscription_is_closed() -> None:
    """A line that cannot start gives its connection back, and the error is ours."""
    transport = Refusing()
    with pytest.raises(BusUnavailableError, match="Connection lost"):
        await Line(transport, ReplyMux()).start()
    assert transport.is_closed


@pytest.mark.parametrize("call", ["ask", "stream", "health"])
async def test_connecting_counts_against_the_deadline(silent: tuple[str, asyncio.Event], call: str) -> None:
    """A server that says nothing costs no more than the call's time, and is hung up on."""
    url, gone = silent
    golek = Golek(url, deadline=0.2)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "ask": lambda: golek.ask("tiny", "hi"),
        "stream": lambda: golek.stream("tiny", "hi").text(),
        "health": lambda: golek.health("tiny", timeout=0.2),
    }
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"no connection to nats://127.* within 0\.2 s"):
        await calls[call]()
    assert time.monotonic() - began < 1
    await asyncio.wait_for(gone.wait(), 1)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 0, -1, 10**9, 1e308, "5"])
async def test_a_deadline_that_is_no_time_is_refused_before_connecting(seconds: float) -> None:
    """The keyword is named; neither a worker nor a server is needed to say so."""
    golek = Golek("nats://127.0.0.1:1")
    for call in (
        lambda: golek.ask("tiny", "hi", deadline=seconds),
        lambda: golek.chat("tiny", "hi", deadline=seconds),
        lambda: golek.stream("tiny", "hi", deadline=seconds).text(),
        lambda: Golek("nats://127.0.0.1:1", deadline=seconds).ask("tiny", "hi"),
    ):
        with pytest.raises(BadRequestError, match="deadline: a number of seconds above 0") as raised:
            await call()
        assert raised.value.details["param"] == "deadline"
    with pytest.raises(BadRequestError, match="timeout: "):
        await golek.health("tiny", timeout=seconds)


@pytest.mark.parametrize(
    ("subject", "about", "says"),
    [
        ("a b", None, "'a b' is no subject"),
        ("", None, "'' is no subject"),
        ("a", {"a b": "c"}, "'a b' is no name of a header"),
        ("a", {"X": "\udcff"}, "is no text"),
    ],
)
async def test_what_cannot_be_written_is_the_caller_s_mistake(
    golek: Golek, subject: str, about: dict[str, str] | None, says: str
) -> None:
    """A wrong subject or header is no fault of the bus: no retry helps."""
    with pytest.raises(BadRequestError, match=says):
        await publish(await transport_of(golek), subject, b"", about)


async def test_a_wrong_subject_cannot_be_subscribed(golek: Golek) -> None:
    """Said by type, and the connection survives."""
    with pytest.raises(BadRequestError, match=r"'a\.\.b' is no subject"):
        await connection.subscribe(await transport_of(golek), "a..b", nothing)
    assert await golek.models() == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"error": {"code": 503, "err_code": 10008, "description": "no leader"}}, r"no leader \(10008\)"),
        ({"error": {"code": 500, "err_code": 10023, "description": "resources"}}, r"resources \(10023\)"),
        ({}, "no message and no error"),
        ({"message": 3}, "is not JetStream's"),
        ({"error": {"code": 404, "err_code": 10037}}, None),
        ({"error": {"code": 404, "err_code": 10059}}, None),
    ],
)
async def test_only_a_clear_no_means_that_nothing_is_there(
    tmp_path: Path, answer: dict[str, object], says: str | None
) -> None:
    """Where JetStream cannot say what it holds, no model is declared unknown."""
    server = NatsServer(tmp_path, jetstream=False).start()
    fake = await ScriptedWorker.start(server.url)
    try:
        async with Golek(server.url) as golek:

            async def reply(message: Any) -> None:
                await message.respond(codec.encode(answer))

            await fake.client.subscribe(f"$JS.API.STREAM.MSG.GET.KV_{subjects.MODELS_BUCKET}", cb=reply)
            await connection.flush(fake.client)
            if says is None:
                assert await golek.models() == []
            else:
                with pytest.raises(BusUnavailableError, match=says):
                    await discovery.why_nobody(await golek._line(), "tiny")
    finally:
        await fake.close()
        server.kill()


def test_a_second_event_loop_is_told_at_once(nats_server: str) -> None:
    """Its calls would wait for answers that only the first one hears; once closed, the client connects anew."""
    golek = Golek(nats_server)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert first.run(golek.models()) == []
        for call in (golek.models, lambda: golek.ask("tiny", "hi")):
            with pytest.raises(RuntimeError, match="another event loop"):
                second.run(call())
        first.run(golek.close())
        assert second.run(golek.models()) == []
        second.run(golek.close())


async def test_a_retry_ends_with_its_deadline(tmp_path: Path) -> None:
    """JetStream does not say which dead letters there are."""
    server = NatsServer(tmp_path, jetstream=False).start()
    fake = await ScriptedWorker.start(server.url)
    try:
        async with Golek(server.url) as golek:
            await fake.client.subscribe("$JS.API.STREAM.MSG.GET.GOLEK_DLQ")
            await connection.flush(fake.client)
            start = time.monotonic()
            with pytest.raises(DeadlineExceededError, match=r"dead letter of job a could not be read within 0\.3 s"):
                await golek.retry("a", deadline=0.3)
            assert time.monotonic() - start < 1.5
    finally:
        await fake.close()
        server.kill()


async def test_listening_ends_with_the_connection(nats_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`golek sub` does not wait for messages that cannot come."""
    clients: list[BusClient] = []

    async def kept(*args: Any, **options: Any) -> BusClient:
        clients.append(await connect(*args, **options))
        return clients[0]

    monkeypatch.setattr(terminal_bus, "connect", kept)
    listening = asyncio.create_task(terminal_bus.listen(nats_server, ["a"], 0, raw=True, headers_only=False))
    while not clients:
        await asyncio.sleep(0.01)
    await offend(clients[0])
    with pytest.raises(BusUnavailableError, match="closed"):
        await asyncio.wait_for(listening, 2)


async def test_who_lists_waits_out_an_election(tmp_path: Path) -> None:
    """JetStream has no leader at first: the list comes when it has one, and only a short deadline ends the wait."""
    server = NatsServer(tmp_path, jetstream=False).start()
    fake = await ScriptedWorker.start(server.url)
    asked = 0

    async def reply(message: Any) -> None:
        nonlocal asked
        asked += 1
        leaderless = {"error": {"code": 503, "err_code": 10008, "description": "no leader"}}
        await message.respond(codec.encode(leaderless if asked < 4 else {"error": {"err_code": 10037}}))

    try:
        for stream in (f"KV_{subjects.MODELS_BUCKET}", subjects.DLQ_STREAM):
            await fake.client.subscribe(f"$JS.API.STREAM.MSG.GET.{stream}", cb=reply)
        await connection.flush(fake.client)
        async with Golek(server.url) as golek:
            assert (await golek.models(), asked) == ([], 4)
            asked = 0
            assert (await golek.dead_letters(), asked) == ([], 4)
            asked, golek.deadline = 0, 0.01
            with pytest.raises(BusUnavailableError, match="no leader"):
                await golek.models()
    finally:
        await fake.close()
        server.kill()
