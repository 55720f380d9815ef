"""Named events for a prompt."""

import json
from typing import Any

import httpx2
import pytest

from tests.support.fronts import Fleet


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a response, by name; comments are left out."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


ASKED: dict[str, Any] = {"prompt": "Name a colour.", "max_tokens": 12, "temperature": 0, "seed": 1}


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("front", ["worker", "gateway"])
async def test_a_prompt_is_answered_in_named_events(fleet: Fleet, front: str, method: str) -> None:
    """Pieces, then the whole; the pieces joined are it. Both methods give the same."""
    async with httpx2.AsyncClient(base_url=getattr(fleet, front)) as client:
        how: dict[str, Any] = {"json": ASKED} if method == "POST" else {"params": ASKED}
        answer = await client.request(method, "/v1/inference_sse", **how)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *pieces, (name, end) = events(answer.text)
    assert {one for one, _ in pieces} == {"inference_token"}
    assert (name, end["text"]) == ("inference_complete", "".join(piece["token"] for _, piece in pieces))
    assert end["tokens_out"] <= 12
    assert end["request_id"] == answer.headers["x-request-id"]
    assert {piece["request_id"] for _, piece in pieces} == {end["request_id"]}


async def test_params_of_the_bus_may_stand_there_too(fleet: Fleet) -> None:
    """As `params`, or beside the prompt; messages instead of a prompt."""
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        for given in ({"params": {"choice": ["red"]}}, {"choice": ["red"]}):
            answer = await client.post("/v1/inference_sse", json={"prompt": "Name a colour.", **given})
            assert events(answer.text)[-1][1]["text"] == "red"
        asked = {"messages": [{"role": "user", "content": "Name a colour."}], "choice": ["red"]}
        assert events((await client.post("/v1/inference_sse", json=asked)).text)[-1][1]["text"] == "red"


@pytest.mark.parametrize(
    ("given", "status", "param"),
    [
        ({}, 400, "prompt"),
        ({"prompt": 3}, 400, "prompt"),
        ({"prompt": "x", "messages": []}, 400, "prompt"),
        ({"prompt": "x", "max_tokens": "many"}, 400, "max_tokens"),
        ({"prompt": "x", "temperature": -1}, 400, "temperature"),
        ({"prompt": "x", "deadline_ms": 0}, 400, "deadline_ms"),
        ({"prompt": "x", "deadline_ms": 10**9}, 400, "deadline_ms"),
        ({"prompt": "x", "model": "nobody"}, 404, None),
    ],
)
async def test_what_is_wrong_is_a_status(fleet: Fleet, given: dict[str, Any], status: int, param: str | None) -> None:
    """Before anything is written; it names the field."""
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        answer = await client.post("/v1/inference_sse", json=given)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_a_conversation_goes_on_and_can_be_read_and_forgotten(fleet: Fleet) -> None:
    """By its session id; another one is not found."""
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        for prompt in ("I am Ann.", "Who am I?"):
            answer = await client.post("/v1/inference_sse", json=ASKED | {"prompt": prompt, "session_id": "ann/1"})
            assert events(answer.text)[-1][1]["session_id"] == "ann/1"
        kept = (await client.get("/v1/sessions/ann/1")).json()
        assert [turn["messages"][0]["content"] for turn in kept["turns"]] == ["I am Ann.", "Who am I?"]
        assert (await client.get("/v1/sessions/ann")).status_code == 404
        assert (await client.delete("/v1/sessions/ann/1")).json() == {"session_id": "ann/1", "deleted": True}
        assert (await client.get("/v1/sessions/ann/1")).status_code == 404
