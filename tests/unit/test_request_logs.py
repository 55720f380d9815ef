"""The request explorer: what all logs of a machine say together, read beside their writers."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import pytest

from golek_monitor.logs import story, trace
from golek_monitor.logs.asking import Query, Window, moment, parse
from golek_monitor.logs.explorer import Explorer
from golek_monitor.logs.files import logs
from golek_monitor.logs.records import HttpVisit
from golek_monitor.logs.summaries import percentile
from golek_program.logs import reading
from golek_wire.errors import BadRequestError
from golek_wire.logs import LoggedRequest
from golek_worker.gateway.access import Line
from golek_worker.store.sql import migrations
from golek_worker.store.writer import LogWriter
from tests.support import request_logs
from tests.support.request_logs import row

NOW = 1_767_355_200.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def explorer(data: Path, tmp_path: Path) -> Explorer:
    return Explorer(data, project=tmp_path, wall=lambda: NOW + 3600)


def log(data: Path, model: str = "golek-tiny") -> Path:
    return data / "logs" / f"{model}.sqlite"


def labels(found: list[LoggedRequest]) -> list[str]:
    return [one.req_id for one in found]


# -- which logs ------------------------------------------------------------------------------------------------------


async def test_logs_are_found_by_folder_and_env_file(data: Path, tmp_path: Path) -> None:
    """Each log is named after its model, slashes too; DB_PATH counts, and what is no request log by name does not."""
    for path in (log(data), log(data, "org/deep-1.5"), data / "elsewhere.sqlite", data / "logs" / "_boot" / "x.sqlite"):
        await request_logs.write(path, row())
    (data / "logs" / "golek-tiny.sqlite.corrupt-20260101_000000").write_bytes(b"x")
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "worker.a.env").write_text("MODEL_NAME=named\nDB_PATH=data/elsewhere.sqlite\n")
    (tmp_path / "envs" / "worker.b.env").write_text("MODEL_NAME=golek-tiny\nDB_PATH=data/logs/golek-tiny.sqlite\n")
    (tmp_path / "envs" / "worker.c.env").write_text("MODEL_NAME=never-ran\nDB_PATH=data/none.sqlite\n")
    found = {one.model: one.path for one in logs(data, tmp_path)}
    assert found == {
        "golek-tiny": log(data),
        "org/deep-1.5": log(data, "org/deep-1.5"),
        "named": data / "elsewhere.sqlite",
    }


def test_a_machine_without_logs_has_none(data: Path) -> None:
    """No folder is no error."""
    assert logs(data) == []


# -- search ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), ["e", "d", "c", "b", "a"]),
        (Query(model="other"), ["d"]),
        (Query(worker_id="w-2"), ["d"]),
        (Query(status="cancelled"), ["c"]),
        (Query(status="ok"), ["e", "d", "b", "a"]),
        (Query(errors_only=True), ["c"]),
        (Query(kind="embedding"), ["b"]),
        (Query(principal="ann"), ["a"]),
        (Query(req_id="E"), ["e"]),
        (Query(job_id="j" * 26), ["e"]),
        (Query(slower_ms=500), ["b"]),
        (Query(since="2026-01-02T12:00:03Z"), ["e", "d"]),
        (Query(until="2026-01-02T13:00:02+01:00"), ["c", "b", "a"]),
        (Query(since="59.5m"), ["e"]),
        (Query(limit=2), ["e", "d"]),
        (Query(status="ok", since="2026-01-02T12:00:01Z", model="golek-tiny"), ["e", "b"]),
        (Query(model="nobody"), []),
    ],
)
async def test_each_parameter_narrows_a_search(data: Path, explorer: Explorer, query: Query, found: list[str]) -> None:
    """The newest first, of all logs together."""
    await request_logs.write(
        log(data),
        row(0, req_id="a", principal="ann"),
        row(1, req_id="b", kind="embedding", dur_ms=500.0),
        row(2, req_id="c", status="CANCELLED", error="stopped"),
        row(60, req_id="e", job_id="j" * 26),
    )
    await request_logs.write(log(data, "other"), row(3, req_id="d"), worker_id="w-2")
    page = await explorer.search(query)
    assert labels(page.requests) == found
    assert (page.next is None) == (query.limit == 100)


async def test_pages_give_each_request_once(data: Path, explorer: Explorer) -> None:
    """Page after page, rows of one moment in several logs are all there and none comes twice."""
    for model in ("a", "b", "c"):
        await request_logs.write(
            log(data, model), *(row(number // 4, req_id=f"{model}{number}") for number in range(9))
        )
    seen: list[str] = []
    before = ""
    while True:
        page = await explorer.search(Query(limit=4, before=before))
        seen += labels(page.requests)
        if page.next is None:
            break
        before = page.next
    assert sorted(seen) == sorted(f"{model}{number}" for model in "abc" for number in range(9))
    assert seen[:3] == ["c8", "b8", "a8"]


async def test_a_request_is_told_with_its_times_and_without_its_texts(data: Path, explorer: Explorer) -> None:
    """All that the log has; of texts their lengths."""
    await request_logs.write(log(data), row(tokens_cached=3, adapter="poet", output=None))
    (one,) = (await explorer.search(Query())).requests
    assert one == LoggedRequest(
        model_name="golek-tiny", log="golek-tiny.sqlite", row=1, timestamp="2026-01-02T12:00:00.000Z",
        req_id="label-0", job_id=f"job{0:023d}", worker_id="w-1", kind="inference", principal="anonymous", status="ok",
        dur_ms=100.0, tokens_in=12, tokens_out=34, tokens_cached=3, tokens_per_s=507.69, queue_ms=20.0, ttft_ms=30.0,
        waited_ms=5.0, prefill_ms=20.0, decode_ms=65.0, seed=7, finish_reason="stop", adapter="poet", texts=1,
        input_chars=14, prompt_chars=20,
    )  # fmt: skip
    assert b"asked" not in msgspec.json.encode(one)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"slower_ms": "-1"}, "slower_ms"),
        ({"errors_only": "perhaps"}, "errors_only"),
        ({"modle": "x"}, "modle"),
        ({"model": "x" * 300}, "model"),
        ({"before": "yesterday"}, "before"),
        ({"before": "1e999:1:a"}, "before"),
        ({"since": "soon"}, "since"),
        ({"until": "2026-13-01"}, "until"),
        ({"since": "9" * 40 + "w"}, ""),
    ],
)
async def test_what_is_no_value_is_refused_by_its_name(explorer: Explorer, values: dict[str, str], named: str) -> None:
    """A mistake is the caller's to mend: the error names the parameter and what it takes."""
    if not named:
        assert (await explorer.search(parse(values, Query))).requests == []
        return
    with pytest.raises(BadRequestError, match=rf"^{named}: ") as refused:
        await explorer.search(parse(values, Query))
    assert refused.value.details["param"] == named


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15m", NOW - 900),
        ("1.5h", NOW - 5400),
        ("2026-01-02T12:00:00Z", NOW),
        ("2026-01-02T13:00:00+01:00", NOW),
        ("2026-01-02T13:00:00 01:00", NOW),
        ("2026-01-02T12:00:00", NOW),
        ("2026-01-02", NOW - 43_200),
        ("", None),
    ],
)
def test_a_moment_is_a_date_or_how_long_ago(text: str, seconds: float | None) -> None:
    """As RFC 3339 has it, also where a query lost its plus; without a zone it is UTC."""
    assert moment("since", text, NOW) == seconds


