"""What does scripts/run_tests.sh say last? Of all groups, which run side by side: how each ended, and what failed."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path("scripts/run_tests.sh").resolve()
PASSES = "def test_well() -> None:\n    pass\n"
FAILS = "def test_ill() -> None:\n    assert 1 == 2, 'the reason'\n"
BROKEN = "import what_is_not_there\n"
ENDS = "import os\n\ndef test_gone() -> None:\n    os._exit(3)\n"


def run(folder: Path, **texts: str) -> tuple[int, list[str]]:
    """Its status and what it says last; `texts` says what stands in some of the files, the others pass."""
    files = {
        "lower": "bus/test_a", "rest": "bus/test_re",
        "middle": "bus/test_o", "tui": "tui/test_t",
        "more": "bus/test_ro", "upper": "bus/test_z",
        "gateway": "gateway/test_g", "engine": "engine/test_e", "engines": "engines/test_s", "web": "web/test_w",
        "unit": "unit/test_u",
    }  # fmt: skip
    for group, name in files.items():
        path = folder / "tests" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts.get(group, PASSES))
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    done = subprocess.run(
        [SCRIPT, sys.executable, "all"], check=False, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.rpartition("\n\n")[2].splitlines()


def test_the_last_lines_name_what_failed_in_every_group(tmp_path: Path) -> None:
    """With the reason; a file that cannot be read is an error of its own."""
    status, last = run(tmp_path, lower=FAILS, gateway=BROKEN)
    assert status == 1
    assert [line.rpartition(" in ")[0] for line in last[:4]] == [
        "bus, a to m, r but re: 1 failed, 1 passed",
        "bus, n to z but r: 2 passed",
        "gateway, engine, tui, bus re: 1 error",
        "all others: 3 passed",
    ]
    assert last[4] == "What failed:"
    assert last[5].startswith("FAILED tests/bus/test_a.py::test_ill - AssertionError: the reason")
    assert last[6].startswith("ERROR tests/gateway/test_g.py")
    assert len(last) == 7


def test_a_group_that_ended_early_has_failed(tmp_path: Path) -> None:
    """A process that dies says nothing of its tests, and so its tests have not passed."""
    status, last = run(tmp_path, upper=ENDS)
    assert status == 1
    assert "bus, n to z but r: ended before its tests did; what it said stands above" in last
    assert last[-2:] == ["What failed:", "bus, n to z but r, as a whole"]


def test_what_is_to_be_tested_is_said(tmp_path: Path) -> None:
    """Another word is told those that there are."""
    done = subprocess.run([SCRIPT, sys.executable, "some"], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "which tests? all or vllm, not 'some'\n")


def test_all_is_well(tmp_path: Path) -> None:
    """Status 0, and one line that says so."""
    status, last = run(tmp_path)
    assert (status, last[-1]) == (0, "All tests passed.")
