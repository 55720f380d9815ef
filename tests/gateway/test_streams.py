"""Streams over HTTP that lose their client or their gateway: cancelled at once, or gone on with elsewhere."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from golek_client import Golek
from tests.support import fronts
from tests.support.fronts import Fleet, GatewayProcess

QUESTION: dict[str, Any] = {
    "model": "golek-tiny", "messages": [{"role": "user", "content": "What is a lease?"}], "temperature": 0,
    "max_tokens": 200, "ignore_eos": True, "stream": True,
}  # fmt: skip


class Event(dict[str, Any]):
    """A server-sent event: its fields, and the JSON of its data."""

    @property
    def value(self) -> Any:
        return json.loads(self["data"])


async def events(response: httpx2.Response) -> AsyncIterator[Event]:
    """The events of a response; comments are left out."""
    event = Event()
    async for line in response.aiter_lines():
        if not line and event:
            yield event
            event = Event()
        elif line and not line.startswith(":"):
            name, _, said = line.partition(": ")
            event[name] = said


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet whose engine takes 20 ms for a token."""
    with fronts.fleet(
        tmp_path_factory.mktemp("slow"), {"golek-tiny": {"MODEL_THREADS": 1, "ENGINE_STEP_MIN_MS": 20, "HTTP_ADDR": ""}}
    ) as found:
        yield found


@pytest.fixture(scope="module")
def unary(slow: Fleet) -> str:
    """The answer to QUESTION, asked for as a whole."""
    answer = httpx2.post(f"{slow.gateway}/v1/chat/completions", json=QUESTION | {"stream": False}, timeout=60)
    return str(answer.json()["choices"][0]["message"]["content"])


@asynccontextmanager
async def asking(url: str, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url, timeout=60, headers=headers) as client:
        yield client


async def busy(url: str) -> int:
    """Slots that are taken."""
    async with Golek(url) as golek:
        return (await golek.health("golek-tiny")).active


async def until_idle(url: str, seconds: float) -> float:
    """How long it takes until no slot is taken. Fails after `seconds`."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while await busy(url):
            await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize("cut", [5, 50, 150])
@pytest.mark.timeout(90)
async def test_a_stream_goes_on_at_another_gateway(slow: Fleet, unary: str, tmp_path: Path, cut: int) -> None:
    """The gateway is killed after so many events; `Last-Event-ID` on another gives the rest, byte for byte what one
    reader would have got."""
    held: list[Event] = []
    with GatewayProcess(slow.nats, tmp_path) as doomed:
        async with (
            asking(doomed.url, **{"x-golek-resumable": "1"}) as client,
            client.stream("POST", "/v1/chat/completions", json=QUESTION) as response,
        ):
            job_id = response.headers["x-golek-job"]
            with contextlib.suppress(httpx2.TransportError):
                async for event in events(response):
                    held.append(event)
                    if len(held) == cut:
                        doomed.kill()
    async with asking(slow.gateway) as client:
        last = {"last-event-id": held[-1]["id"]}
        async with client.stream("GET", f"/v1/stream/{job_id}", headers=last) as response:
            assert response.status_code == 200, await response.aread()
            held += [event async for event in events(response)]
        async with client.stream("GET", f"/v1/stream/chatcmpl-{job_id}") as response:
            whole = [event async for event in events(response)]
    assert held == whole
    assert held[-1]["data"] == "[DONE]"
    assert [int(event["id"]) for event in whole[:-1]] == list(range(len(whole) - 1))
    text = "".join(event.value["choices"][0]["delta"].get("content") or "" for event in whole[:-1])
    assert text == unary


async def test_without_it_a_killed_gateway_frees_the_slot(slow: Fleet, tmp_path: Path) -> None:
    """Nobody could read the rest: within a second the job is stopped."""
    with GatewayProcess(slow.nats, tmp_path) as doomed:
        async with (
            asking(doomed.url) as client,
            client.stream("POST", "/v1/chat/completions", json=QUESTION) as response,
        ):
            with contextlib.suppress(httpx2.TransportError):
                async for _ in events(response):
                    doomed.kill()
        assert await busy(slow.nats) == 1
        assert await until_idle(slow.nats, 3) < 1


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])
async def test_a_client_that_leaves_frees_the_slot(slow: Fleet, streamed: bool) -> None:
    """At once, and only its own: a neighbour's answer is whole."""
    asked = QUESTION | {"stream": streamed, "messages": [{"role": "user", "content": "What is a stream?"}]}
    async with asking(slow.gateway) as client, asking(slow.gateway) as other:
        neighbour = asyncio.create_task(other.post("/v1/chat/completions", json=QUESTION | {"stream": False}))
        leaving = asyncio.create_task(client.post("/v1/chat/completions", json=asked))
        async with asyncio.timeout(10):
            while await busy(slow.nats) < 2:
                await asyncio.sleep(0.02)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await client.aclose()
        began = time.monotonic()
        async with asyncio.timeout(3):
            while await busy(slow.nats) > 1:
                await asyncio.sleep(0.02)
        assert time.monotonic() - began < 0.5
        assert (await neighbour).json()["usage"]["completion_tokens"] == 200


