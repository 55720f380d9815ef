"""Requests of unusual form that are right: methods, paths, versions, sizes; and who is slow to read an answer."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from tests.gateway.test_connections import answer, connection, post
from tests.support.fronts import Fleet, GatewayProcess
from tests.support.hostile_http import document
from tests.support.workers import WorkerProcess

MODEL = "org/roomy"
LARGE = 1_500_000
"""More than a message of the bus takes: it goes by reference, and its answer comes in parts."""
HELD_LIMIT = 24 * 2**20


@pytest.fixture(scope="module")
def roomy(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model that echoes, with a slash in its name."""
    given = {"MODEL_NAME": MODEL, "CTX_SIZE": 200_000, "HTTP_ADDR": ""}
    with WorkerProcess(fleet.nats, tmp_path_factory.mktemp("roomy"), "echo", **given):
        yield MODEL


def _paths(fleet: Fleet, method: str, *, of: bool = True) -> list[str]:
    """Paths of the document that have `method`, or that have it not."""
    known: dict[str, Any] = document(fleet.gateway)["paths"]
    return [re.sub(r"\{\w+\}", "x", path) for path, operations in known.items() if (method in operations) is of]


async def test_options_tells_the_methods(fleet: Fleet) -> None:
    """On every path: 405, as nothing is done by it, with the methods that there are."""
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        for path, operations in document(fleet.gateway)["paths"].items():
            found = await client.options(re.sub(r"\{\w+\}", "x", path))
            assert found.status_code == 405, path
            allowed = set(found.headers["allow"].split(", "))
            assert {method.upper() for method in operations} <= allowed, path


async def test_head_is_get_without_a_body(fleet: Fleet) -> None:
    """On every path that has GET, with GET's status; 405 on the others, and where a text would be written that nobody
    gets. What was not sent confuses nobody later.
    """
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        for path in _paths(fleet, "get"):
            found, head = await client.get(path), await client.head(path)
            expected = 405 if path == "/v1/inference_sse" else found.status_code
            assert (head.status_code, head.content) == (expected, b""), path
        for path in _paths(fleet, "get", of=False):
            assert (await client.head(path)).status_code in (404, 405), path


@pytest.mark.parametrize("path", ["/v1/models/org%2Froomy", "/v1/models/org/roomy", "/v1/models/org%2froom%79"])
async def test_a_models_name_may_have_slashes(fleet: Fleet, roomy: str, path: str) -> None:
    """As they are or encoded."""
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        found = await client.get(path)
    assert (found.status_code, found.json()["id"]) == (200, roomy)


async def test_a_slash_behind_a_path_is_another_path(fleet: Fleet) -> None:
    """404 and no redirection: a client that follows one may leave its body or its key behind."""
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        for path in ("/v1/chat/completions/", "/v1/models/golek-tiny/", "/ping/"):
            found = await client.post(path, json={}) if "chat" in path else await client.get(path)
            assert found.status_code == 404, path


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET http://elsewhere.example/ping HTTP/1.1", 200),
        (b"GET http://a.b:99999/ping HTTP/1.1", 400),
        (b"GET /ping HTTP/1.0", 200),
        (b"GET /ping?%ff=%00 HTTP/1.1", 200),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"GET /v1/models/%ff%00 HTTP/1.1", 404),
    ],
)
async def test_unusual_request_lines(fleet: Fleet, line: bytes, status: int) -> None:
    """Absolute URLs, HTTP/1.0 and bytes that are no text are read, or refused as JSON."""
    async with connection(fleet.gateway) as (reader, writer):
        writer.write(line + b"\r\nhost: x\r\n\r\n")
        assert (await answer(reader))[0] == status


async def test_who_expects_100_is_told_to_go_on(fleet: Fleet, roomy: str) -> None:
    """Before the body; not where the head is refused already."""
    body = json.dumps({"model": roomy, "prompt": "x"}).encode()
    async with connection(fleet.gateway) as (reader, writer):
        head, _, _ = post(body, b"expect: 100-continue", path=b"/v1/completions").partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await answer(reader))[0] == 200
        writer.write(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n"
        )
        assert (await answer(reader))[0] == 413


async def test_a_body_larger_than_a_message_is_answered(fleet: Fleet, roomy: str) -> None:
    """1.5 MB by reference, and as much of an answer in parts; whole, streamed, and in chunks of unknown number."""
    word = "x" * LARGE
    body = {"model": roomy, "prompt": word}
    async with httpx2.AsyncClient(base_url=fleet.gateway, timeout=30) as client:
        whole = await client.post("/v1/completions", json=body)
        assert whole.json()["choices"][0]["text"] == word
        streamed = await client.post("/v1/completions", json=body | {"stream": True})
        events = [line[6:] for line in streamed.text.splitlines() if line]
        assert "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1]) == word

        async def pieces() -> Any:
            data = json.dumps(body).encode()
            for start in range(0, len(data), 100_000):
                yield data[start : start + 100_000]

        assert (await client.post("/v1/completions", content=pieces())).json() | {"id": "", "created": 0} == (
            whole.json() | {"id": "", "created": 0}
        )


