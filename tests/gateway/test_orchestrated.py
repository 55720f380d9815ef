"""Over HTTP and Socket.IO: an answer of several models says how they came to it, on each surface in its form.

Who answers is scripted (tests/support/together.py): what real routers say is tested where they are.
"""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from golek_wire.errors import STATUS
from tests.gateway.test_inference_sse import events as named_events
from tests.gateway.test_sockets import connected
from tests.support.fronts import Fleet, GatewayProcess
from tests.support.scripted_worker import ScriptedWorker
from tests.support.together import ERRORS, MODEL, STEPS, announced, council

PROGRESS = {"orchestration_mode": "debate", "orchestration": {"progress": "texts"}}
SURFACES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "{}"}]},
    "/v1/completions": {"prompt": "{}"},
    "/v1/responses": {"input": "{}"},
    "/v1/messages": {"messages": [{"role": "user", "content": "{}"}], "max_tokens": 9},
}


def saying(path: str, what: str, **more: Any) -> dict[str, Any]:
    """The body for `path` that says `what`."""
    body: dict[str, Any] = json.loads(json.dumps(SURFACES[path]).replace("{}", what))
    return {"model": MODEL, **body, **more}


@pytest.fixture
async def router(fleet: Fleet) -> AsyncIterator[ScriptedWorker]:
    async with council(fleet.nats) as found:
        yield found


@pytest.fixture
async def http(fleet: Fleet, router: ScriptedWorker) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=fleet.gateway, timeout=20) as made:
        yield made


@pytest.fixture(scope="module")
def strict_front(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway with GOLEK_STRICT_OPENAI."""
    with GatewayProcess(fleet.nats, tmp_path_factory.mktemp("strict"), GOLEK_STRICT_OPENAI=1) as gateway:
        yield gateway.url


def data(text: str) -> list[Any]:
    """The data of a stream's events, without the end mark."""
    found = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(one) for one in found if one != "[DONE]"]


@pytest.mark.parametrize("path", SURFACES)
async def test_an_answer_has_both_objects(http: httpx2.AsyncClient, path: str) -> None:
    """`orchestration` and `inference_metadata` at the top level, and a header that sums them up."""
    answer = await http.post(path, json=saying(path, "two and two"))
    said = answer.json()
    assert answer.status_code == 200, said
    how = said["orchestration"]
    assert (how["mode"], how["models_used"], how["rounds"], how["confidence"]) == ("debate", ["left", "right"], 2, 0.85)
    assert [(step["name"], step["model"]) for step in how["steps"]] == [
        ("answer", "left"), ("answer", "right"), ("reconcile", "left"),
    ]  # fmt: skip
    assert said["inference_metadata"] == {
        "config": "D3", "orchestration_mode": "debate", "models_used": ["left", "right"], "handoff_steps": 2,
        "compression_applied": False, "context_utilization": 0.25,
    }  # fmt: skip
    header = answer.headers["x-golek-orchestration"]
    assert header == "debate; rounds=2; models=left,right; confidence=0.85"


@pytest.mark.parametrize("path", SURFACES)
async def test_a_stream_has_them_once_at_its_end(http: httpx2.AsyncClient, path: str) -> None:
    """In one event behind the text, and not a word of steps where nobody asked for it."""
    answer = await http.post(path, json=saying(path, "two and two", stream=True))
    told = data(answer.text)
    found = [one.get("response", one) for one in told if "orchestration" in one.get("response", one)]
    assert len(found) == 1
    assert found[0]["orchestration"]["method"] == "embedding"
    assert found[0]["inference_metadata"]["config"] == "D3"
    assert "orchestration_step" not in answer.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_steps_are_chunks_without_choices(http: httpx2.AsyncClient, path: str) -> None:
    """In OpenAI's streams, before the text, with `orchestration.progress`."""
    wish = {"orchestration": PROGRESS["orchestration"]}
    answer = await http.post(path, json=saying(path, "x", stream=True, **wish))
    told = data(answer.text)
    steps = [one for one in told if "orchestration_step" in one]
    assert told[: len(steps)] == steps
    assert [one["choices"] for one in steps] == [[]] * len(STEPS)
    assert [(one["orchestration_step"]["name"], one["orchestration_step"]["state"]) for one in steps] == [
        (step.name, step.state) for step in STEPS
    ]
    assert steps[3]["orchestration_step"]["text"] == "five\nor so"


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
async def test_steps_are_comments_where_clients_know_their_events_alone(http: httpx2.AsyncClient, path: str) -> None:
    """Each a line, so that a text in them breaks no stream."""
    answer = await http.post(path, json=saying(path, "x", stream=True, **PROGRESS))
    mark = ": orchestration_step "
    steps = [json.loads(line.removeprefix(mark)) for line in answer.text.splitlines() if line.startswith(mark)]
    assert [(one["model"], one["state"]) for one in steps] == [(step.model, step.state) for step in STEPS]


