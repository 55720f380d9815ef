"""A request's story as text: `golek trace`."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from golek_monitor.logs import trace
from golek_monitor.logs.explorer import Explorer
from golek_monitor.logs.records import Phase
from tests.support import request_logs
from tests.support.request_logs import row

DEBATE = '{"mode": "debate", "rounds": 2, "agreement": 0.75}'
JOB = "k5ptxjq2m7zv4r3dn6ychwabfe"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A machine whose log has one job that crashed an engine first, and two of one label."""
    now = time.time()
    rows = [
        row(1, ts=now, req_id="mine", job_id=JOB, attempt=2, queue_ms=2250.0, dur_ms=900.0, decode_ms=800.0),
        row(2, req_id="same"),
        row(3, req_id="same", status="CANCELLED", error="stopped \x1b[31mhere"),
    ]  # fmt: skip
    asyncio.run(request_logs.write(tmp_path / "logs" / "golek-tiny.sqlite", *rows, events=("engine.crashed",)))
    return tmp_path


def test_a_story_is_drawn_in_time(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who, when and what; a bar for each phase, one behind the other; what befell the worker meanwhile."""
    assert trace.run(Explorer(data), "mine") == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert f"job      {JOB}" in lines
    assert "ended    ok at " in said
    bars = {line[2:16].strip(): line for line in lines if "█" in line}
    assert list(bars) == ["earlier tries", "to the engine", "for a slot", "prefill", "decode", "the rest"]
    assert "2250 ms" in bars["earlier tries"]
    assert bars["earlier tries"].rindex("█") <= bars["decode"].index("█")
    assert all(len(line) <= trace.WIDTH for line in bars.values())
    assert "engine.crashed" in said
    assert "what was asked" not in said


def test_texts_are_printed_where_that_is_allowed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was asked, what the model read and what it wrote."""
    assert trace.run(Explorer(data, show_prompts=True), JOB) == 0
    said = capsys.readouterr().out
    assert "  asked:\n    what was asked\n" in said
    assert "  wrote:\n    an answer\n" in said


def test_several_jobs_are_listed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest first, and how to ask for one."""
    assert trace.run(Explorer(data), "same") == 0
    head, _, first, second = capsys.readouterr().out.splitlines()
    assert "2 jobs" in head
    assert "CANCELLED" in first
    assert f"job{2:023d}" in second


def test_what_callers_wrote_steers_no_terminal(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters of a label or message are not printed."""
    assert trace.run(Explorer(data), f"job{3:023d}") == 0
    said = capsys.readouterr().out
    assert "error: stopped" in said
    assert "\x1b" not in said


def test_programs_get_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as GET /api/requests/ID."""
    assert trace.run(Explorer(data), "mine", as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["story"]["job_id"] == JOB
    assert told["story"]["attempts"][0]["phases"][0] == {"name": "queue", "start_ms": 0.0, "ms": 2250.0}


def test_what_is_not_there_is_said_with_where_was_looked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, with the likely causes; exit status 1."""
    (data / "logs" / "broken.sqlite").write_bytes(b"no database at all" * 100)
    assert trace.run(Explorer(data), "nobody") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no request 'nobody' in the 1 request logs in " in printed.err
    assert "golek-tiny.sqlite: reaches back to 2026-01-02T12:00:02.000Z" in printed.err
    assert "broken.sqlite: not read: the file is broken" in printed.err


@pytest.mark.parametrize(
    ("phase", "longest", "bar"),
    [
        (Phase("queue", 0, 100), 100, "█" * 40),
        (Phase("decode", 50, 50), 100, " " * 20 + "█" * 20),
        (Phase("slot", 100, 0.1), 100.1, " " * 39 + "█"),
        (Phase("run", 0, 0.1), 1e6, "█"),
        (Phase("run", 0, 0), 0, "█"),
    ],
)
def test_a_bar_is_never_outside_and_never_nothing(phase: Phase, longest: float, bar: str) -> None:
    """Whatever the times are."""
    assert trace._bar(phase, longest, again=False)[28:] == bar


@pytest.mark.parametrize(("ms", "shown"), [(0.04, "0.0 ms"), (9.94, "9.9 ms"), (123.4, "123 ms"), (61_000, "61.0 s")])
def test_times_are_read_at_a_glance(ms: float, shown: str) -> None:
    """Three digits are enough."""
    assert trace.shown_ms(ms) == shown


async def test_steps_of_several_models_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How they answered stands above, what each job was for beside it; a job says of what it was a step."""
    whole, first = "a" * 26, "b" * 26
    asked = request_logs.row(9, job_id=whole, asked="D3", target="local:tiny", orchestration=DEBATE)
    step = request_logs.row(5, job_id=first, parent=whole, step="answer/1")
    await request_logs.write(tmp_path / "logs" / "router.sqlite", asked, worker_id="router-1")
    await request_logs.write(tmp_path / "logs" / "tiny.sqlite", step, worker_id="tiny-1")
    for job_id, lines in (
        (whole, ["mode     debate, 2 rounds, agreement 0.75", f"  {first}  answer/1  tiny"]),
        (first, ["step     answer/1"]),
    ):
        story = (await Explorer(tmp_path).find(job_id)).story
        assert story is not None
        told = "\n".join(trace.told(story))
        assert [line for line in lines if line not in told] == []


async def test_one_that_was_cancelled_has_its_steps_too(tmp_path: Path) -> None:
    """Its row says neither how several answer nor who was asked last: only that it is a router's."""
    step = row(2, req_id="other", parent=JOB, step="answer/1", job_id="s1", status="CANCELLED")
    asked = row(1, req_id="mine", job_id=JOB, status="CANCELLED", error="stopped", asked="auto")
    await request_logs.write(tmp_path / "logs" / "golek.sqlite", asked)
    await request_logs.write(tmp_path / "logs" / "left.sqlite", step)
    story = (await Explorer(tmp_path).find("mine")).story
    assert story is not None
    assert [(one.step, one.status) for one in story.steps] == [("answer/1", "CANCELLED")]


async def test_one_that_failed_has_its_steps_too(tmp_path: Path) -> None:
    """Nobody answered it in the end, so it has no target."""
    whole = "a" * 26
    asked = request_logs.row(
        9, job_id=whole, asked="D3", status="ORCHESTRATION_FAILED", orchestration='{"mode": "debate"}'
    )
    step = request_logs.row(5, job_id="b" * 26, parent=whole, step="answer/1")
    await request_logs.write(tmp_path / "logs" / "router.sqlite", asked, worker_id="router-1")
    await request_logs.write(tmp_path / "logs" / "tiny.sqlite", step, worker_id="tiny-1")
    story = (await Explorer(tmp_path).find(whole)).story
    assert story is not None
    assert [one.step for one in story.steps] == ["answer/1"]