async def test_60_mb_are_taken_and_more_than_the_limit_is_not(fleet: Fleet, roomy: str) -> None:
    """413 with both sizes, also where the length was not announced; the one who sends learns it."""
    async with httpx2.AsyncClient(base_url=fleet.gateway, timeout=30) as client:
        body = json.dumps({"model": roomy, "prompt": "x", "unknown": ""}).encode()
        grown = body[:-2] + b"x" * (60 * 2**20) + body[-2:]
        assert (await client.post("/v1/completions", content=grown)).status_code == 200

        async def pieces() -> Any:
            for _ in range(65):
                yield b" " * 2**20

        for content in (b" " * (65 * 2**20), pieces()):
            refused = await client.post("/v1/completions", content=content)
            details = refused.json()["error"]["details"]
            assert (refused.status_code, details["limit"]) == (413, 64 * 2**20)
            assert details["size"] > details["limit"]


async def test_two_hundred_streams_at_once_are_whole(fleet: Fleet, tmp_path: Any) -> None:
    """With slots for a quarter: each gets its own words in order, and who waits is told its place."""
    given = {"MODEL_NAME": "many", "WORKER_CONCURRENCY": 50, "ENGINE_STEP_MIN_MS": 10, "HTTP_ADDR": ""}
    limits = httpx2.Limits(max_connections=None)
    with WorkerProcess(fleet.nats, tmp_path, "echo", **given):
        async with httpx2.AsyncClient(base_url=fleet.gateway, timeout=50, limits=limits) as client:

            async def ask(number: int) -> bool:
                words = " ".join(f"word{number}.{place}" for place in range(60))
                asked = {"model": "many", "prompt": words, "stream": True}
                lines = (await client.post("/v1/completions", json=asked)).text.splitlines()
                events = [line[6:] for line in lines if line.startswith("data: ")]
                assert events[-1] == "[DONE]"
                assert "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1]) == words
                return any(line.startswith(": position=") for line in lines)

            told = await asyncio.gather(*map(ask, range(200)))
    assert sum(told) >= 50  # the place is looked up once a second: the last fifty surely wait for longer


@pytest.mark.timeout(90)
async def test_who_reads_slowly_gets_all_and_is_in_nobodys_way(fleet: Fleet, roomy: str, tmp_path: Any) -> None:
    """Ten readers who do not read for a while: what is kept for them is bounded, others are answered at once, and then
    they get every word in order."""
    words = " ".join(f"word{number}" for number in range(20_000))
    body = json.dumps({"model": roomy, "prompt": words, "stream": True}).encode()
    with GatewayProcess(fleet.nats, tmp_path) as gateway:
        where = urlsplit(gateway.url)
        async with httpx2.AsyncClient(base_url=gateway.url, timeout=10) as client:
            await client.post("/v1/completions", json={"model": roomy, "prompt": "x"})
            before = psutil.Process(gateway.pid).memory_info().rss
            slow = [await asyncio.open_connection(where.hostname, where.port, limit=4096) for _ in range(10)]
            for _, writer in slow:
                writer.write(post(body, b"connection: close", path=b"/v1/completions"))
            for reader, _ in slow:
                await reader.readuntil(b"\r\n\r\n")
            for _ in range(10):
                found = await client.post("/v1/completions", json={"model": roomy, "prompt": "x"}, timeout=2)
                assert found.status_code == 200
                await asyncio.sleep(0.1)
            assert psutil.Process(gateway.pid).memory_info().rss - before < HELD_LIMIT
            for whole in await asyncio.gather(*(reader.read() for reader, _ in slow)):
                assert _text(whole) == words
            for _, writer in slow:
                writer.close()


def _text(chunked: bytes) -> str:
    """What the events in the chunks of a response add up to."""
    body = bytearray()
    while chunked:
        size, _, chunked = chunked.partition(b"\r\n")
        body += chunked[: int(size, 16)]
        chunked = chunked[int(size, 16) + 2 :]
    events = re.findall(rb"data: (.+)\n\n", bytes(body))
    assert events[-1] == b"[DONE]"
    return "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])


async def test_a_worker_serves_its_own_model_alone(fleet: Fleet) -> None:
    """Another name is 404 there, with the model that it has; by its own name, a prefix or without one it answers."""
    async with httpx2.AsyncClient(base_url=fleet.worker, timeout=30) as client:
        asked = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        refused = await client.post("/v1/chat/completions", json=asked | {"model": "another"})
        named = [await client.post("/v1/chat/completions", json=asked | {"model": name}) for name in OWN_NAMES]
        unnamed = await client.post("/v1/chat/completions", json=asked)
    error = refused.json()["error"]
    told = (refused.status_code, error["code"], error["details"]["available"])
    assert told == (404, "MODEL_NOT_FOUND", ["golek-tiny"])
    assert [answer.status_code for answer in (*named, unnamed)] == [200] * 3


OWN_NAMES = ("golek-tiny", "inference:golek-tiny")