# -- one request's story ---------------------------------------------------------------------------------------------


async def test_a_story_has_attempts_events_and_the_visit(data: Path, explorer: Explorer) -> None:
    """Everything of one job: each end of it, what befell its model's workers meanwhile, and the gateway's line."""
    now = time.time()
    await request_logs.write(
        log(data),
        row(1, ts=now - 0.4, job_id="j" * 26, req_id="mine"),
        row(2, ts=now - 0.1, job_id="j" * 26, req_id="mine", attempt=2, queue_ms=250.0),
        row(3, ts=now, req_id="another's"),
        events=("engine.crashed",),
    )
    visits = (visit("j" * 26, "req-77"), visit("o" * 26, "mine"))  # the other job's id is this one's label
    (data / "logs" / "api_access.log").write_bytes(b"no json\n" + b"".join(visits))
    for name in ("j" * 26, "mine", "req-77", "jjjjjj"):
        found = (await explorer.find(name)).story
        assert found is not None
        assert (found.job_id, found.req_id, found.model_name) == ("j" * 26, "mine", "golek-tiny")
        assert [one.request.attempt for one in found.attempts] == [1, 2]
        assert [event.code for event in found.events] == ["engine.crashed"]
        assert found.events[0].message == "said of engine.crashed"
        assert 300 < found.events[0].offset_ms < 60_000
        assert [(visit.path, visit.request_id) for visit in found.visits] == [("/v1/chat/completions", "req-77")]
        assert found.attempts[0].texts is None


