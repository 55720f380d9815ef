"""What a person at a shell gets: the curl lines that users were promised, as they stand but for port and model."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fronts import Fleet, GatewayProcess
from tests.support.workers import WorkerProcess

COMPLETIONS = {
    "basic": """curl -X POST http://localhost:5770/v1/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "input": "Explain machine learning",
    "params": {
      "temperature": 0.7
    }
  }'""",
    "parameters": """curl -X POST http://localhost:5770/v1/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "input": "Write a function to sort an array",
    "params": {
      "max_tokens": 500,
      "temperature": 0.3,
      "grammar": "code"
    }
  }'""",
    "raw": """curl -X POST http://localhost:5770/v1/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "input": "Hello",
    "params": {"max_tokens": 20},
    "raw": true
  }'""",
    "without a content type": """curl -X POST http://localhost:5770/v1/completions \\
  -d '{"input": "Quick math: 2+2", "params": {"max_tokens": 10}}'""",
}
EMBEDDINGS = {
    "one": ("""curl -X POST http://localhost:5778/v1/embeddings \\
  -H "Content-Type: application/json" \\
  -d '{
    "input": "search_query: machine learning",
    "model": "nomic-embed-v1.5"
  }'""", 1),
    "several": ("""curl -X POST http://localhost:5778/v1/embeddings \\
  -H "Content-Type: application/json" \\
  -d '{
    "input": ["Hello world", "Machine learning", "Artificial intelligence"],
    "model": "nomic-embed-v1.5"
  }'""", 3),
}  # fmt: skip
CHAT = {
    "model": "phi-4",
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Explain async/await in Python."},
    ],
    "stream": False,
    "max_tokens": 1024,
    "temperature": 0.7,
    "stop": ["\n\n"],
    "task_type": "code",
    "orchestration_mode": "critique",
    "priority": 2,
}


def shell(line: str) -> Any:
    """What a line prints, read as JSON."""
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=50)
    return json.loads(done.stdout)


