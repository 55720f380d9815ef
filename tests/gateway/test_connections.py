"""Connections that misbehave: each ends in an answer or is let go, and the others do not notice."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from golek_program.web import protocol
from tests.support.fronts import Fleet

CHAT = b'{"model":"golek-tiny","messages":[{"role":"user","content":"What is NATS?"}],"temperature":0,"max_tokens":8}'


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to whatever serves `url`."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next response that has a length."""
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return int(head.split(b" ")[1]), await reader.readexactly(length)


def post(body: bytes, *headers: bytes, path: bytes = b"/v1/chat/completions") -> bytes:
    """One request as it stands on the line."""
    lines = [b"POST %b HTTP/1.1" % path, b"host: x", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_requests_in_a_row_are_answered_in_order(fleet: Fleet) -> None:
    """Pipelining: five requests are sent before the first answer is read, and the connection stays."""
    async with connection(fleet.gateway) as (reader, writer):
        writer.write(b"".join(post(CHAT, b"x-request-id: r%d" % number) for number in range(5)))
        said = [await answer(reader) for _ in range(5)]
        assert [status for status, _ in said] == [200] * 5
        assert len({json.loads(body)["id"] for _, body in said}) == 5
        writer.write(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200


async def test_a_head_that_comes_drop_by_drop_is_let_go(fleet: Fleet) -> None:
    """Slowloris: 408 after ten seconds, while others are answered."""
    async with connection(fleet.gateway) as (reader, writer):
        began = time.monotonic()
        answered = asyncio.create_task(answer(reader))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\n")
        while not answered.done():
            writer.write(b"x-drop: 1\r\n")
            await asyncio.wait([answered], timeout=0.5)
        status, body = answered.result()
        assert (status, json.loads(body)["error"]["code"]) == (408, "REQUEST_TIMEOUT")
        assert protocol.HEAD_S - 1 < time.monotonic() - began < protocol.HEAD_S + 3
        assert await reader.read() == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /ping HTTP/1.1\r\nhost: x\r\nx-large: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nhost: x\r\n" + b"".join(b"x-%d: a\r\n" % number for number in range(9000)) + b"\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=["one header", "many headers", "path"],
)
async def test_a_huge_head_is_refused(fleet: Fleet, head: bytes) -> None:
    """431, as JSON, and the connection ends."""
    async with connection(fleet.gateway) as (reader, writer):
        writer.write(head)
        status, body = await answer(reader)
        assert (status, json.loads(body)["error"]["code"]) == (431, "HEADERS_TOO_LARGE")


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00\x01\x00", b"HELLO\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\n\r\n"]
)
async def test_what_is_no_http_is_told_so(fleet: Fleet, noise: bytes) -> None:
    """400 as JSON; a TLS handshake and bytes that stand for no path among it."""
    async with connection(fleet.gateway) as (reader, writer):
        writer.write(noise)
        status, body = await answer(reader)
        assert status in (400, 404)
        assert json.loads(body)["error"]["code"] in ("BAD_REQUEST", "NOT_FOUND")


async def test_a_body_larger_than_is_taken_is_refused_before_it_is_sent(fleet: Fleet) -> None:
    """413 from its announced length alone, with the limit."""
    async with connection(fleet.gateway) as (reader, writer):
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n")
        status, body = await answer(reader)
        error = json.loads(body)["error"]
        assert (status, error["code"], error["details"]["limit"]) == (413, "PAYLOAD_TOO_LARGE", 64 * 2**20)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model":"golek-tiny","messages":[{"role":"user","content":"\xff\xfe"}]}',
        b'{"model":"golek-tiny","messages":[{"role":"user","content":"\\ud800"}]}',
        b"\x00" * 1000,
        b"",
        b"null",
    ],
    ids=["deep lists", "deep objects", "bad UTF-8", "half a pair", "zeros", "nothing", "null"],
)
async def test_a_body_that_is_no_request_is_told_so(fleet: Fleet, body: bytes) -> None:
    """400, and the connection takes the next request."""
    async with connection(fleet.gateway) as (reader, writer):
        writer.write(post(body))
        status, said = await answer(reader)
        assert (status, json.loads(said)["error"]["code"]) == (400, "BAD_REQUEST"), said
        writer.write(post(CHAT))
        assert (await answer(reader))[0] == 200


async def test_a_body_in_chunks_is_read(fleet: Fleet) -> None:
    """Transfer-Encoding: chunked, a byte a chunk."""
    async with connection(fleet.gateway) as (reader, writer):
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in CHAT:
            writer.write(b"1\r\n%c\r\n" % number)
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        assert (await answer(reader))[0] == 200


async def test_a_hundred_idle_connections_are_in_nobodys_way(fleet: Fleet) -> None:
    """Who connects and says nothing is let go without a word to others."""
    where = urlsplit(fleet.gateway)
    idle = [await asyncio.open_connection(where.hostname, where.port) for _ in range(100)]
    try:
        async with connection(fleet.gateway) as (reader, writer):
            writer.write(post(CHAT))
            assert (await answer(reader))[0] == 200
        async with asyncio.timeout(protocol.HEAD_S + 5):
            await asyncio.gather(*(reader.read() for reader, _ in idle))
    finally:
        for _, writer in idle:
            writer.close()
