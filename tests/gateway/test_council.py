"""Over HTTP, with a real router and two echo workers: each mode answers, and what is told of it is what happened."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI

from tests.gateway.test_orchestrated import data
from tests.support.broker import NatsServer
from tests.support.fronts import GatewayProcess
from tests.support.workers import WorkerProcess

MODES = ("critique", "debate", "ensemble", "pipeline")
QUESTION = {"model": "auto", "messages": [{"role": "user", "content": "Say blue."}]}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway, a router, and two models that say what they read."""
    folder = tmp_path_factory.mktemp("council")
    (folder / "nats").mkdir()
    server = NatsServer(folder / "nats").start()
    try:
        with (
            WorkerProcess(server.url, folder / "left", "left", ENGINE="echo", MODEL_NAME="left"),
            WorkerProcess(server.url, folder / "right", "right", ENGINE="echo", MODEL_NAME="right"),
            WorkerProcess(server.url, folder / "router", "router"),
            GatewayProcess(server.url, folder) as gateway,
        ):
            yield gateway.url
    finally:
        server.kill()


@pytest.fixture
async def http(front: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=front, timeout=30) as made:
        yield made


def asked(mode: str, **more: Any) -> dict[str, Any]:
    return {**QUESTION, "orchestration_mode": mode, "orchestration": {"models": ["left", "right"]}, **more}


@pytest.mark.parametrize("mode", MODES)
async def test_each_mode_answers(http: httpx2.AsyncClient, mode: str) -> None:
    """Whole: what it says of its steps adds up to what it says of all."""
    answer = await http.post("/v1/chat/completions", json=asked(mode))
    said = answer.json()
    assert answer.status_code == 200, said
    how, figures, usage = said["orchestration"], said["inference_metadata"], said["usage"]
    assert how["mode"] == figures["orchestration_mode"] == mode
    assert how["models_used"] == figures["models_used"] == ["left", "right"]
    assert how["completed_steps"] == how["total_steps"] == len(how["steps"]) > 1
    assert {step["model"] for step in how["steps"]} == {"left", "right"}
    assert usage["prompt_tokens"] == sum(step["tokens_in"] for step in how["steps"])
    assert usage["completion_tokens"] == sum(step["tokens_out"] for step in how["steps"])
    assert answer.headers["x-golek-orchestration"].startswith(f"{mode}; rounds={how['rounds']}; models=left,right")
    assert said["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("mode", MODES)
async def test_its_steps_are_told_while_it_streams(http: httpx2.AsyncClient, mode: str) -> None:
    """Each begins and ends, in the order of the records; the text is one answer and comes behind all others' ends."""
    body = asked(mode, stream=True)
    body["orchestration"] = body["orchestration"] | {"progress": "texts"}
    told = data((await http.post("/v1/chat/completions", json=body)).text)
    steps = [one["orchestration_step"] for one in told if "orchestration_step" in one]
    (end,) = [one for one in told if "orchestration" in one]
    records = end["orchestration"]["steps"]
    for state in ("began", "ended"):
        found = sorted((one for one in steps if one["state"] == state), key=lambda one: int(one["number"]))
        assert [(one["name"], one["model"]) for one in found] == [(one["name"], one["model"]) for one in records]
    first = next(at for at, one in enumerate(told) if (one.get("choices") or [{}])[0].get("delta", {}).get("content"))
    ends = [at for at, one in enumerate(told) if one.get("orchestration_step", {}).get("state") == "ended"]
    assert [at for at in ends[:-1] if at > first] == []
    assert all(one["text"] for one in steps if one["state"] == "ended")


async def test_a_model_asked_by_its_own_name_leads(http: httpx2.AsyncClient) -> None:
    """Its worker hands such a request over to the router; without a mode it answers by itself."""
    said = (await http.post("/v1/chat/completions", json=asked("critique", model="right"))).json()
    assert said["model"] == "right"
    assert said["orchestration"]["steps"][0]["model"] == "right"
    assert "orchestration" not in (await http.post("/v1/chat/completions", json=QUESTION | {"model": "right"})).json()


async def test_the_official_client_gets_one_answer(front: str) -> None:
    """Strictly checked, whole and streamed: the text is the same, with the objects beside it."""
    async with AsyncOpenAI(base_url=f"{front}/v1", api_key="none", _strict_response_validation=True) as client:
        extra = {"orchestration_mode": "debate", "orchestration": {"models": ["left", "right"], "progress": "steps"}}
        given: Any = {**QUESTION, "extra_body": extra, "temperature": 0, "seed": 1}
        whole = await client.chat.completions.create(**given)
        chunks = [chunk async for chunk in await client.chat.completions.create(stream=True, **given)]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert whole.model_extra is not None
    assert whole.model_extra["orchestration"]["mode"] == "debate"


async def test_who_only_listens_may_ask_one_model(http: httpx2.AsyncClient) -> None:
    """`progress` alone is no wish for several models: one answers, and no step is told."""
    body = {**QUESTION, "stream": True, "orchestration": {"progress": "steps"}}
    for model in ("auto", "left"):
        told = data((await http.post("/v1/chat/completions", json=body | {"model": model})).text)
        assert not [one for one in told if "orchestration" in one or "orchestration_step" in one]
        assert told[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_resumable_stream_is_read_again_without_its_steps(http: httpx2.AsyncClient) -> None:
    """The same numbered events, for whoever comes later: word of steps has no number and is told once."""
    body = asked("debate", stream=True, resumable=True)
    body["orchestration"] = body["orchestration"] | {"progress": "steps"}
    first = await http.post("/v1/chat/completions", json=body)
    blocks = [block for block in first.text.split("\n\n") if block and not block.startswith(":")]
    numbered = [block for block in blocks if block.startswith("id: ")]
    assert [block for block in blocks if "orchestration_step" in block and block not in numbered]
    job_id = json.loads(numbered[0].partition("data: ")[2])["id"].removeprefix("chatcmpl-")
    again = await http.get(f"/v1/stream/{job_id}")
    later = [block for block in again.text.split("\n\n") if block.startswith("id: ")]
    assert later == numbered
    assert '"orchestration"' in later[-1]


async def test_a_text_to_go_on_with_is_one_models(http: httpx2.AsyncClient) -> None:
    """OpenAI's former API with a prompt, which is no conversation: refused by the name that the caller used."""
    body = {"model": "auto", "prompt": "Once", "orchestration_mode": "debate"}
    for stream in (False, True):
        answer = await http.post("/v1/completions", json=body | {"stream": stream})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "BAD_REQUEST", "prompt")
        assert error["message"].startswith("prompt: models that answer together read turns")