def curl(*arguments: str) -> Any:
    """What curl prints, read as JSON."""
    done = subprocess.run(["curl", "-sS", "--max-time", "30", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def post(url: str, body: object, *arguments: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body of an answer; a body of events as text."""
    lines = ["curl", "-sS", "--max-time", "30", "-D", "-", "-d", json.dumps(body), *arguments, url]
    done = subprocess.run(lines, capture_output=True, text=True, check=True)
    head, _, content = done.stdout.replace("\r\n", "\n").partition("\n\n")
    status, *rest = head.splitlines()
    headers = dict(line.lower().split(": ", 1) for line in rest)
    is_json = headers["content-type"].startswith("application/json")
    return int(status.split()[1]), headers, json.loads(content) if is_json else content


def test_the_process_answers(fleet: Fleet) -> None:
    """Worker and gateway live."""
    for url in (fleet.worker, fleet.gateway):
        assert curl(f"{url}/healthz") == {"status": "ok"}


@pytest.mark.parametrize("name", COMPLETIONS)
def test_completions_of_a_worker(fleet: Fleet, name: str) -> None:
    """`input` is answered with what 001's readers of HTTP and of NATS look for, whatever `raw` says."""
    said = shell(COMPLETIONS[name].replace("http://localhost:5770", fleet.worker))
    wanted = {"req_id", "text", "tokens_in", "tokens_out", "finish_reason", "ms", "duration_ms"}
    assert wanted <= set(said)
    assert said["ms"] == said["duration_ms"]
    assert isinstance(said["text"], str)
    assert said["tokens_in"] > 0


def test_a_worker_s_own_form_streams_as_the_bus_does(fleet: Fleet) -> None:
    """Chunks with their number, then the final message, then the end."""
    body = {"req_id": "r1", "input": "What is a lease?", "params": {"temperature": 0}, "stream": True}
    status, headers, events = post(f"{fleet.worker}/v1/completions", body)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert headers["x-accel-buffering"] == "no"
    *chunks, final, done, _ = events.split("\n\n")
    assert done == "data: [DONE]"
    read = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
    assert [chunk["seq"] for chunk in read] == list(range(len(read)))
    last = json.loads(final.removeprefix("data: "))
    assert "".join(chunk["delta"] for chunk in read) == last["text"]
    assert {chunk["req_id"] for chunk in [*read, last]} == {"r1"}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings(fleet: Fleet, embedder: str, name: str) -> None:
    """A vector for each text, as numbers."""
    line, count = EMBEDDINGS[name]
    said = shell(line.replace("http://localhost:5778", fleet.gateway).replace("nomic-embed-v1.5", embedder))
    assert (said["object"], said["model"]) == ("list", embedder)
    assert [len(one["embedding"]) for one in said["data"]] == [384] * count


def test_documents_are_ranked(fleet: Fleet, judge: str) -> None:
    """As Jina's and Cohere's clients ask; the only reranker need not be named."""
    body = {"query": "river of the king", "documents": ["snow", {"text": "the river"}], "return_documents": True}
    for path in ("/v1/rerank", "/rerank"):
        status, headers, said = post(f"{fleet.gateway}{path}", body)
        assert (status, said["model"], said["id"]) == (200, judge, f"rerank-{headers['x-golek-job']}")
        scores = [one["relevance_score"] for one in said["results"]]
        assert scores == sorted(scores, reverse=True)
        assert {one["index"]: one["document"]["text"] for one in said["results"]} == {0: "snow", 1: "the river"}


def test_a_chat_completion_of_the_service(fleet: Fleet) -> None:
    """004's request, with the fields that are not OpenAI's, at both doors."""
    for url in (fleet.gateway, fleet.worker):
        body = CHAT | {"model": "inference:golek-tiny", "orchestration_mode": "single"}
        status, _, said = post(f"{url}/v1/chat/completions", body)
        assert (status, said["object"], said["model"]) == (200, "chat.completion", "inference:golek-tiny")
        assert said["choices"][0]["message"]["role"] == "assistant"
        assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= set(said["usage"])


def test_several_models_need_a_router(fleet: Fleet) -> None:
    """004's request asks for a critique: without a router nobody answers it as if it had not."""
    for url in (fleet.gateway, fleet.worker):
        status, _, said = post(f"{url}/v1/chat/completions", CHAT | {"model": "inference:golek-tiny"})
        assert (status, said["error"]["code"]) == (503, "NO_WORKERS")
        assert "make start WORKER=router" in said["error"]["message"]
        assert "load" not in said["error"]["message"]  # the model itself runs
        assert said["error"]["details"]["command"] == "make start WORKER=router"


def test_the_list_of_models_of_the_service(fleet: Fleet) -> None:
    """OpenAI's fields and 004's; a worker's port lists its own model."""
    said = curl(f"{fleet.worker}/v1/models")
    assert {"object", "data", "config", "orchestration_mode"} <= set(said)
    (one,) = said["data"]
    assert (one["id"], one["status"], one["object"]) == ("golek-tiny", "loaded", "model")
    assert {"memory_mb", "context_length", "roles", "created", "owned_by"} <= set(one)
    assert "golek-tiny" in {model["id"] for model in curl(f"{fleet.gateway}/models")["data"]}


@pytest.fixture
def guest(fleet: Fleet, tmp_path: Path) -> Iterator[str]:
    """A model that comes and goes, with a slash in its name."""
    with WorkerProcess(fleet.nats, tmp_path / "guest", "echo", MODEL_NAME="guest/echo", HTTP_ADDR=""):
        yield "guest/echo"


def test_a_model_is_unloaded_and_loaded(fleet: Fleet, guest: str) -> None:
    """By path or by body, with any name; the list tells what is so."""
    url = f"{fleet.gateway}/v1/models"
    for where, body in ((f"{url}/{guest}/unload", {}), (f"{url}/unload", {"model": guest})):
        status, _, said = post(where, body)
        assert (status, said["status"], said["success"]) == (200, "available", True)
        assert [worker["status"] for worker in said["workers"]] == ["unloaded"]
    for where, body in ((f"{url}/{guest}/load", {}), (f"{fleet.gateway}/models/load", {"model": guest})):
        status, _, said = post(where, body)
        assert (status, said["status"]) == (200, "loaded")
    assert curl(f"{url}/{guest}")["id"] == guest
    status, _, said = post(f"{url}/nobody/load", {})
    assert (status, said["error"]["details"]["command"]) == (409, "make start WORKER=nobody")
    status, _, said = post(f"{url}/nobody/unload", {})
    assert (status, said["error"]["code"]) == (404, "MODEL_NOT_FOUND")


def test_what_could_be_started_is_available(fleet: Fleet) -> None:
    """The gateway lists the env files and the catalogue of its machine beside the models that are served."""
    listed = {model["id"]: model["status"] for model in curl(f"{fleet.gateway}/v1/models")["data"]}
    assert (listed["golek-tiny"], listed["qwen3-4b"]) == ("loaded", "available")
    assert curl(f"{fleet.gateway}/v1/models/qwen3-4b")["status"] == "available"


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    [
        ("completions", {"input": "a", "prompt": "b"}, 400, "BAD_REQUEST", "prompt"),
        ("completions", {"input": "a", "params": {"max_tokens": -1}}, 400, "BAD_REQUEST", "max_tokens"),
        ("completions", {"prompt": "a", "model": "golek-tiny", "suffix": "b"}, 400, "BAD_REQUEST", "suffix"),
        ("completions", {"input": "a", "params": {"grammar": "no-such"}}, 400, "UNKNOWN_GRAMMAR", "grammar"),
        ("chat/completions", [], 400, "BAD_REQUEST", None),
        ("chat/completions", {"messages": [{"role": "user", "content": "a"}], "model": "nobody"},
         404, "MODEL_NOT_FOUND", "model"),
        ("embeddings", {"input": [1, 2, 3], "model": "golek-tiny"}, 400, "BAD_REQUEST", "input[0]"),
        ("embeddings", {"input": "a", "model": "golek-tiny"}, 400, "BAD_REQUEST", "model"),
        ("rerank", {"query": "a", "documents": []}, 400, "BAD_REQUEST", "documents"),
    ],
)  # fmt: skip
def test_errors_have_one_form(fleet: Fleet, path: str, body: object, status: int, code: str, param: str | None) -> None:
    """004's body, with the field that is wrong, on every route."""
    got, headers, said = post(f"{fleet.worker}/v1/{path}", body)
    assert (got, list(said)) == (status, ["error"])
    error = said["error"]
    assert set(error) == {"code", "message", "type", "provider", "details", "param"}
    assert (error["code"], error["param"], error["type"]) == (code, param, "non_retriable")
    assert headers["x-request-id"]


def test_who_does_not_name_a_model_is_told_those_there_are(fleet: Fleet, guest: str) -> None:
    """At the gateway; where there is only one of a kind, it is meant."""
    body = {"messages": [{"role": "user", "content": "a"}]}
    status, _, said = post(f"{fleet.gateway}/v1/chat/completions", body)
    assert (status, said["error"]["param"]) == (400, "model")
    assert {"golek-tiny", guest} <= set(said["error"]["details"]["available"])
    status, _, said = post(f"{fleet.worker}/v1/chat/completions", body)
    assert (status, said["model"]) == (200, "golek-tiny")


def test_a_deadline_that_has_passed_is_no_reason_to_try_again(fleet: Fleet) -> None:
    """By header or field: 504, and OpenAI's clients are told not to come again."""
    url, body = f"{fleet.gateway}/v1/completions", {"model": "golek-tiny", "prompt": "NATS", "max_tokens": 2000}
    for fields, arguments in (({}, ["-H", "x-golek-deadline-ms: 1"]), ({"deadline_ms": 1}, [])):
        status, headers, said = post(url, body | fields, *arguments)
        assert (status, said["error"]["code"]) == (504, "DEADLINE_EXCEEDED")
        assert headers["x-should-retry"] == "false"
    status, _, said = post(url, body, "-H", "x-request-timeout: soon")
    assert (status, said["error"]["param"]) == (400, "x-request-timeout")


def test_a_repeat_gets_the_first_answer(fleet: Fleet) -> None:
    """`Idempotency-Key` passes to the bus; another question under the same key is refused."""
    key = ["-H", "Idempotency-Key: the-same-question"]
    body = {"model": "golek-tiny", "prompt": "NATS is", "max_tokens": 20, "temperature": 2.0}
    texts = [post(f"{fleet.gateway}/v1/completions", body, *key)[2]["choices"][0]["text"] for _ in range(2)]
    assert texts[0] == texts[1]
    status, headers, said = post(f"{fleet.gateway}/v1/completions", body | {"prompt": "A lease is"}, *key)
    assert (status, said["error"]["code"]) == (409, "IDEMPOTENCY_MISMATCH")
    assert headers["x-should-retry"] == "false"  # OpenAI's clients repeat whatever is 408, 409 or 500


def test_strict_errors_are_openai_s(fleet: Fleet, tmp_path: Path) -> None:
    """With GOLEK_STRICT_OPENAI each error has OpenAI's four fields and words, also where no route is."""
    with GatewayProcess(fleet.nats, tmp_path, GOLEK_STRICT_OPENAI=1) as gateway:
        asked = {"model": "nobody", "messages": [{"role": "user", "content": "a"}]}
        wrong = {"model": "golek-tiny", "messages": [{"role": "user", "content": "a"}], "n": "two"}
        for path, body, status, kind, code, param in (
            ("/v1/chat/completions", asked, 404, "invalid_request_error", "model_not_found", None),
            ("/v1/chat/completions", wrong, 400, "invalid_request_error", None, "n"),
            ("/v1/nothing", {}, 404, "invalid_request_error", "not_found", None),
        ):
            got, _, said = post(f"{gateway.url}{path}", body)
            assert got == status
            error = said["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert (error["type"], error["code"], error["param"]) == (kind, code, param)
