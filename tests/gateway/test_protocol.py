"""Connections of the HTTP server by themselves: who does not read, who sends on, who speaks HTTP/1.0. No fleet."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, Router

from golek_program.settings.http import Address, Http
from golek_program.web import protocol, server

Open = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LARGE = 8 * 2**20
POST = b"POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
SHORT = 0.3
"""Seconds of patience, so that its end is seen."""


async def refused(_: Request) -> Response:
    """Answers before the body is there."""
    return PlainTextResponse("no", 413)


async def large(_: Request) -> Response:
    return Response(b"x" * LARGE)


async def parts(_: Request) -> Response:
    async def made() -> AsyncIterator[str]:
        for part in ("one\r\n", "two", "", "three"):
            yield part

    return StreamingResponse(made(), media_type="text/plain")


@asynccontextmanager
async def serving(*more: Route) -> AsyncIterator[Callable[[int | None], Awaitable[Open]]]:
    """A server of its own; what opens connections to it, with a receive buffer of this size."""
    routes = [Route("/refused", refused, methods=["POST"]), Route("/large", large), Route("/parts", parts), *more]
    running = await server.serve(Router(routes), Address("127.0.0.1", 0), Http())
    made: list[asyncio.StreamWriter] = []

    async def connect(receive_buffer: int | None = None) -> Open:
        one = socket.socket()
        if receive_buffer is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        one.setblocking(False)
        await asyncio.get_running_loop().sock_connect(one, running.where)
        reader, writer = await asyncio.open_connection(sock=one, limit=2048)
        made.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in made:
            writer.close()
        await running.close(1)


async def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody takes is not kept; meanwhile others are answered."""
    monkeypatch.setattr(protocol, "UNREAD_S", SHORT)
    async with serving() as connect, asyncio.timeout(10):
        reader, writer = await connect(4096)
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readexactly(100)
        other, asking = await connect(None)
        asking.write(b"GET /parts HTTP/1.0\r\n\r\n")
        assert (await other.read()).endswith(b"three")
        await asyncio.sleep(4 * SHORT)  # what is not read is what is tested
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while data := await reader.read(2**16):
                got += len(data)
        assert got < LARGE


async def test_who_reads_slowly_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than the patience, but it goes on."""
    monkeypatch.setattr(protocol, "UNREAD_S", SHORT)
    async with serving() as connect, asyncio.timeout(20):
        reader, writer = await connect(2**16)
        began = asyncio.get_running_loop().time()
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        got = 0
        while data := await reader.read(2**16):
            got += len(data)
            await asyncio.sleep(0.01)
        assert got > LARGE
        assert asyncio.get_running_loop().time() - began > 3 * SHORT


async def test_what_comes_of_a_refused_body_is_thrown_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes at once; who goes on sending for ever is let go, however steadily the bytes come."""
    monkeypatch.setattr(protocol, "LINGER_S", SHORT)
    async with serving() as connect, asyncio.timeout(10):
        reader, writer = await connect(None)
        writer.write(POST + b"x")
        assert b" 413 " in await reader.readuntil(b"\r\n\r\nno")
        gone = asyncio.create_task(reader.read())
        while not gone.done():
            writer.write(b"x")
            await asyncio.wait([gone], timeout=0.02)
        assert gone.exception() is not None or gone.result() == b""


async def test_after_a_refused_body_the_connection_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the rest of it is there, the next request is answered; the connection is not let go later either."""
    monkeypatch.setattr(protocol, "LINGER_S", SHORT)
    async with serving() as connect, asyncio.timeout(10):
        reader, writer = await connect(None)
        for _ in range(2):
            writer.write(POST)
            assert b" 413 " in await reader.readuntil(b"\r\n\r\nno")
            writer.write(b"x" * 1000)
            await asyncio.sleep(1.5 * SHORT)  # its absence would be seen then


@pytest.mark.parametrize("after", [b"\r\n", b"x" * 1000], ids=["a stray line", "a refused body"])
async def test_who_is_idle_is_let_go(monkeypatch: pytest.MonkeyPatch, after: bytes) -> None:
    """Whatever the last byte was that came: none of them keeps a connection for ever."""
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 1)
    async with serving() as connect, asyncio.timeout(5):
        reader, writer = await connect(None)
        writer.write(POST if after != b"\r\n" else POST + b"x" * 1000)
        await reader.readuntil(b"\r\n\r\nno")
        writer.write(after)
        assert await reader.read() == b""


async def test_http_1_0_knows_no_chunks() -> None:
    """What has no length ends with the connection; to HTTP/1.1 the same goes in chunks."""
    async with serving() as connect, asyncio.timeout(5):
        reader, writer = await connect(None)
        writer.write(b"GET /parts HTTP/1.0\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert body == b"one\r\ntwothree"
        reader, writer = await connect(None)
        writer.write(b"GET /parts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"5\r\nthree\r\n0\r\n\r\n")


async def test_who_leaves_with_several_requests_open_leaves_all() -> None:
    """The first of them is told too, although others were sent behind it."""
    gone = asyncio.Event()
    began = asyncio.Event()

    async def waits(request: Request) -> Response:
        began.set()
        await request.body()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()
        return Response(b"")

    async with serving(Route("/waits", waits)) as connect, asyncio.timeout(5):
        _, writer = await connect(None)
        writer.write(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
        await began.wait()
        writer.close()
        await gone.wait()


@pytest.mark.parametrize(
    "body", [b"transfer-encoding: chunked\r\n\r\nx\r\n", b"transfer-encoding: chunked\r\n\r\n-1\r\nxx"]
)
async def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    """Who waits for the rest of it is not told anything else, and the client is told 400."""
    gone = asyncio.Event()

    async def waits(request: Request) -> Response:
        try:
            return Response(await request.body())
        except ClientDisconnect:
            gone.set()
            raise

    async with serving(Route("/waits", waits, methods=["POST"])) as connect, asyncio.timeout(5):
        reader, writer = await connect(None)
        writer.write(b"POST /waits HTTP/1.1\r\nhost: x\r\n" + body)
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        await gone.wait()


async def test_what_is_no_request_does_not_cost_the_one_before_it() -> None:
    """A whole request is answered although noise is sent behind it; then the connection ends."""
    began, may_end = asyncio.Event(), asyncio.Event()

    async def waits(_: Request) -> Response:
        began.set()
        await may_end.wait()
        return Response(b"answered")

    async with serving(Route("/waits", waits)) as connect, asyncio.timeout(5):
        reader, writer = await connect(None)
        writer.write(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n")
        await began.wait()
        writer.write(b"noise\r\n\r\n")
        other, asking = await connect(None)
        asking.write(b"GET /parts HTTP/1.0\r\n\r\n")
        await other.read()
        may_end.set()
        assert (await reader.read()).endswith(b"answered")
