"""What a person reads of a child's log."""

from pathlib import Path

import pytest

from golek_worker.supervisor.tail import Tail, readable


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (
            '{"detail": "the model is ready", "worker_id": "w", "event": "model.loaded", "level": "info"}',
            "model.loaded the model is ready",
        ),
        (
            '{"event": "keys", "level": "error", "problem": "line 3", "n": 2, "timestamp": "2026-01-02T03:04:05Z"}',
            "03:04:05 ERROR keys line 3 n=2",
        ),
        ('{"event": "bad", "level": "error", "exception": "Traceback\\n  x"}', "ERROR bad\nTraceback\n  x"),
        ("ModuleNotFoundError: no module", "ModuleNotFoundError: no module"),
        ("[1, 2]", "[1, 2]"),
    ],
)
def test_an_event_is_a_line(line: str, read: str) -> None:
    """Time, name, what it says, then its fields; what is loud says so; what is no event stays as it is."""
    assert readable(line) == read


def test_only_whole_lines_are_read_and_each_once(tmp_path: Path) -> None:
    """A line that is being written is read when it is there; a file that is not there yet has none."""
    file = tmp_path / "log"
    tail = Tail(file)
    assert list(tail.new()) == []
    with file.open("w") as log:
        log.write("one\ntw")
        log.flush()
        assert list(tail.new()) == ["one"]
        assert list(tail.new()) == []
        log.write("o\n\nthree\n")
        log.flush()
        assert list(tail.new()) == ["two", "three"]


def test_events_may_be_left_out(tmp_path: Path) -> None:
    """What a child says at every start is shown once; what is no event always is."""
    file = tmp_path / "log"
    file.write_text('{"event": "settings.remark", "level": "warning"}\nsettings.remark\n{"event": "startup"}\n')
    assert list(Tail(file, ("settings.remark",)).new()) == ["settings.remark", "startup"]
    assert list(Tail(file).new()) == ["WARNING settings.remark", "settings.remark", "startup"]
