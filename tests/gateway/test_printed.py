"""The requests and replies over HTTP that documents printed, byte for byte, compared by keys and types.

The lines that they printed for a shell are run by scripts/run_command_book.py.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import NatsServer
from tests.support.fronts import GatewayProcess
from tests.support.workers import ROOT, WorkerProcess

REQUEST = r"""
{
  "model": "phi-4",
  "messages": [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Explain async/await in Python."}
  ],
  "stream": false,
  "max_tokens": 1024,
  "temperature": 0.7,
  "stop": ["\n\n"],
  "task_type": "code",
  "orchestration_mode": "critique",
  "priority": 2
}
"""
PLAIN = REQUEST.replace('  "orchestration_mode": "critique",\n', "")
"""For one model."""
REPLIES = {
    "orchestrated": """
{
  "id": "chatcmpl-abc123",
  "object": "chat.completion",
  "created": 1703704800,
  "model": "phi-4",
  "choices": [
    {
      "index": 0,
      "message": {
        "role": "assistant",
        "content": "Async/await in Python..."
      },
      "finish_reason": "stop"
    }
  ],
  "usage": {
    "prompt_tokens": 25,
    "completion_tokens": 150,
    "total_tokens": 175
  },
  "orchestration": {
    "mode": "critique",
    "models_used": ["phi-4", "deepseek-r1-7b"],
    "rounds": 2,
    "confidence": 0.92
  }
}
""",
    "metadata": """
{
  "inference_metadata": {
    "config": "D3",
    "orchestration_mode": "debate",
    "models_used": ["phi-4", "deepseek-r1-7b"],
    "handoff_steps": 3,
    "compression_applied": true,
    "context_utilization": 0.72
  }
}
""",
    # Of one model: without `orchestration`.
    "completion": """
{
  "id": "chatcmpl-abc123",
  "object": "chat.completion",
  "created": 1703704800,
  "model": "phi-4",
  "choices": [
    {
      "index": 0,
      "message": {
        "role": "assistant",
        "content": "Async/await in Python..."
      },
      "finish_reason": "stop"
    }
  ],
  "usage": {
    "prompt_tokens": 25,
    "completion_tokens": 150,
    "total_tokens": 175
  }
}
""",
    "role": '{"id":"chatcmpl-abc123","choices":[{"delta":{"role":"assistant"},"index":0}]}',
    "piece": '{"id":"chatcmpl-abc123","choices":[{"delta":{"content":"Async"},"index":0}]}',
    "end": '{"id":"chatcmpl-abc123","choices":[{"delta":{},"finish_reason":"stop","index":0}]}',
    "models": """
{
  "data": [
    {
      "id": "phi-4",
      "status": "loaded",
      "memory_mb": 8400,
      "context_length": 16384,
      "roles": ["primary", "thinker", "coder"]
    },
    {
      "id": "deepseek-r1-7b",
      "status": "available",
      "memory_mb": 4700,
      "context_length": 32768,
      "roles": ["thinker"]
    }
  ],
  "config": "D3",
  "orchestration_mode": "debate"
}
""",
    "ready": """
{
  "status": "ready",
  "config": "D3",
  "loaded_models": ["phi-4", "deepseek-r1-7b"],
  "orchestration_mode": "debate"
}
""",
    "not ready": """
{
  "status": "not_ready",
  "reason": "Models still loading",
  "progress": "1/2"
}
""",
}
KEYS = """
production:sk-prod-abc123def456
alice-laptop:sk-alice-xyz789
"""
CHECK = "curl -f http://localhost:8085/health"
"""How Docker was told to ask."""

Mismatch = Callable[[dict[str, Any], int, str, dict[str, str]], str | None]


@pytest.fixture
def looks_like(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str], None]:
    """Holds what came against what is printed under a name."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from command_book.expect import mismatch  # type: ignore[import-not-found]

    def compare(came: object, name: str) -> None:
        assert mismatch({"reply": name}, 0, json.dumps(came), REPLIES) is None

    return compare


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NatsServer, GatewayProcess]]:
    """golek-tiny under the name of the document's model, and a gateway."""
    data = tmp_path_factory.mktemp("service")
    (data / "nats").mkdir()
    broker = NatsServer(data / "nats").start()
    try:
        with (
            WorkerProcess(broker.url, data, "golek-tiny", MODEL_NAME="phi-4", MODEL_THREADS=1),
            GatewayProcess(broker.url, data) as gateway,
        ):
            yield broker, gateway
    finally:
        broker.kill()