def visit(job_id: str, request_id: str) -> bytes:
    """A line of the access log."""
    line = Line(
        "2026-01-02T12:00:00.000Z", "ann", "POST", "/v1/chat/completions", 200, 130.0, "golek-tiny", job_id, 12, 34,
        900, request_id, "", "w-1", "127.0.0.1",
    )  # fmt: skip
    return msgspec.json.encode(line) + b"\n"


async def test_an_x_request_id_that_several_jobs_share_gives_a_list(data: Path, explorer: Explorer) -> None:
    """As callers repeat labels, so do they the ids of their requests."""
    await request_logs.write(log(data), row(1), row(2), row(3))
    jobs = [f"job{number:023d}" for number in (2, 1)]
    (data / "logs" / "api_access.log").write_bytes(b"".join(visit(job_id, "req-5") for job_id in jobs))
    assert [one.job_id for one in (await explorer.find("req-5")).requests] == jobs


async def test_a_label_that_several_jobs_share_gives_a_list(data: Path, explorer: Explorer) -> None:
    """Callers repeat labels: each job comes once, the newest first."""
    await request_logs.write(log(data), *(row(number, req_id="same") for number in range(3)))
    found = await explorer.find("same")
    assert found.story is None
    assert [one.job_id for one in found.requests] == [f"job{number:023d}" for number in (2, 1, 0)]


async def test_what_the_gateway_refused_is_found_by_its_id(data: Path, explorer: Explorer) -> None:
    """It never became a job, so that the access log alone knows it."""
    line = Line(
        "2026-01-02T12:00:00.000Z", "ann", "POST", "/v1/chat/completions", 429, 3.0, "golek-tiny", "", 0, 0, 200,
        "req-78", "RATE_LIMITED", "", "127.0.0.1",
    )  # fmt: skip
    (data / "logs").mkdir(parents=True)
    (data / "logs" / "api_access.log.1").write_bytes(msgspec.json.encode(line) + b"\n")
    found = await explorer.find("req-78")
    assert not found.is_empty
    assert [(visit.status, visit.code) for visit in found.visits] == [(429, "RATE_LIMITED")]


async def test_an_unknown_id_finds_nothing(data: Path, explorer: Explorer) -> None:
    """Nor does a beginning that is too short to mean anything; `looked` says where was looked."""
    await request_logs.write(log(data), row())
    for name in ("nobody", "job", ""):
        found = await explorer.find(name)
        assert found.is_empty
    (looked,) = await explorer.looked()
    assert (looked.path, looked.oldest) == (str(log(data)), "2026-01-02T12:00:00.000Z")


