"""Every line that the first document printed for NATS, make and sqlite3 runs, and comes back as printed there."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.support.workers import ROOT

SCRIPT = ROOT / "scripts" / "run_command_book.py"
PROGRAMS = ("bash", "jq", "make", "sqlite3")


@pytest.mark.timeout(240)  # heartbeats come every 30 s, load reports every ten
@pytest.mark.skipif(any(shutil.which(name) is None for name in PROGRAMS), reason=f"the lines use {', '.join(PROGRAMS)}")
def test_every_line_comes_back_as_printed() -> None:
    """With golek-tiny and MiniLM under the names of the real models."""
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=230, check=False)
    if "is taken, and the lines name it" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["ran"] == counts["matched"] == 61


def test_the_lines_are_listed() -> None:
    """--list shows all, and of those that wait why they do."""
    done = subprocess.run([sys.executable, SCRIPT, "--list"], capture_output=True, text=True, timeout=30, check=True)
    assert "./bin/nats-embed -input" in done.stdout
    assert "# not yet: needs Docker" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == {"lines": 61, "later": 30}