def curl(url: str, *arguments: str) -> tuple[int, str]:
    """Status and body."""
    line = ["curl", "-sS", "--max-time", "40", "-w", "\n%{http_code}", *arguments, url]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_the_chat_completion(service: tuple[NatsServer, GatewayProcess], looks_like: Callable[..., None]) -> None:
    """With its fields that are not OpenAI's."""
    status, body = curl(f"{service[1].url}/v1/chat/completions", "-d", PLAIN)
    assert status == 200
    looks_like(json.loads(body), "completion")
    assert json.loads(body)["model"] == "phi-4"


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Echo engines under both names of the document, a router, and a gateway."""
    data = tmp_path_factory.mktemp("together")
    (data / "nats").mkdir()
    broker = NatsServer(data / "nats").start()
    second = {"ENGINE": "echo", "MODEL_NAME": "deepseek-r1-7b", "HTTP_ADDR": ""}
    try:
        with (
            WorkerProcess(broker.url, data, "echo", MODEL_NAME="phi-4", HTTP_ADDR=""),
            WorkerProcess(broker.url, data, "deepseek-r1-7b", **second),
            WorkerProcess(broker.url, data, "router", INFERENCE_CONFIG="D3"),
            GatewayProcess(broker.url, data) as gateway,
        ):
            yield gateway.url
    finally:
        broker.kill()


def test_a_critique(together: str, looks_like: Callable[..., None]) -> None:
    """The request to the letter, with `orchestration_mode`: an answer of two models that says so."""
    status, body = curl(f"{together}/v1/chat/completions", "-d", REQUEST)
    came = json.loads(body)
    assert status == 200, came
    how = came["orchestration"]
    assert (how["mode"], how["models_used"]) == ("critique", ["phi-4", "deepseek-r1-7b"])
    assert how["confidence"] is None  # an echo gives no score, and a number is not made up
    how["confidence"] = 0.92
    looks_like(came, "orchestrated")
    looks_like(came, "metadata")


def test_a_preset(together: str, looks_like: Callable[..., None]) -> None:
    """Asked as a model, and as `auto`, for which INFERENCE_CONFIG has it stand; /v1/models says so in its words."""
    for model in ("D3", "auto"):
        status, body = curl(f"{together}/v1/chat/completions", "-d", PLAIN.replace("phi-4", model))
        came = json.loads(body)
        assert status == 200, came
        looks_like(came, "metadata")
        assert (came["model"], came["orchestration"]["mode"]) == (model, "debate")
        assert came["inference_metadata"]["config"] == "D3"
    listed = json.loads(curl(f"{together}/v1/models")[1])
    assert (listed["config"], listed["orchestration_mode"]) == ("D3", "debate")


def test_its_stream(service: tuple[NatsServer, GatewayProcess], looks_like: Callable[..., None]) -> None:
    """The role, pieces of text, an empty delta with the reason, the end; one id throughout."""
    asked = PLAIN.replace('"stream": false', '"stream": true')
    status, body = curl(f"{service[1].url}/v1/chat/completions", "-N", "-d", asked)
    *blocks, done, rest = body.split("\n\n")
    assert (status, done, rest) == (200, "data: [DONE]", "")
    role, *pieces, end = [json.loads(block.removeprefix("data: ")) for block in blocks if not block.startswith(":")]
    looks_like(role, "role")
    assert pieces
    for piece in pieces:
        looks_like(piece, "piece")
    looks_like(end, "end")
    assert end["choices"][0]["delta"] == {}
    assert len({event["id"] for event in (role, *pieces, end)}) == 1


def test_the_list_of_models(service: tuple[NatsServer, GatewayProcess], looks_like: Callable[..., None]) -> None:
    """One that is loaded, and one that could be."""
    status, body = curl(f"{service[1].url}/v1/models")
    listed = json.loads(body)
    shown = {one["id"]: one for one in listed["data"]}
    assert (status, shown["phi-4"]["status"], shown["deepseek-r1-7b"]["status"]) == (200, "loaded", "available")
    looks_like(listed | {"data": [shown["phi-4"], shown["deepseek-r1-7b"]]}, "models")


def test_whether_it_is_ready(
    service: tuple[NatsServer, GatewayProcess], tmp_path: Path, looks_like: Callable[..., None]
) -> None:
    """200 with the models, 503 with the reason."""
    status, body = curl(f"{service[1].url}/health/ready")
    assert status == 200
    looks_like(json.loads(body), "ready")
    (tmp_path / "nats").mkdir()
    empty = NatsServer(tmp_path / "nats").start()
    try:
        with GatewayProcess(empty.url, tmp_path) as gateway:
            status, body = curl(f"{gateway.url}/health/ready")
    finally:
        empty.kill()
    assert status == 503
    looks_like(json.loads(body), "not ready")


def test_the_check_of_a_container(service: tuple[NatsServer, GatewayProcess]) -> None:
    """Status 0 where the service has the port of INFERENCE_PORT."""
    line = CHECK.replace("8085", str(service[1].port))
    done = subprocess.run(["bash", "-c", f"{line} -s"], capture_output=True, text=True, check=True, timeout=40)
    assert json.loads(done.stdout) == {"status": "ok"}


def test_the_key_file(tmp_path: Path) -> None:
    """`key_id:api_key` a line: a key of it gets in below `/v1`, another or none does not, and who asked is logged."""
    (tmp_path / "nats").mkdir()
    broker = NatsServer(tmp_path / "nats").start()
    file = tmp_path / "api_keys.txt"
    file.write_text(KEYS)
    file.chmod(0o600)
    try:
        with GatewayProcess(broker.url, tmp_path) as gateway:
            found = {
                key: curl(f"{gateway.url}/v1/models", "-H", f"Authorization: Bearer {key}")[0]
                for key in ("sk-prod-abc123def456", "sk-alice-xyz789", "sk-key")
            }
            assert found == {"sk-prod-abc123def456": 200, "sk-alice-xyz789": 200, "sk-key": 401}
            assert curl(f"{gateway.url}/v1/models")[0] == 401
            assert [curl(f"{gateway.url}{path}")[0] for path in ("/ping", "/health", "/metrics")] == [200] * 3
    finally:
        broker.kill()
    rows = [json.loads(row) for row in (tmp_path / "logs" / "api_access.log").read_text().splitlines()]
    assert [row["key_id"] for row in rows if row["status"] == 200 and row["path"] == "/v1/models"] == [
        "production",
        "alice-laptop",
    ]
