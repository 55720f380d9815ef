"""`make list-workers`: what runs is shown whatever the env files say."""

from pathlib import Path

import pytest

from golek_worker import process
from golek_worker.machine import listing, runfile


def test_a_broken_file_does_not_hide_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown key beside a worker that runs; and one mistake of several files is told once."""
    monkeypatch.setenv("GOLEK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DRAIN_S", "soon")
    for name in ("one", "two"):
        (tmp_path / f"worker.{name}.env").write_text(f"MODEL_NAME={name}\nENGINE=echo\n")
    me = process.identify()
    state = runfile.RunState(
        worker_id="one-1", deployment="one", replica=1, pid=me.pid, created=me.created, state="online"
    )
    runfile.write(tmp_path / "data", state)
    rows = listing.deployments(tmp_path)
    assert [(row.name, row.running) for row in rows] == [("one", "#1 online"), ("two", "-")]
    table = listing.table(rows)
    assert table.count("DRAIN_S=soon") == 1
    assert "\none, two: DRAIN_S=soon" in table


def test_a_failure_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beginning and where the rest is."""
    monkeypatch.setenv("GOLEK_DATA", str(tmp_path / "data"))
    (tmp_path / "worker.one.env").write_text("MODEL_NAME=one\nENGINE=echo\n")
    state = runfile.RunState(
        worker_id="one-1",
        deployment="one",
        replica=1,
        pid=1,
        created=0.0,
        state="failed",
        problem="x" * 400,
        log="a.log",
    )
    runfile.write(tmp_path / "data", state)
    (row,) = listing.deployments(tmp_path)
    assert row.problem == f"#1 failed: {'x' * 100} … (log: a.log)"


def test_a_model_without_its_file_stands_where_the_catalogue_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does is known before its file is made or downloaded."""
    monkeypatch.setenv("GOLEK_DATA", str(tmp_path / "data"))
    for name in ("nomic-embed-v1.5", "nobody-knows-it"):
        (tmp_path / f"worker.{name}.env").write_text(f"MODEL_NAME={name}\n")
    unknown, known = listing.deployments(tmp_path)
    assert known.subject.split()[0] == "embedding.request.nomic-embed-v1.5"
    assert unknown.subject == "inference.request.nobody-knows-it"
