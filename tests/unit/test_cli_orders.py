"""What commands about adapters and grammars say when something is wrong."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from golek_client import terminal
from golek_client.cli import app
from golek_wire.adapters import AdapterReport


def golek(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[AdapterReport]:
    """What the replicas answer to each order."""
    reports: list[AdapterReport] = []

    def run(call: Any, *_: Any) -> list[AdapterReport]:
        call.close()
        return reports

    monkeypatch.setattr(terminal, "run", run)
    return reports


def test_a_failed_load_says_why_and_nothing_else(answers: list[AdapterReport]) -> None:
    """That no adapters are loaded is for who asks for the list."""
    answers.append(AdapterReport("m", "m-host-1", problem="/nope.gguf: cannot be read: No such file or directory"))
    done = golek("adapter", "load", "m", "x", "/nope.gguf")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "m-host-1: /nope.gguf: cannot be read: No such file or directory\n"
    answers[0] = AdapterReport("m", "m-host-1", failed={"x": "/x.gguf: damaged"})
    assert golek("adapter", "list", "m").stdout == "m-host-1: x is not loaded: /x.gguf: damaged\n"
    answers[0] = AdapterReport("m", "m-host-1")
    assert "no adapters are loaded" in golek("adapter", "list", "m").stdout


def test_a_grammar_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    """In a sentence, without the number of the error."""
    assert golek("grammar", "put", "x", "/nope").stderr == "error: /nope: No such file or directory\n"
    file = tmp_path / "g.gbnf"
    file.write_bytes(b"root ::= \xff")
    told = golek("grammar", "put", "x", str(file)).stderr
    assert told == f"error: {file}: no UTF-8 text: invalid start byte at byte 9\n"
