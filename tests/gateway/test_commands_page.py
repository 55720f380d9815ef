"""What docs/commands.md prints about HTTP runs as it stands there, and comes back as it is printed."""

import json
import re
import subprocess

import pytest

from tests.support.fronts import Fleet
from tests.support.workers import ROOT

SECTION = (ROOT / "docs" / "commands.md").read_text("utf-8").partition("## Over HTTP\n")[2].partition("\n## ")[0]
SHOWN = re.findall(r"^\$ (curl (?:.*\\\n)*.*)\n(\{.*\})$", SECTION, re.MULTILINE)
TYPED = [line.replace("\\|", "|") for line in re.findall(r"^\| `(curl .*?)` \|", SECTION, re.MULTILINE)]


def run(fleet: Fleet, line: str) -> str:
    """What `line` prints, asked of this fleet; it must be an answer."""
    for printed, url in (("http://localhost:8000", fleet.gateway), ("http://localhost:5770", fleet.worker)):
        line = line.replace(printed, url)
    done = subprocess.run(["bash", "-c", f"{line} -sS --max-time 30"], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(("line", "reply"), SHOWN, ids=[line.split()[1] for line, _ in SHOWN])
def test_what_is_shown_comes_back(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, line: str, reply: str) -> None:
    """Keys and types are those of the page, where three dots stand for more of them."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from command_book.expect import mismatch  # type: ignore[import-not-found]

    printed = re.sub(r", …", "", reply)
    assert mismatch({"reply": "shown"}, 0, run(fleet, line), {"shown": printed}) is None


def test_what_is_listed_can_be_typed(fleet: Fleet) -> None:
    """One after the other, as a person would: none of the answers is an error."""
    assert len(TYPED) > 10
    assert len(SHOWN) == 3
    for line in TYPED:
        answer = run(fleet, line)
        assert answer, line
        assert '"error"' not in answer, f"{line}: {answer}"
        if answer.startswith("{"):
            json.loads(answer)
    run(fleet, "curl -X POST http://localhost:8000/v1/models/golek-tiny/load")
    run(fleet, "curl -X DELETE http://localhost:8000/v1/sessions/ann-1")