async def test_texts_are_told_only_where_that_is_allowed(data: Path) -> None:
    """With MONITOR_SHOW_PROMPTS a story has them, as far as the log keeps them."""
    await request_logs.write(
        log(data), row(0), row(1, raw_input=None, formatted_input=None, output=None, input_sha256="ab")
    )
    shown = Explorer(data, show_prompts=True)
    kept = (await shown.find(f"job{0:023d}")).story
    hashed = (await shown.find(f"job{1:023d}")).story
    assert kept is not None
    assert hashed is not None
    assert kept.attempts[0].texts is not None
    assert (kept.attempts[0].texts.input, kept.attempts[0].texts.output) == ("what was asked", "an answer")
    assert hashed.attempts[0].texts is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, [("queue", 0, 20), ("prepare", 20, 5), ("slot", 25, 5), ("prefill", 30, 20), ("decode", 50, 65),
              ("finish", 115, 5)]),
        ({"waited_ms": None, "prefill_ms": None, "decode_ms": None},
         [("queue", 0, 20), ("prefill", 20, 30), ("decode", 50, 70)]),
        ({"waited_ms": None, "prefill_ms": None, "decode_ms": None, "orchestration": '{"mode":"debate"}'},
         [("queue", 0, 20), ("steps", 20, 30), ("decode", 50, 70)]),
        ({"waited_ms": None, "prefill_ms": None, "decode_ms": None, "ttft_ms": None},
         [("queue", 0, 20), ("run", 20, 100)]),
        ({"queue_ms": None, "waited_ms": 0.0, "prefill_ms": 30.0, "decode_ms": 70.0},
         [("prefill", 0, 30), ("decode", 30, 70)]),
    ],
)  # fmt: skip
async def test_phases_fill_a_requests_time(
    data: Path, explorer: Explorer, changes: dict[str, object], named: list[tuple[str, float, float]]
) -> None:
    """One after the other, without a gap, as far as the engine measured; together they are queue and run."""
    await request_logs.write(log(data), row(**changes))
    (one,) = (await explorer.search(Query())).requests
    phases = story.phases(one)
    assert [(phase.name, phase.start_ms, phase.ms) for phase in phases] == named
    assert sum(phase.ms for phase in phases) == pytest.approx((one.queue_ms or 0) + one.dur_ms)


# -- summary ---------------------------------------------------------------------------------------------------------


async def test_a_summary_counts_what_ended_in_its_window(data: Path, explorer: Explorer) -> None:
    """Errors and their codes, and the times of those that were answered."""
    await request_logs.write(
        log(data),
        row(-9999, dur_ms=9e9),
        *(row(number, dur_ms=float(number + 1), ttft_ms=1.0) for number in range(100)),
        row(200, status="CANCELLED", dur_ms=9e9, tokens_out=0),
    )
    told = await explorer.summary(Window(since="2026-01-02T12:00:00Z"))
    (one,) = told.models
    assert (one.requests, one.errors, one.statuses) == (101, 1, {"CANCELLED": 1})
    assert (one.dur_ms_p50, one.dur_ms_p95, one.ttft_ms_p50) == (51.0, 96.0, 1.0)
    assert (one.tokens_in, one.tokens_out) == (101 * 12, 100 * 34)
    assert (await explorer.summary(Window(since="2026-01-02T12:30:00Z"))).models[0].requests == 0
    assert percentile([], 0.5) is None


# -- files that are not as they should be ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, max(migrations()) + 1))
async def test_a_log_of_an_older_version_is_read(data: Path, explorer: Explorer, version: int) -> None:
    """What it does not know is absent."""
    old = request_logs.of_version(log(data), version)
    old.execute(
        "INSERT INTO requests (ts, req_id, job_id, worker_id, kind, principal, status, tokens_in, tokens_out, dur_ms,"
        " attempt, stream) VALUES (?, 'old', 'j', 'w', 'inference', 'anonymous', 'ok', 1, 2, 3.0, 1, 1)",
        (NOW,),
    )
    old.commit()
    old.close()
    (one,) = (await explorer.search(Query())).requests
    assert (one.req_id, one.stream, one.adapter, one.tokens_per_s) == ("old", True, None, None)
    assert (one.target, one.cost_usd) == (None, None)
    assert (await explorer.find("old")).story is not None


