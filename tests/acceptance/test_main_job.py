"""The main job as a newcomer does it: `make start`, then any NATS client."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
ASK = ROOT / "scripts" / "ask_with_nats_py.py"
MODEL = ROOT / "data" / "models" / "golek-tiny" / "model.gguf"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A port and a folder of this test's own; whatever was started is stopped."""
    url = f"nats://127.0.0.1:{free_port()}"
    chosen = os.environ | {"NATS_URL": url, "GOLEK_DATA": str(tmp_path / "data")}
    yield chosen
    run([sys.executable, "-m", "golek_worker.cli", "worker", "stop"], chosen)


def run(command: list[str], environment: dict[str, str], folder: Path = ROOT) -> str:
    """What the command prints; it must end with 0."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def exchanges(environment: dict[str, str], model: str) -> dict[str, dict[str, object]]:
    """The script's exchanges by name; it fails by itself when a key is missing."""
    lines = run([sys.executable, str(ASK), model], environment).splitlines()
    return {line["exchange"]: line["reply"] for line in map(json.loads, lines)}


def test_make_start_and_a_raw_client(environment: dict[str, str]) -> None:
    """After `make start` a script without any Golek code gets plain, raw, streamed, health and error replies."""
    said = run(["make", "start", "WORKER=golek-tiny"], environment)
    assert "online" in said
    replies = exchanges(environment, "golek-tiny")
    assert "message bus" in str(replies["plain"]["text"])
    assert replies["raw"]["req_id"] == "manual-raw-456"
    assert replies["health"]["status"] == "online"
    assert replies["model_info"]["architecture"] == "llama"
    assert "golek-tiny" in run(["make", "list-workers"], environment)
    assert "manual-req-123" in run(["make", "logs", "WORKER=golek-tiny"], environment)
    assert "stopped" in run(["make", "stop"], environment)


def test_a_dotted_model_answers_on_both_subjects(environment: dict[str, str], tmp_path: Path) -> None:
    """An env file with `MODEL_NAME=tiny.v1.5` serves the literal name and the token `tiny_v1_5`."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "worker.tiny.env").write_text(f"MODEL_NAME=tiny.v1.5\nMODEL_PATH={MODEL}\n")
    run([sys.executable, "-m", "golek_worker.cli", "worker", "start", "tiny"], environment, tmp_path)
    for name in ("tiny.v1.5", "tiny_v1_5"):
        assert exchanges(environment, name)["health"]["model_name"] == "tiny.v1.5"


def test_a_start_that_fails_says_why(environment: dict[str, str]) -> None:
    """A missing model file is named before anything starts, and `make start` ends with an error."""
    wrong = environment | {"MODEL_PATH": "nowhere/model.gguf"}
    done = subprocess.run(
        ["make", "start", "WORKER=golek-tiny"],
        cwd=ROOT,
        env=wrong,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode != 0
    assert "nowhere/model.gguf" in done.stdout + done.stderr