async def test_the_bus_form_has_what_the_bus_says(http: httpx2.AsyncClient) -> None:
    """POST /v1/completions with `input`: whole, and streamed with its steps."""
    asked = {"model": MODEL, "input": "partial", **PROGRESS}
    whole = (await http.post("/v1/completions", json=asked)).json()
    assert (whole["finish_reason"], whole["orchestration"]["partial"]) == ("partial", True)
    told = data((await http.post("/v1/completions", json=asked | {"stream": True})).text)
    assert [one["status"] for one in told[: len(STEPS)]] == ["step"] * len(STEPS)
    assert told[-1]["orchestration"] == whole["orchestration"]


async def test_named_events_have_steps_of_their_own(http: httpx2.AsyncClient) -> None:
    """`inference_step` before the tokens; `inference_complete` has both objects."""
    asked = {"model": MODEL, "prompt": "partial", **PROGRESS}
    told = named_events((await http.post("/v1/inference_sse", json=asked)).text)
    assert [name for name, _ in told] == ["inference_step"] * 5 + ["inference_token"] * 2 + ["inference_complete"]
    assert {one["request_id"] for _, one in told} == {told[-1][1]["request_id"]}
    assert told[-1][1]["finish_reason"] == "partial"
    assert told[-1][1]["orchestration"]["error"].startswith("ENGINE_FAILED")
    assert told[-1][1]["inference_metadata"]["models_used"] == ["left", "right"]


async def test_sockets_have_them_too(fleet: Fleet, router: ScriptedWorker) -> None:
    """In the order in which they come, and the end behind all."""
    async with connected(fleet.gateway) as listener:
        await listener.call("inference_prompt", {"model": MODEL, "prompt": "x", **PROGRESS})
        end = await listener.until("inference_complete")
    names = [name for name, _ in listener.events]
    assert names == ["inference_step"] * 5 + ["inference_token"] * 2 + ["inference_complete"]
    assert [(one["name"], one["state"]) for name, one in listener.events if name == "inference_step"] == [
        (step.name, step.state) for step in STEPS
    ]
    assert end["orchestration"]["rounds"] == 2


async def test_openais_client_reads_an_orchestrated_stream(fleet: Fleet, router: ScriptedWorker) -> None:
    """The official client, which checks every chunk to the letter, and its helper that joins them."""
    async with AsyncOpenAI(base_url=f"{fleet.gateway}/v1", api_key="none", _strict_response_validation=True) as client:
        asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "extra_body": PROGRESS}
        chunks = [chunk async for chunk in await client.chat.completions.create(stream=True, **asked)]
        async with client.chat.completions.stream(**asked) as stream:
            whole = await stream.get_final_completion()
        response: Any = {"model": MODEL, "input": "x", "extra_body": PROGRESS}
        async with client.responses.stream(**response) as events:
            last = await events.get_final_response()
        whole_response = await client.responses.create(**response)
    steps = [chunk for chunk in chunks if "orchestration_step" in (chunk.model_extra or {})]
    assert len(steps) == len(STEPS)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "four"
    extra = chunks[-1].model_extra
    assert extra is not None
    assert extra["orchestration"]["rounds"] == 2
    assert whole.choices[0].message.content == "four"
    assert last.output_text == whole_response.output_text == "four"


async def test_langchain_and_anthropics_client_read_it_too(fleet: Fleet, router: ScriptedWorker) -> None:
    """Word of steps costs them nothing of the text."""
    async with DefaultAsyncHttpxClient() as http:  # LangChain closes none of its own
        chat = ChatOpenAI(
            base_url=f"{fleet.gateway}/v1", api_key="none", model=MODEL, stream_usage=True, extra_body=PROGRESS,
            http_async_client=http,
        )  # fmt: skip
        pieces = [str(chunk.content) async for chunk in chat.astream("x")]
    assert "".join(pieces) == "four"
    async with AsyncAnthropic(base_url=fleet.gateway, api_key="none") as client:
        turns: Any = [{"role": "user", "content": "x"}]
        async with client.messages.stream(model=MODEL, max_tokens=9, messages=turns, extra_body=PROGRESS) as stream:
            message = await stream.get_final_message()
    assert (message.content[0].type, message.content[0].text) == ("text", "four")


