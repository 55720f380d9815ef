"""When does a line of the command book count as failed, and which ports does it use? By table."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.workers import ROOT

Mismatch = Callable[[dict[str, Any], int, str, dict[str, str]], str | None]

REPLIES = {
    "health": '{"status": "online", "last_activity": "2025-09-25T10:30:15Z", "info": {"size": 640}, "can": ["text"]}',
    "nothing": '{"param": null}',
    "vector": '{"embedding": [-0.006747, -0.001334, ...], "index": 0}',
}
GOOD = {"status": "loading", "last_activity": "2026-01-02T03:04:05.6+02:00", "info": {"size": 1.5}, "can": ["a", "b"]}


@pytest.fixture
def mismatch(monkeypatch: pytest.MonkeyPatch) -> Mismatch:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from command_book.expect import mismatch  # type: ignore[import-not-found]

    return mismatch  # type: ignore[no-any-return]


def test_keys_and_types_count_and_values_do_not(mismatch: Mismatch) -> None:
    """More keys and other values are fine, beside whatever else is printed; numbers are numbers."""
    out = f"Received\n{json.dumps(GOOD | {'more': None}, indent=2)}\n\n{json.dumps(GOOD)}"
    assert mismatch({"reply": "health"}, 0, out, REPLIES) is None
    assert mismatch({"reply": "vector"}, 0, '{"embedding": [1, 0.5], "index": 3}', REPLIES) is None
    both = json.dumps(GOOD) + '{"embedding": [1], "index": 3}'
    assert mismatch({"reply": ["health", "vector"]}, 0, both, REPLIES) is None


@pytest.mark.parametrize(
    ("line", "status", "out", "says"),
    [
        ({"reply": "health"}, 1, json.dumps(GOOD), "exit status 1"),
        ({"reply": "health"}, 0, "online", "0 JSON values came, 1 were expected"),
        ({"reply": ["health", "vector"]}, 0, json.dumps(GOOD), "1 JSON values came, 2 were expected"),
        ({"reply": "health"}, 0, json.dumps({**GOOD, "info": {}}), "health.info: no size in {}"),
        ({"reply": "health"}, 0, json.dumps({**GOOD, "info": {"size": "1"}}), "health.info.size: '1' is no number"),
        ({"reply": "health"}, 0, json.dumps({**GOOD, "info": {"size": True}}), "health.info.size: True is no int"),
        ({"reply": "health"}, 0, json.dumps({**GOOD, "info": 3}), "health.info: 3 is no object"),
        ({"reply": "vector"}, 0, '{"embedding": [1], "index": null}', "vector.index: None is no number"),
        ({"reply": "nothing"}, 0, '{"param": "model"}', "nothing.param: 'model' is not null"),
        ({"reply": "health"}, 0, json.dumps({**GOOD, "can": []}), "health.can: [] is no list with something in it"),
        ({"reply": "health"}, 0, json.dumps({**GOOD, "can": ["a", 1]}), "health.can[]: 1 is no text"),
        (
            {"reply": "health"},
            0,
            json.dumps({**GOOD, "last_activity": "now"}),
            "health.last_activity: 'now' is no time",
        ),
        (
            {"reply": "health"},
            0,
            json.dumps(GOOD) + json.dumps({}),
            "health: no status, last_activity, info, can in {}",
        ),
        ({"prints": "# a\n# b  \n"}, 0, "a\nc\n", "printed ['a', 'c'] instead of ['a', 'b']"),
        ({"says": r"^\d+$"}, 0, "one", r"nothing matches '^\\d+$'"),
    ],
)
def test_what_is_wrong_is_named(mismatch: Mismatch, line: dict[str, Any], status: int, out: str, says: str) -> None:
    """The first difference, with its place in the answer."""
    assert mismatch(line, status, out, REPLIES) == says


def test_what_is_printed_and_said(mismatch: Mismatch) -> None:
    """Comment signs and blanks at the ends of printed lines do not count; what is said may be on any line."""
    assert mismatch({"prints": "# a\n# b  \n"}, 0, "a \nb\n", REPLIES) is None
    assert mismatch({"says": r"^\d+$"}, 0, "one\n2\n", REPLIES) is None


def test_a_port_that_is_taken_is_another_one_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In lines, in files that keep their mode, and for the broker that lines do not name. The others stay, and a file
    without any is a link.
    """
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from command_book.ports import Ports  # type: ignore[import-not-found]

    with socket.socket() as held, socket.socket() as free:
        held.bind(("127.0.0.1", 0))
        held.listen()
        free.bind(("127.0.0.1", 0))  # nobody listens there
        printed, other = held.getsockname()[1], free.getsockname()[1]
        ports = Ports.free((printed, other))
    assert list(ports.instead) == [printed]
    used = ports.used(printed)
    assert used not in (printed, other)
    assert ports.environment() == {}
    line = f"curl http://localhost:{printed}/healthz; echo {printed}; curl :{other} -m :{printed}0"
    assert ports.rewrite(line) == f"curl http://localhost:{used}/healthz; echo {printed}; curl :{other} -m :{printed}0"
    for text, is_link in ((f"HTTP_ADDR=:{printed}\n", False), (f"HTTP_ADDR=:{other}\n", True)):
        file, target = tmp_path / f"{is_link}.env", tmp_path / f"{is_link}.placed"
        file.write_text(text)
        file.chmod(0o755)
        ports.place(file, target)
        assert target.is_symlink() == is_link
        assert (target.read_text(), target.stat().st_mode) == (ports.rewrite(text), file.stat().st_mode)
    assert Ports({4222: 14222}).environment() == {"NATS_URL": "nats://127.0.0.1:14222"}
