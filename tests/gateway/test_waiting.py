"""What who waits is told, and who leaves: a model with one slot, paced so that it can be seen."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.support.fronts import Fleet
from tests.support.workers import WorkerProcess

MODEL = "narrow"
WORDS = " ".join(["word"] * 1000)


@pytest.fixture(scope="module")
def narrow(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """One slot, a queue of two jobs (the one that runs is in it), 20 ms a token."""
    settings = {"MODEL_NAME": MODEL, "WORKER_CONCURRENCY": 1, "QUEUE_CAPACITY": 2, "ENGINE_STEP_MIN_MS": 20}
    with WorkerProcess(fleet.nats, tmp_path_factory.mktemp("narrow"), "echo", HTTP_ADDR="", **settings) as worker:
        yield worker


@pytest.fixture
async def client(fleet: Fleet, narrow: WorkerProcess) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=fleet.gateway, timeout=30) as made:
        yield made


def asked(words: str, **fields: object) -> dict[str, object]:
    return {"model": MODEL, "prompt": words, **fields}


async def begun(response: httpx2.Response) -> AsyncIterator[str]:
    """The lines of a stream, from its first event on."""
    async for line in response.aiter_lines():
        if line:
            yield line


async def test_a_full_queue_says_when_to_come_again(client: httpx2.AsyncClient) -> None:
    """429 with both headers and the same figure in the body; those who wait are told their place as comments."""
    async with (
        client.stream("POST", "/v1/completions", json=asked(WORDS, stream=True)) as first,
        client.stream("POST", "/v1/completions", json=asked("x", stream=True)) as second,
    ):
        held = begun(first), begun(second)  # one that is dropped closes its response
        assert json.loads((await anext(held[0])).removeprefix("data: "))["choices"][0]["text"]
        assert (await anext(held[1])).startswith(": position=1")
        refused = await client.post("/v1/completions", json=asked("x"))
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert error["code"] == "QUEUE_FULL"
    wait_ms = error["details"]["retry_after_ms"]
    assert refused.headers["retry-after-ms"] == str(wait_ms)
    assert int(refused.headers["retry-after"]) == -(-wait_ms // 1000)


@pytest.mark.parametrize("streamed", [True, False])
async def test_who_leaves_frees_the_slot(client: httpx2.AsyncClient, narrow: WorkerProcess, streamed: bool) -> None:
    """The job of a client that has gone is cancelled at once: the next answer does not wait for it."""
    if streamed:
        async with client.stream("POST", "/v1/completions", json=asked(WORDS, stream=True)) as response:
            assert (await anext(begun(response))).startswith("data: ")
    else:
        with pytest.raises(httpx2.ReadTimeout):
            await client.post("/v1/completions", json=asked(WORDS), timeout=0.5)
    async with asyncio.timeout(10):  # the job that was left would have taken twenty
        answer = await client.post("/v1/completions", json=asked("x"))
    assert answer.json()["choices"][0]["text"] == "x"