async def test_a_reader_who_left_may_come_back(slow: Fleet) -> None:
    """A resumable stream goes on without its reader, who reads the rest at the same gateway."""
    async with asking(slow.gateway) as client:
        asked = QUESTION | {"resumable": True, "stream_options": {"include_usage": True}}
        async with client.stream("POST", "/v1/chat/completions", json=asked) as response:
            job_id = response.headers["x-golek-job"]
            first = await anext(events(response))
        await asyncio.sleep(0.3)
        assert await busy(slow.nats) == 1
        async with client.stream("GET", f"/v1/stream/{job_id}?from=1") as response:
            rest = [event async for event in events(response)]
    usage = rest[-2].value
    assert (first["id"], rest[0]["id"]) == ("0", "1")
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 200)


async def test_a_request_is_cancelled_by_its_job(slow: Fleet) -> None:
    """DELETE /v1/requests/{job_id}: the stream ends with the error CANCELLED, and the slot is free."""
    async with asking(slow.gateway) as client, asking(slow.gateway) as other:
        async with client.stream("POST", "/v1/chat/completions", json=QUESTION) as response:
            received = events(response)
            await anext(received)
            done = await other.delete(f"/v1/requests/{response.headers['x-golek-job']}")
            assert (done.status_code, done.json()["id"]) == (202, response.headers["x-golek-job"])
            assert done.json()["object"] == "request.cancelling"
            last = [event async for event in received][-1]
        assert last.value["error"]["code"] == "CANCELLED"
        assert await until_idle(slow.nats, 3) < 1


async def test_an_error_is_counted_for_each_reader(slow: Fleet, tmp_path: Path) -> None:
    """A stream that ends in an error ends so for who reads it again, too; both are counted by its code."""
    with GatewayProcess(slow.nats, tmp_path) as gateway:
        async with asking(gateway.url) as client, asking(gateway.url) as other:
            async with client.stream("POST", "/v1/chat/completions", json=QUESTION | {"resumable": True}) as first:
                job_id, received = first.headers["x-golek-job"], events(first)
                await anext(received)
                async with other.stream("GET", f"/v1/stream/{job_id}") as second:
                    again = events(second)
                    await anext(again)
                    await other.delete(f"/v1/requests/{job_id}")
                    ends = [[event async for event in one][-1] for one in (received, again)]
            figures = (await client.get("/metrics")).text
        assert [end.value["error"]["code"] for end in ends] == ["CANCELLED", "CANCELLED"]
        assert 'golek_errors_total{code="CANCELLED"} 2.0' in figures


@pytest.mark.parametrize(
    ("path", "headers", "status", "param"),
    [
        ("/v1/stream/nothing", {}, 400, "job_id"),
        ("/v1/stream/" + "a" * 26, {}, 404, None),
        ("/v1/stream/" + "a" * 26, {"last-event-id": "x"}, 400, "last-event-id"),
        ("/v1/stream/" + "a" * 26 + "?from=-1", {}, 400, "from"),
    ],
)
async def test_what_cannot_be_read_again_is_told(
    slow: Fleet, path: str, headers: dict[str, str], status: int, param: str | None
) -> None:
    """What is no job, is not kept, or is no number of an event."""
    async with asking(slow.gateway) as client:
        answer = await client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
