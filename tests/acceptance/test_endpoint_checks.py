"""`make test WORKER=name`: what is asked of a worker, and what is said when it does not answer."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from golek_client.testing import FakeFleet
from golek_wire.replies import FinishReason, InferenceReply
from golek_worker import settings
from golek_worker.machine import endpoint_checks
from golek_worker.machine.endpoint_checks import Check
from golek_worker.machine.lifecycle import ENVS, StartError
from tests.support.eyes import projector
from tests.support.workers import WorkerProcess


@pytest.fixture
def data(nats_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of this test's workers and checks, with a broker."""
    monkeypatch.setenv("NATS_URL", nats_server)
    monkeypatch.setenv("GOLEK_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def checks_of(deployment: str, said: list[str] | None = None) -> dict[str, Check]:
    say = (said if said is not None else []).append
    return {check.name: check for check in asyncio.run(endpoint_checks.run(deployment, say=say))}


def golek_worker_test(deployment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "golek_worker.cli", "worker", "test", deployment]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=50, check=False)


def test_every_endpoint_of_a_model_is_asked(nats_server: str, data: Path) -> None:
    """Health, request, raw, stream and grammar, each with its time and rate; a worker that loads is waited for."""
    worker = WorkerProcess(nats_server, data, "golek-tiny").start(wait=False)
    try:
        checks = checks_of("golek-tiny")
        assert list(checks) == ["health", "request", "raw", "stream", "grammar"]
        assert [check for check in checks.values() if not check.passed] == []
        assert "context 2048" in checks["health"].said
        assert checks["grammar"].said in ("'yes'", "'no'")
        assert all(check.ms for check in checks.values())
        assert all(check.tokens_per_s for name, check in checks.items() if name != "health")
        shown = golek_worker_test("golek-tiny")
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.splitlines()[0].split()[:4] == ["CHECK", "RESULT", "MS", "TOKENS/S"]
        assert shown.stdout.endswith("golek-tiny: 5 of 5 checks passed\n")
    finally:
        worker.end()


def test_only_what_a_worker_can_do_is_asked(nats_server: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Echo promises no grammar, and is reached under the name that SUBJECT gives it."""
    monkeypatch.setenv("SUBJECT", "inference.request.other")
    with WorkerProcess(nats_server, data, SUBJECT="inference.request.other"):
        checks = checks_of("echo")
    assert list(checks) == ["health", "request", "raw", "stream"]
    assert checks["request"].said == repr(endpoint_checks.QUESTION)


def test_a_model_that_sees_is_shown_an_image(nats_server: str, data: Path) -> None:
    """A red square, for which this one has an answer of its own."""
    with WorkerProcess(nats_server, data, "golek-tiny", MMPROJ_PATH=projector(), MODEL_THREADS=1):
        checks = checks_of("golek-tiny")
    assert list(checks) == ["health", "request", "raw", "stream", "grammar", "image"]
    assert checks["image"].passed
    assert "NATS is a small" in checks["image"].said


def test_a_failed_check_is_told_and_fails_the_command(
    nats_server: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error that the fleet answers stands in the table, the other checks are made all the same."""
    monkeypatch.setenv("INFERENCE_REQUEST_TIMEOUT", "0.2")
    with WorkerProcess(nats_server, data, ENGINE_STEP_MIN_MS=100):
        shown = golek_worker_test("echo")
    assert shown.returncode == 1
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert [row[:2] for row in rows[1:5]] == [
        ["health", "ok"], ["request", "FAILED"], ["raw", "FAILED"], ["stream", "FAILED"],
    ]  # fmt: skip
    assert rows[2][4] == "DEADLINE_EXCEEDED:"
    assert rows[5] == ["echo:", "1", "of", "4", "checks", "passed"]


@pytest.mark.parametrize(
    ("form", "ended", "passed"), [("auto", "stop", False), ("auto", "length", False), ("harmony", "length", True)]
)
def test_an_empty_answer_is_a_failed_check(form: str, ended: FinishReason, passed: bool) -> None:
    """It names the setting that may be wrong; harmony may still have been thinking when it was cut off."""
    asked = structs.replace(settings.load(settings.env_file("echo", ENVS)), model_format=form)  # type: ignore[arg-type]
    reply = InferenceReply("r", "", 5, 32, ended, 1, 1, "echo", 1)
    check = endpoint_checks._of_reply("request", asked, reply, 0.0)
    assert (check.passed, check.said) == (
        passed, "the answer is empty after 32 tokens: does MODEL_FORMAT suit the model?",
    )  # fmt: skip


def test_an_empty_answer_that_may_be_thoughts_is_told(
    nats_server: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real worker: request and stream pass, and say that nothing came."""
    monkeypatch.setenv("MODEL_FORMAT", "harmony")
    with WorkerProcess(nats_server, data, MODEL_FORMAT="harmony"):
        checks = checks_of("echo")
    assert all(checks[name].passed and "is empty after" in checks[name].said for name in ("request", "stream"))


async def test_vectors_of_another_model_are_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply says whose they are, and both names are told."""
    monkeypatch.setenv("MODEL_NAME", "mine")
    monkeypatch.setenv("SUBJECT", "embedding.request.other")
    asked = settings.load(settings.env_file("all-minilm-l6-v2", ENVS))
    async with FakeFleet(embeds={"other": 4}) as fleet:
        check = await endpoint_checks._embedding(fleet.client(), asked)
        assert (check.passed, check.said) == (False, "the reply is of model 'other', MODEL_NAME is 'mine'")
        own = await endpoint_checks._embedding(fleet.client(), structs.replace(asked, model_name="other"))
        assert (own.passed, own.said) == (True, "2 vectors of 4 numbers")


async def test_scores_of_another_model_are_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reranker is asked for a ranking, and must put it in order itself."""
    monkeypatch.setenv("MODEL_NAME", "mine")
    monkeypatch.setenv("SUBJECT", "rerank.request.other")
    asked = settings.load(settings.env_file("all-minilm-l6-v2", ENVS))
    async with FakeFleet(ranks=["other"]) as fleet:
        check = await endpoint_checks._rerank(fleet.client(), asked)
        assert (check.passed, check.said) == (False, "the reply is of model 'other', MODEL_NAME is 'mine'")
        own = await endpoint_checks._rerank(fleet.client(), structs.replace(asked, model_name="other"))
        assert (own.passed, own.said) == (True, "scores 0.000, 0.000")


def test_nobody_there_is_said_with_what_to_do(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a worker the command says how to start one, after a moment in which one may appear."""
    monkeypatch.setattr(endpoint_checks, "APPEAR_S", 0.2)
    with pytest.raises(StartError, match=r"no worker of echo runs.*\n`make start WORKER=echo` starts one"):
        checks_of("echo")


def test_a_worker_that_failed_is_not_waited_for(nats_server: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own word and its log are named."""
    WorkerProcess(nats_server, data, "golek-tiny", MODEL_PATH="/dev/null").start_failing()
    monkeypatch.setattr(endpoint_checks, "APPEAR_S", 30.0)
    with pytest.raises(StartError, match=r"golek-tiny failed: .*; log: "):
        checks_of("golek-tiny")
