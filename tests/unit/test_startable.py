"""What a machine could start."""

from pathlib import Path

import pytest

from golek_wire.hosts import Startable
from golek_worker import process
from golek_worker.machine import runfile, startable
from golek_worker.machine.runfile import RunState
from tests.support.workers import ROOT

CATALOG = """
models:
  - {id: phi-4, kind: inference, source: "hf:a/b/phi-4-Q4_K_M.gguf", verified: false, from: a test, about_gb: 9.1,
     context_length: 16384}
  - {id: see, kind: vision, source: "hf:a/b/see.gguf", verified: false, from: a test}
  - {id: gone, kind: inference, verified: false, from: a test, unavailable: it was withdrawn}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two deployments, one that cannot be read, and three models in its catalogue."""
    envs, catalog = tmp_path / "envs", tmp_path / "data" / "catalog"
    envs.mkdir()
    catalog.mkdir(parents=True)
    (catalog / "models.yaml").write_text(CATALOG)
    (envs / "worker.repeater.env").write_text("MODEL_NAME=echo\nENGINE=echo\n")
    tiny = ROOT / "data/models/golek-tiny/model.gguf"
    (envs / "worker.tiny.env").write_text(f"MODEL_NAME=golek-tiny\nMODEL_PATH={tiny}\n")
    (envs / "worker.wrong.env").write_text("MODEL_NAME=wrong\nCTX_SIZE=many\n")
    (envs / "worker.example.env").write_text("# MODEL_NAME=\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOLEK_DATA", str(tmp_path / "data"))
    return tmp_path


def found() -> dict[str, Startable]:
    return {one.name: one for one in startable.here()}


def test_it_is_what_a_start_would_find(project: Path) -> None:
    """Deployments that can be read, and of the catalogue what can be downloaded and has an engine."""
    rows = found()
    assert list(rows) == ["echo", "golek-tiny", "phi-4"]
    assert rows["echo"] == Startable("echo", "repeater")
    tiny = rows["golek-tiny"]
    assert (tiny.deployment, tiny.has_file, tiny.context_size, tiny.kind) == ("tiny", True, 2048, "inference")
    assert tiny.size_bytes > 1_000_000
    assert rows["phi-4"] == Startable("phi-4", "phi-4", has_file=False, context_size=16384)


def test_what_may_not_be_downloaded_cannot_be_started(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GOLEK_OFFLINE leaves what is here."""
    monkeypatch.setenv("GOLEK_OFFLINE", "1")
    assert list(found()) == ["echo", "golek-tiny"]


def test_it_says_what_runs(project: Path) -> None:
    """A worker whose process lives; not one that was killed."""
    me = process.identify()
    state = RunState(worker_id="w", deployment="repeater", replica=1, pid=me.pid, created=me.created, state="loading")
    runfile.write(project / "data", state)
    gone = RunState(worker_id="w", deployment="tiny", replica=1, pid=me.pid, created=me.created - 100, state="online")
    runfile.write(project / "data", gone)
    assert [name for name, one in found().items() if one.runs] == ["echo"]


@pytest.mark.parametrize(
    ("name", "deployment"),
    [("repeater", "repeater"), ("echo", "repeater"), ("golek-tiny", "tiny"), ("phi-4", "phi-4"), ("phi-5", None)],
)
def test_a_model_is_started_as_its_deployment(project: Path, name: str, deployment: str | None) -> None:
    """By the deployment's own name, by its model's, or as the catalogue knows it."""
    assert startable.deployment_of(name) == deployment
