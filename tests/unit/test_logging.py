"""What a program logs, and in which form: for programs in files, for people on a terminal."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import logging, sys
import structlog
from golek_program import logging as program_logging

program_logging.configure("info", *(open(name, "w") for name in sys.argv[2:]), form=sys.argv[1], worker_id="w-1")
structlog.get_logger("serving").info("job.answered", job_id="abc")
logging.getLogger("library").warning("%s is late", "somebody")
prompt = "a secret prompt"
try:
    raise ValueError("too much")
except ValueError:
    structlog.get_logger("serving").exception("job.failed")
"""


def on_terminal(form: str, *files: Path, **environment: str) -> str:
    """What the program writes to a terminal."""
    ours, theirs = pty.openpty()
    given = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    command = [sys.executable, "-c", CODE, form, *map(str, files)]
    try:
        subprocess.run(command, stderr=theirs, env=given | {"TERM": "xterm"} | environment, timeout=30, check=True)
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def in_pipe(form: str) -> str:
    """What it writes where nobody watches."""
    command = [sys.executable, "-c", CODE, form]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stderr


@pytest.mark.parametrize("form", ["auto", "json"])
def test_lines_for_programs_are_json(form: str) -> None:
    """Away from a terminal each event is a JSON object with its fields, a library's and a traceback too."""
    own, foreign, failed = [json.loads(line) for line in in_pipe(form).splitlines()]
    assert (own["event"], own["job_id"], own["level"], own["worker_id"]) == ("job.answered", "abc", "info", "w-1")
    assert (foreign["event"], foreign["logger"], foreign["level"]) == ("somebody is late", "library", "warning")
    assert failed["exception"].endswith("ValueError: too much")


def test_lines_on_a_terminal_are_for_people(tmp_path: Path) -> None:
    """A terminal gets coloured lines, and the file beside it JSON."""
    file = tmp_path / "boot.log"
    shown = on_terminal("auto", file)
    assert "job.answered" in shown
    assert "\x1b[" in shown
    assert "{" not in shown
    assert json.loads(file.read_text().splitlines()[0])["event"] == "job.answered"
    assert "\x1b" not in file.read_text()


def test_no_color_is_obeyed() -> None:
    """NO_COLOR leaves the line and takes its colours."""
    shown = on_terminal("auto", NO_COLOR="1")
    assert "job.answered" in shown
    assert "\x1b[" not in shown


def test_a_terminal_may_be_told_to_show_json() -> None:
    """`json` is JSON everywhere."""
    assert json.loads(on_terminal("json").splitlines()[0])["event"] == "job.answered"


def test_lines_for_people_can_be_asked_for() -> None:
    """`pretty` into a pipe has no colours, and no traceback shows the values of variables: one may be a prompt."""
    shown = in_pipe("pretty")
    assert "job_id=abc" in shown
    assert "ValueError: too much" in shown
    assert "a secret prompt" not in shown
    assert "\x1b[" not in shown
