"""The shell scripts over HTTP run as they are: against a worker, and against the gateway."""

import os
import shutil
import subprocess

import pytest

from tests.support.fronts import Fleet
from tests.support.ports import free_port
from tests.support.workers import ROOT

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="the examples read JSON with jq")


def run(name: str, *arguments: str) -> list[str]:
    """The lines that an example prints; it must succeed."""
    command = [str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.splitlines()


def test_grammars_are_created_read_changed_and_removed(fleet: Fleet) -> None:
    """test-grammar-crud.sh says ok of each step."""
    lines = run("test-grammar-crud.sh", fleet.worker)
    assert len(lines) == 9
    assert all(line.startswith("ok: ") for line in lines)


@pytest.mark.parametrize("front", ["worker", "gateway"])
def test_every_endpoint_answers(fleet: Fleet, front: str) -> None:
    """test-inference-endpoints.sh says ok of each."""
    lines = run("test-inference-endpoints.sh", getattr(fleet, front), "golek-tiny")
    assert len(lines) == 11
    assert all(line.startswith("ok: ") for line in lines)


def test_a_failing_step_ends_an_example(fleet: Fleet) -> None:
    """With the server's own words, and status 1."""
    command = [str(ROOT / "examples" / "test-inference-endpoints.sh"), fleet.gateway, "no-such-model"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "POST /v1/completions: 404 No model 'no-such-model' is known" in done.stderr


def test_nobody_there_is_no_success() -> None:
    """Not one line says ok, and the address is named."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [str(ROOT / "examples" / "test-inference-endpoints.sh"), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode != 0, "ok:" in done.stdout) == (True, False)
    assert url.rpartition(":")[2] in done.stderr
