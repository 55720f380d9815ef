"""`golek` as it is typed: its commands, their exit codes, and what a plain install says."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from golek_worker.bus import cluster, embedded
from tests.support.ports import free_port

# Stands before the entry point: an install in which `typer` or `psutil` is missing.
WITHOUT = "import sys; sys.modules[{module!r}] = None; from golek_worker.cli import main; main()"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A broker address and a data folder of this test alone; a broker that is left is stopped."""
    url = f"nats://127.0.0.1:{free_port()}"
    yield os.environ | {"NATS_URL": url, "GOLEK_DATA": str(tmp_path / "data"), "NO_COLOR": "1"}
    embedded.stop(tmp_path / "data")
    cluster.stop(tmp_path / "data")


def golek(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "golek_worker.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_help_is_quick_and_lists_both_halves(environment: dict[str, str]) -> None:
    """Client and worker commands stand side by side; no engine, broker or database is imported for the list."""
    began = time.monotonic()
    shown = golek(environment, "--help")
    assert time.monotonic() - began < 2
    assert shown.returncode == 0
    for command in ("chat", "req", "worker", "broker", "config", "demo"):
        assert f"  {command} " in shown.stdout
    slow = "('nats', 'psutil', 'aiosqlite')"
    code = f"import golek_worker.commands.workers, sys; print([m for m in {slow} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_which_golek_it_is(environment: dict[str, str]) -> None:
    """The version of the package."""
    assert golek(environment, "--version").stdout == f"golek {version('golek')}\n"


@pytest.mark.parametrize(
    ("module", "command", "extra"), [("typer", ["--help"], "cli"), ("dotenv", ["worker", "list"], "worker")]
)
def test_a_plain_install_names_the_missing_extra(
    environment: dict[str, str], module: str, command: list[str], extra: str
) -> None:
    """What is not installed is a sentence, not a traceback."""
    code = WITHOUT.format(module=module)
    got = subprocess.run(
        [sys.executable, "-c", code, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert got.returncode == 1
    assert got.stderr.startswith(f"this command needs the {extra} extra: pip install 'golek[{extra}]'")


def test_check_says_ok_or_everything(environment: dict[str, str]) -> None:
    """Exit code 0 with ok, 1 with the mistakes."""
    good = golek(environment, "worker", "check", "echo")
    assert (good.returncode, good.stdout) == (0, "ok\n")
    bad = golek(environment | {"DRAIN_S": "-1", "HTTP_ADDR": "x"}, "worker", "check", "echo")
    assert bad.returncode == 1
    assert "DRAIN_S=-1" in bad.stderr
    missing = golek(environment, "worker", "check", "nobody")
    assert missing.returncode == 1
    assert "no such file; `make list-workers` shows what there is" in missing.stderr


def test_config_shows_value_and_source(environment: dict[str, str]) -> None:
    """One line for each key."""
    shown = golek(environment, "config", "echo")
    rows = [line.split(maxsplit=1) for line in shown.stdout.splitlines()]
    assert ["ENGINE", "echo  (envs/worker.echo.env)"] in rows
    assert ["NATS_URL", f"{environment['NATS_URL']}  (environment)"] in rows
    assert ["DRAIN_S", "30  (default)"] in rows
    assert ["INFERENCE_ORCHESTRATION_MODE", "single  (default)"] in rows


def test_the_broker_can_be_started_and_stopped_alone(environment: dict[str, str]) -> None:
    """`make nats` and its opposite; the configuration is shown as it is written."""
    started = golek(environment, "broker", "start")
    assert started.returncode == 0
    assert "started in" in started.stdout
    assert "answers" in golek(environment, "broker", "start").stdout
    shown = golek(environment, "broker", "config").stdout
    written = embedded.conf_file(Path(environment["GOLEK_DATA"])).read_text()
    assert shown.splitlines()[:9] == written.splitlines()[:9]
    assert "stopped" in golek(environment, "broker", "stop").stdout
    assert "no broker of ours runs" in golek(environment, "broker", "stop").stdout


def test_a_cluster_can_be_started_and_stopped(environment: dict[str, str]) -> None:
    """`make nats-cluster` says what NATS_URL should be; with that a worker would find it. `make stop` stops it."""
    started = golek(environment, "broker", "cluster")
    assert started.returncode == 0, started.stderr
    assert started.stdout.count("started in") == 3
    url = started.stdout.partition("\nexport NATS_URL=")[2].partition("\n")[0]
    assert url.startswith(f"{environment['NATS_URL']},")
    assert "may stand in .env" in started.stdout
    assert golek(environment, "broker", "cluster").stdout.count("runs already") == 3
    assert "answers" in golek(environment | {"NATS_URL": url}, "broker", "start").stdout
    assert golek(environment, "worker", "stop").stdout.count("stopped") == 3
    assert "no broker of ours runs" in golek(environment, "broker", "stop").stdout


def test_a_start_that_fails_exits_with_1(environment: dict[str, str]) -> None:
    """The cause is on standard error."""
    failed = golek(environment | {"MODEL_PATH": "missing.gguf"}, "worker", "start", "golek-tiny")
    assert failed.returncode == 1
    assert "MODEL_PATH=missing.gguf: no such file" in failed.stderr


def test_logs_of_a_worker_that_never_ran(environment: dict[str, str]) -> None:
    """There is no log yet, and that is said."""
    shown = golek(environment, "worker", "logs", "echo")
    assert shown.returncode == 1
    assert "no such file; a worker makes it when it starts" in shown.stderr