async def test_what_a_router_did_is_told(data: Path, explorer: Explorer) -> None:
    """Whom it was asked for, who answered, and what that cost: in the search and in the story."""
    routed = {"asked": "auto", "target": "openai:gpt-5-mini", "cost_usd": 0.000123, "cache": "miss", "parent": "p"}
    await request_logs.write(log(data), row(1), row(2, **routed))
    found = await explorer.search(Query())
    told = [msgspec.to_builtins(one) for one in found.requests]
    assert {name: told[0][name] for name in routed} == routed
    assert not routed.keys() & told[1].keys()
    whole = (await explorer.find(f"job{2:023d}")).story
    assert whole is not None
    for said in ("asked    auto", "target   openai:gpt-5-mini", "cost     $0.000123", "cache    miss", "step of  p"):
        assert said in trace.told(whole)


async def test_a_story_has_its_steps(data: Path, explorer: Explorer) -> None:
    """Those that a router had answered by models of this machine, with what each cost; other jobs have none."""
    whole = f"job{1:023d}"
    await request_logs.write(log(data, "router"), row(1, target="local:golek-tiny", cost_usd=0.003))
    await request_logs.write(
        log(data),
        row(2, parent=whole, cost_usd=0.001),
        row(0, parent=whole, status="ENGINE_FAILED"),
        row(3, parent="x"),
    )
    request_logs.of_version(log(data, "old"), 1).close()
    found = (await explorer.find(whole)).story
    assert found is not None
    assert [one.job_id for one in found.steps] == [f"job{0:023d}", f"job{2:023d}"]
    assert f"  job{2:023d}  golek-tiny  ok  100 ms  $0.001" in trace.told(found)
    other = (await explorer.find(f"job{2:023d}")).story
    assert other is not None
    assert other.steps == []


async def test_a_log_of_a_newer_version_is_read_as_far_as_it_is_known(data: Path, explorer: Explorer) -> None:
    """A monitor is not the last thing to be updated."""
    await request_logs.write(log(data), row())
    with sqlite3.connect(log(data)) as newer:
        newer.execute("ALTER TABLE requests ADD COLUMN more TEXT")
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    assert len((await explorer.search(Query())).requests) == 1


async def test_a_broken_log_is_named_and_the_others_are_told(data: Path, explorer: Explorer) -> None:
    """Each file for itself, whatever it is."""
    await request_logs.write(log(data), row())
    log(data, "broken").write_bytes(b"this is no database" * 1000)
    log(data, "empty").write_bytes(b"")
    await request_logs.write(log(data, "torn"), *(row(number, output="x" * 2000) for number in range(200)))
    torn = log(data, "torn").read_bytes()
    log(data, "torn").write_bytes(torn[:16384] + b"\xff" * 65536 + torn[81920:])
    page = await explorer.search(Query())
    problems = {one.model_name: one.problem or "" for one in page.logs}
    assert labels(page.requests) == ["label-0"]
    assert problems["golek-tiny"] == ""
    assert problems["broken"].startswith("the file is broken")
    assert problems["torn"].startswith("the file is broken")
    assert "requests" in problems["empty"]
    assert {one.model_name: bool(one.problem) for one in (await explorer.summary(Window())).models}["broken"]
    assert any(one.problem for one in await explorer.looked())


