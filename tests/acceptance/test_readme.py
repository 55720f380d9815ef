"""The Python of README.md runs as it is printed."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.workers import ROOT, WorkerProcess

PAGE = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_client_example(nats_server: str, tmp_path: Path) -> None:
    """It prints two answers of golek-tiny."""
    (block,) = [block for block in BLOCKS if "asyncio.run" in block]
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny"):
        environment = os.environ | {"NATS_URL": nats_server}
        done = subprocess.run(
            [sys.executable, "-c", block], env=environment, capture_output=True, text=True, timeout=50, check=True
        )
    assert len(done.stdout.split()) > 20


def test_the_choice_is_kept_to(nats_server: str, tmp_path: Path) -> None:
    """The command comes back with the beginning that is printed below it."""
    ((line, reply),) = re.findall(r"\$ (\.venv/bin/golek req \S+ \\\n.*\"choice\".*)\n(.*) …\}", PAGE)
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny"):
        environment = os.environ | {"NATS_URL": nats_server}
        done = subprocess.run(
            ["bash", "-c", line.replace(".venv/bin/golek", f"{sys.executable} -m golek_client.cli")],
            env=environment, cwd=ROOT, capture_output=True, text=True, timeout=50, check=True,
        )  # fmt: skip
    assert done.stdout.startswith(reply)


def test_the_kill_takes_the_engine_of_that_worker(nats_server: str, tmp_path: Path) -> None:
    """The line names the child of golek-tiny's worker, although a newer worker of another model runs beside it."""
    (line,) = re.findall(r"kill -9 \$\((pgrep .*)\)\) &", PAGE)
    data = tmp_path / "data"
    with WorkerProcess(nats_server, data, "golek-tiny") as worker, WorkerProcess(nats_server, data):
        found = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert found.stdout == f"{worker.child.pid}\n"


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_pass_the_linter(block: str) -> None:
    """Saved as a file of the repository, as the page says, an example must not fail `make check`."""
    for command in (["check", "--output-format=concise"], ["format", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "--stdin-filename", ROOT / "ask.py", "-"],
            input=block,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_fake_fleet_example() -> None:
    """The test it shows passes."""
    (block,) = [block for block in BLOCKS if "FakeFleet" in block]
    names: dict[str, object] = {}
    exec(block, names)
    asyncio.run(names["test_my_program"]())  # type: ignore[operator]
