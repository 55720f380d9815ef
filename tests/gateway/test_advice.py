"""Errors that were written for the bus help who asks over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from golek_wire import codec, subjects
from golek_wire.signals import ModelRecord
from tests.support import raw
from tests.support.fronts import Fleet

ASKED = {"messages": [{"role": "user", "content": "hello"}]}


async def refused(fleet: Fleet, path: str, body: dict[str, Any], url: str = "") -> tuple[int, dict[str, Any]]:
    async with httpx2.AsyncClient(base_url=url or fleet.gateway, timeout=30) as client:
        answer = await client.post(path, json=body)
        return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_is_not_loaded_is_not_called_unknown(fleet: Fleet, stream: bool) -> None:
    """The list has it, so the error says how it is loaded: over HTTP, and as a command. What nobody has is unknown."""
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        listed = (await client.get("/v1/models")).json()["data"]
    name = next(one["id"] for one in listed if one["status"] == "available")
    status, error = await refused(fleet, "/v1/chat/completions", ASKED | {"model": name, "stream": stream})
    assert (status, error["code"]) == (404, "MODEL_NOT_FOUND")
    assert error["message"].startswith(f"{name} is known, but not loaded: POST /v1/models/{name}/load, or `make start")
    assert error["details"]["command"].startswith("make start WORKER=")
    status, error = await refused(fleet, "/v1/chat/completions", ASKED | {"model": "nobody-has-this"})
    assert (status, "is known:" in error["message"], "command" in error["details"]) == (404, True, False)


async def test_a_model_that_failed_to_load_is_no_model_of_another_kind(fleet: Fleet) -> None:
    """Its kind was never found out; that it failed is what the caller learns, and that it may come back."""
    seen = (datetime.now(UTC) - timedelta(seconds=60)).isoformat()
    record = ModelRecord("broken", [], "failed", "broken", seen)
    async with raw.connected(fleet.nats) as client:
        bucket = await client.jetstream().key_value(subjects.MODELS_BUCKET)
        await bucket.put(subjects.model_token("broken"), codec.encode(record))
        try:
            status, error = await refused(fleet, "/v1/chat/completions", ASKED | {"model": "broken"})
        finally:
            await bucket.delete(subjects.model_token("broken"))
    assert (status, error["code"], error["type"]) == (503, "NO_WORKERS", "retriable")
    assert "failed to load" in error["message"]


async def test_who_asks_a_model_for_something_else_learns_the_path(fleet: Fleet, embedder: str) -> None:
    """Not a subject of the bus: whether the fleet says so or its worker."""
    status, error = await refused(fleet, "/v1/chat/completions", ASKED | {"model": embedder})
    assert (status, error["param"]) == (400, "model")
    assert error["message"].endswith(": ask it on POST /v1/embeddings")
    for url in (fleet.gateway, fleet.worker):
        status, error = await refused(fleet, "/v1/embeddings", {"model": "golek-tiny", "input": "x"}, url)
        assert (status, error["message"].endswith(": ask it on POST /v1/chat/completions")) == (400, True)


@pytest.mark.parametrize(
    ("field", "status", "words"),
    [
        ("workerId", 400, "workerId: no such field; did you mean worker_id?"),
        ("worker", 400, "worker: no such field; did you mean worker_id?"),
        ("Force", 400, "Force: no such field; did you mean force?"),
        ("keep_alive", 404, "no model"),
    ],
)
async def test_a_misspelt_order_is_not_one_to_all_replicas(fleet: Fleet, field: str, status: int, words: str) -> None:
    """What must be meant as `worker_id` or `force` is refused; fields of other products' clients say nothing."""
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        found = await client.post("/v1/models/nobody/unload", json={field: "x"})
    assert found.status_code == status
    assert found.json()["error"]["message"].casefold().startswith(words.casefold())
