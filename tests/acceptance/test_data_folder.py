"""A project whose data lies elsewhere: what is started, served and stopped there leaves nothing in `./data`."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from golek_worker.bus import embedded
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

ROOT = Path(__file__).resolve().parents[2]
TINY = "data/models/golek-tiny/model.gguf"


class Project:
    """A copy of what a deployment needs, with GOLEK_DATA and NATS_URL in its `.env`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder / "project", folder / "elsewhere"
        shutil.copytree(ROOT / "envs", self.folder / "envs")
        (self.folder / TINY).parent.mkdir(parents=True)
        (self.folder / TINY).symlink_to(ROOT / TINY)
        self.write(".env", f"GOLEK_DATA={self.data}\nNATS_URL=nats://127.0.0.1:{free_port()}\nINFERENCE_CONFG=D3\n")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text)

    def golek(self, *arguments: str) -> str:
        """What the command prints; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "golek_worker.cli", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.golek("worker", "stop")
    assert embedded.running(project.data) is None


def test_everything_lies_in_golek_data(project: Project) -> None:
    """Broker, run files, logs and request log; the model that ships is found all the same, with the path that its env
    file has in every project."""
    project.write(
        "envs/worker.tiny.env",
        f"MODEL_NAME=golek-tiny\nMODEL_PATH={TINY}\nDB_PATH=data/logs/answers.sqlite\nWORKER_TYPE=small\n",
    )
    before = project.files()
    project.golek("worker", "start", "tiny", "--replicas", "2")
    assert "tiny" in project.golek("req", "inference.request.golek-tiny", '{"input": "What is NATS?"}')
    running = json.loads((project.data / "run" / "tiny-1.json").read_text())
    boot, engine = Path(running["log"]), Path(running["engine_log"])
    project.golek("worker", "stop")
    assert project.files() == before
    assert sorted(path.name for path in project.data.iterdir()) == ["logs", "nats", "run"]
    logs = project.data / "logs"
    assert sorted(path.name for path in logs.iterdir()) == ["_boot", "answers.sqlite", "llama-small", "nats.log"]
    assert (boot.parent, engine.parent) == (logs / "_boot", logs / "llama-small")
    for folder in (boot.parent, engine.parent):
        assert len(list(folder.glob("*.log"))) == 2
        assert (folder / "latest.txt").resolve() in list(folder.glob("*.log"))
    said = [json.loads(line)["event"] for line in boot.read_text().splitlines()]
    assert [said[0], said[-1]] == ["startup", "shutdown"]


def test_what_is_mistyped_is_said_once_at_the_start(project: Project) -> None:
    """One line in the log, one row among the events, and the worker runs."""
    project.golek("worker", "start", "echo")
    remark = "INFERENCE_CONFG: unknown key in .env; did you mean INFERENCE_CONFIG?"
    assert project.golek("worker", "check", "echo") == "ok\n"
    boot = project.golek("worker", "logs", "echo", "--boot")
    assert boot.count(remark) == 1
    assert '"level": "warning"' in next(line for line in boot.splitlines() if remark in line)
    with closing(sqlite3.connect(project.data / "logs" / "echo.sqlite")) as log:
        rows = log.execute("SELECT level, msg FROM events WHERE code = 'settings.remark'").fetchall()
    assert rows == [("warning", remark)]


def test_the_engine_s_log_tells_of_the_load(project: Project) -> None:
    """llama.cpp's messages are in its file, and not in the worker's own log."""
    project.golek("worker", "start", "golek-tiny")
    engine = project.golek("worker", "logs", "golek-tiny", "--engine", "-n", "500")
    assert "general.architecture" in engine
    assert engine.splitlines()[0].endswith(".log")
    assert "general.architecture" not in project.golek("worker", "logs", "golek-tiny", "--boot", "-n", "500")
    project.golek("worker", "stop", "golek-tiny")
    assert "shutdown" in project.golek("worker", "logs", "golek-tiny", "--boot")
    assert "no log of nobody yet" in project.golek("worker", "logs", "golek-tiny", "--boot", "--worker-id", "nobody")


def test_config_without_a_name(project: Project) -> None:
    """What `.env` says to all, and which deployments there are; for programs, too."""
    text = project.golek("config")
    assert f"GOLEK_DATA  {project.data}  (.env)" in text
    assert re.search(r"^golek-tiny +golek-tiny +llamacpp ", text, re.MULTILINE)
    answer = json.loads(project.golek("config", "--json"))
    assert [row["key"] for row in answer["settings"]] == ["NATS_URL", "GOLEK_DATA"]
    assert {"echo", "golek-tiny"} <= {row["name"] for row in answer["deployments"]}


def test_config_shows_what_changed(project: Project) -> None:
    """Only what is not the default."""
    rows = json.loads(project.golek("config", "echo", "--changed", "--json"))["settings"]
    assert [row["key"] for row in rows] == [
        "MODEL_NAME",
        "ENGINE",
        "WORKER_CONCURRENCY",
        "NATS_URL",
        "GOLEK_DATA",
    ]


def test_a_worker_in_the_foreground_logs_to_stderr_and_to_disk(nats_server: str, tmp_path: Path) -> None:
    """The same lines in both places; the end of an engine is in its log."""
    data = tmp_path / "data"
    with WorkerProcess(nats_server, data) as worker:
        worker.child.kill()
        while not worker.log_lines("engine.died"):
            time.sleep(0.01)
        state = worker.state()
    assert state is not None
    assert Path(state.log).parent == data / "logs" / "_boot"
    assert Path(state.log).read_text() == worker.log.read_text()
    assert "the engine ended with signal SIGKILL" in Path(state.engine_log).read_text()