@pytest.mark.parametrize(
    ("path", "named", "strictly"),
    [
        ("/v1/chat/completions", "partial", "length"),
        ("/v1/completions", "partial", "length"),
        ("/v1/responses", "incomplete: partial", "incomplete: max_output_tokens"),
        ("/v1/messages", "max_tokens", "max_tokens"),
    ],
)
async def test_a_partial_answer_is_told_as_such(
    http: httpx2.AsyncClient, strict_front: str, path: str, named: str, strictly: str
) -> None:
    """By its reason, in OpenAI's words with GOLEK_STRICT_OPENAI, whole and streamed; both objects stand beside it."""
    for base, expected in ((str(http.base_url), named), (strict_front, strictly)):
        for stream in (False, True):
            answer = await http.post(base.rstrip("/") + path, json=saying(path, "partial", stream=stream))
            said = [one.get("response", one) for one in (data(answer.text) if stream else [answer.json()])]
            assert [_reason(one) for one in said if _reason(one)] == [expected], (base, stream)
            (how,) = [one["orchestration"] for one in said if "orchestration" in one]
            assert (how["partial"], how["completed_steps"], how["total_steps"]) == (True, 2, 3)
            if not stream:
                assert answer.headers["x-golek-orchestration"] == "pipeline; rounds=1; models=left,right; partial"


def _reason(said: dict[str, Any]) -> str | None:
    """Why it ended, in the words of its API."""
    if said.get("incomplete_details"):
        return f"{said['status']}: {said['incomplete_details']['reason']}"
    choice = (said.get("choices") or [{}])[0]
    delta = said.get("delta")
    reason = choice.get("finish_reason") or said.get("stop_reason")
    return reason or (delta.get("stop_reason") if isinstance(delta, dict) else None)


@pytest.mark.parametrize("code", ERRORS)
async def test_errors_are_those_of_the_contract(http: httpx2.AsyncClient, code: str) -> None:
    """On each surface: the code, what it is about, its status; 004's body in all but Anthropic's form."""
    meant = ERRORS[code]
    for path in SURFACES:
        answer = await http.post(path, json=saying(path, code))
        error = answer.json()["error"]
        assert answer.status_code == STATUS[code].http
        assert (error["code"], error["message"].partition("; `make start")[0]) == (code, meant.message)
        if path != "/v1/messages":
            assert (error["type"], error["provider"]) == ("non_retriable", "golek")
        assert error["details"].items() >= meant.details.items()


async def test_errors_of_sockets_are_the_same(fleet: Fleet, router: ScriptedWorker) -> None:
    """Status, code and details of an error are those of the contract in `inference_error`, too."""
    for code, meant in ERRORS.items():
        async with connected(fleet.gateway) as listener:
            await listener.call("inference_prompt", {"model": MODEL, "prompt": code})
            told = await listener.until("inference_error")
        assert (told["status"], told["error"]["code"]) == (STATUS[code].http, code)
        assert told["error"]["details"].items() >= meant.details.items()


async def test_presets_stand_among_the_models(http: httpx2.AsyncClient, router: ScriptedWorker) -> None:
    """With their mode and their models; beside the list what `auto` stands for."""
    async with announced(router):
        found = (await http.get("/v1/models")).json()
    assert (found["config"], found["orchestration_mode"]) == ("D3", "debate")
    council_, tiny = ({one["id"]: one for one in found["data"]}[name] for name in (MODEL, "golek-tiny"))
    assert (council_["orchestration_mode"], council_["models"]) == ("debate", ["left", "right"])
    assert not {"orchestration_mode", "models"} & tiny.keys()


async def test_an_error_behind_steps_ends_the_stream(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    """The response has begun with them, so it is its last event."""
    body = saying("/v1/chat/completions", "ORCHESTRATION_FAILED", stream=True, **PROGRESS)
    answer = await http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    told = data(answer.text)
    assert told[-1]["error"]["details"]["cause"]["code"] == "ENGINE_FAILED"
