"""The shell scripts of `examples/` run as they are, with the real `nats` where there is one and golek in its place."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import minilm
from tests.support.workers import ROOT, WorkerProcess

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="the examples read JSON with jq")


@pytest.fixture
def fleet(nats_server: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """golek-tiny and echo at 10 ms a token, so that waiting can be measured, and the environment to ask them."""
    data = tmp_path / "data"
    with (
        WorkerProcess(nats_server, data, "golek-tiny", ENGINE_STEP_MIN_MS=10, DRAIN_S=0.1),
        WorkerProcess(nats_server, data, "echo", ENGINE_STEP_MIN_MS=10, DRAIN_S=0.1),
    ):
        yield os.environ | {"NATS_URL": nats_server}


@pytest.fixture
def busy(fleet: dict[str, str]) -> Iterator[dict[str, str]]:
    """The same fleet with a long job on each model: a worker that runs one reports every second, not every ten."""
    request = json.dumps({"input": "go on " * 300, "params": {"max_tokens": 1000, "ignore_eos": True}})
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", "golek_client.cli", "req", f"inference.request.{model}", request, "--timeout=60s"],
            env=fleet,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for model in ("golek-tiny", "echo")
    ]
    yield fleet
    for job in jobs:
        job.kill()
        job.wait()


def run(environment: dict[str, str], name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(EXAMPLES / name), *arguments]
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=False
    )


def test_discover_models(fleet: dict[str, str]) -> None:
    """Each model with its status, its subject and what it can do; nobody online is status 1."""
    done = run(fleet, "discover-models.sh", "golek-tiny", "nothing")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Checking golek-tiny...",
        "online",
        "  ask on inference.request.golek-tiny: text-generation, tool-calling, grammar-constrained",
        "Checking nothing...",
        "offline",
        "1 of 2 online",
    ]
    assert run(fleet, "discover-models.sh", "nothing").returncode == 1
    done = run(fleet, "discover-models.sh")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 of 2 online")
    assert [line for line in done.stdout.splitlines() if line.startswith("Checking")] == [
        "Checking echo...",
        "Checking golek-tiny...",
    ]


def test_without_a_model_the_next_step_is_said(nats_server: str) -> None:
    """On a bus where nobody answers every example that looks around says how to start one."""
    environment = os.environ | {"NATS_URL": nats_server}
    for name in ("discover-models.sh", "agent-service.sh"):
        done = run(environment, name)
        assert done.returncode == 1
        assert "`make start WORKER=golek-tiny` starts one" in done.stderr
    done = run(environment, "reasoning-service.sh")
    assert done.returncode == 1
    assert "`make start WORKER=gpt-oss-20b` starts it" in done.stderr


def test_an_agent_routes_to_no_model_of_vectors(nats_server: str, tmp_path: Path) -> None:
    """Without a model named it finds those that are there, and leaves out what writes no text."""
    settings = {"MODEL_PATH": minilm.model_file(), "DRAIN_S": 0.1}
    with WorkerProcess(nats_server, tmp_path / "data", "all-minilm-l6-v2", **settings):
        done = run(os.environ | {"NATS_URL": nats_server}, "agent-service.sh")
    assert done.returncode == 1
    assert "   all-minilm-l6-v2: writes no text" in done.stdout
    assert "none of them can answer" in done.stderr


def test_reasoning_service(busy: dict[str, str]) -> None:
    """Status, load and a raw answer; a model that is not there ends it."""
    done = run(busy, "reasoning-service.sh", "echo", "one two three")
    assert (done.returncode, done.stderr) == (0, "")
    assert "   healthy: 0 waiting, 1 of 64 slots in use" in done.stdout.splitlines()
    assert "\none two three\n" in done.stdout
    assert re.search(r"3 out, stop, \d+ ms", done.stdout)
    assert run(busy, "reasoning-service.sh", "nothing", "hi").returncode == 1
    assert "give a PROMPT" in run(busy, "reasoning-service.sh", "echo").stderr
    done = run(busy, "reasoning-service.sh", "golek-tiny")
    assert re.search(r" out, stop, \d+ ms", done.stdout)


def test_agent_service(busy: dict[str, str]) -> None:
    """The model with the least to do is asked; those that are not there are left out."""
    done = run(busy, "agent-service.sh", "What is a lease?", "nothing", "golek-tiny", "echo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "   nothing: offline" in done.stdout
    chosen = re.search(r"3. Routing to: (golek-tiny|echo)\n.*lease", done.stdout)
    assert chosen, done.stdout


def test_parallel(fleet: dict[str, str]) -> None:
    """Two requests side by side gain time, within a model and across two; a refusal is told."""
    for models in (["golek-tiny"], ["golek-tiny", "echo"]):
        # A second of writing each, beside which it does not count how fast a busy machine starts a command.
        done = run(fleet | {"MAX_TOKENS": "100"}, "test-parallel.sh", *models)
        assert done.returncode == 0, done.stdout + done.stderr
        speed_up = re.search(r"speed-up: ([\d.]+)", done.stdout)
        assert speed_up
        assert float(speed_up[1]) > 1.1
    assert "nobody answers on inference.request.nothing" in run(fleet, "test-parallel.sh", "nothing").stderr
    refused = run(fleet | {"MAX_TOKENS": "-1"}, "test-parallel.sh", "echo")
    assert (refused.returncode, "BAD_REQUEST: params.max_tokens" in refused.stderr) == (1, True)


def test_golek_stands_in_for_nats(busy: dict[str, str], tmp_path: Path) -> None:
    """A link to golek under the name `nats` does what the examples ask of it: bodies on standard output alone."""
    shim = tmp_path / "shim" / "nats"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m golek_worker.cli "$@"\n')
    shim.chmod(0o755)
    environment = busy | {"PATH": f"{shim.parent}:{busy['PATH']}"}
    line = "echo '{}' | nats req models.golek-tiny.health --timeout=2s | jq -r '.status'"
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "online\n"
    line = "nats sub 'monitoring.inference.*' --count=4 | jq -c '[.model_name, .pending_messages, .status]'"
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=30, check=True)
    assert {tuple(json.loads(row)) for row in done.stdout.splitlines()} == {
        ("golek-tiny", 0, "healthy"),
        ("echo", 0, "healthy"),
    }