async def test_a_locked_log_is_named_soon(data: Path, explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds a log for itself keeps nobody waiting for long."""
    monkeypatch.setattr(reading, "BUSY_S", 0.05)
    await request_logs.write(log(data), row())
    await request_logs.write(log(data, "locked"), row())
    holder = sqlite3.connect(log(data, "locked"), isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        page = await explorer.search(Query())
    finally:
        holder.close()
    assert [one.model_name for one in page.requests] == ["golek-tiny"]
    assert [one.problem for one in page.logs][1] == "another process has it locked for longer than 0.05 s"


AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
from golek_monitor.logs.asking import Query
from golek_monitor.logs.explorer import Explorer
search = lambda data: asyncio.run(Explorer(Path(data)).search(Query())).requests
search(sys.argv[1])  # what is imported lies where nobody else may read
os.setgid(65534)
os.setuid(65534)
print([one.status for one in search(sys.argv[2])])
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(("is_open", "status"), [(False, "ok"), (True, "CANCELLED")])
def test_who_may_only_read_reads_the_log(data: Path, is_open: bool, status: str) -> None:
    """A monitor of another user, who can make no file beside the log, whether a worker has it open or not."""
    # Not in tmp_path: pytest's folders are this user's alone.
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        Path(folder).chmod(0o755)
        for one in (data, Path(folder)):
            asyncio.run(request_logs.write(log(one), row()))
        if is_open:
            writer = stack.enter_context(contextlib.closing(sqlite3.connect(log(Path(folder)))))
            writer.execute("UPDATE requests SET status = 'CANCELLED'")
            writer.commit()
        command = [sys.executable, "-c", AS_NOBODY, str(data), folder]
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (said.stdout.strip(), said.returncode) == (f"['{status}']", 0), said.stderr


async def test_a_question_that_takes_too_long_is_given_up(
    data: Path, explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not read says so, with what to do."""
    monkeypatch.setattr(reading, "LONGEST_S", 0.0)
    await request_logs.write(log(data), row())
    (looked,) = (await explorer.search(Query())).logs
    assert (looked.problem or "").endswith("ask for less, by `since` or `model`")


async def test_reading_keeps_no_writer_waiting(data: Path, explorer: Explorer) -> None:
    """A worker writes while its log is read, and what it wrote is found at once."""
    writer = await LogWriter.open(log(data), worker_id="w-1", retention_days=36500)
    for number in range(20):
        writer.record(row(number))
        reads = asyncio.create_task(explorer.search(Query()))
        await writer.flush()
        await reads
        assert len((await explorer.search(Query())).requests) == number + 1
    await writer.close()
    assert (writer.failed, writer.problem) == (0, None)


async def test_a_hundred_thousand_rows_are_searched_by_their_index(data: Path) -> None:
    """By id, label, status and time no row is read that was not found, so that it takes no second."""
    request_logs.many(log(data), 100_000)
    for query in (
        Query(req_id="bel-4242"),
        Query(job_id=f"job{99_999:023d}"),
        Query(errors_only=True, limit=500),
        Query(slower_ms=5000),
        Query(since="3h", status="CANCELLED"),
    ):
        begun = time.process_time()
        assert (await Explorer(data).search(query)).requests
        assert time.process_time() - begun < 1.0
    with sqlite3.connect(log(data)) as opened:
        plan = opened.execute(
            "EXPLAIN QUERY PLAN SELECT id FROM requests WHERE job_id = 'x' OR req_id = 'x' ORDER BY ts DESC, id DESC"
        ).fetchall()
    opened.close()
    assert "COVERING INDEX requests_ts" in str(plan)


def test_a_visit_is_what_the_access_log_writes() -> None:
    """Its keys are those of a line."""
    assert set(HttpVisit.__struct_fields__) <= set(Line.__struct_fields__)


async def test_a_search_for_a_name_finds_what_a_router_was_asked_for_by_it(data: Path, explorer: Explorer) -> None:
    """Aliases have no log of their own; a model in trouble has rows in two."""
    await request_logs.write(log(data, "golek-tiny"), row(0, req_id="own"))
    await request_logs.write(
        log(data, "router"), row(1, req_id="alias", asked="smart"), row(2, req_id="rescued", asked="golek-tiny")
    )
    assert labels((await explorer.search(Query(model="golek-tiny"))).requests) == ["rescued", "own"]
    assert labels((await explorer.search(Query(model="smart"))).requests) == ["alias"]
    assert [one.model_name for one in (await explorer.search(Query(model="smart"))).logs] == ["router"]
