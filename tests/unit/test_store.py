"""The request log: written without anybody waiting, read with the lines of the manual."""

import asyncio
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from golek_worker.store import writer as writer_module
from golek_worker.store.database import NewerLogError, StoreError, open_for_reading, open_for_writing
from golek_worker.store.reading import event_lines, request_lines
from golek_worker.store.requests import RequestRow, audited, recent_events, recent_requests
from golek_worker.store.sql import migrations, queries
from golek_worker.store.writer import LogWriter

PUBLISHED_QUERIES = [
    """SELECT req_id, worker_id, raw_input, formatted_input, dur_ms, status, datetime(ts, 'unixepoch') as time
       FROM requests ORDER BY ts DESC LIMIT 5""",
    "SELECT worker_id, COUNT(*) as request_count, AVG(dur_ms) as avg_latency FROM requests GROUP BY worker_id",
    "SELECT datetime(ts, 'unixepoch') as time, dur_ms, tokens_out FROM requests ORDER BY ts DESC LIMIT 20",
    "SELECT datetime(ts, 'unixepoch') as time, level, code, msg FROM events ORDER BY ts DESC LIMIT 10",
    "SELECT principal, target, COUNT(*), SUM(cost_usd) FROM requests WHERE cost_usd > 0 GROUP BY 1, 2",
]


COLUMNS = re.compile(r"^\| column of `requests`.*?(?=\n\n)", re.DOTALL | re.MULTILINE)


def test_the_manual_has_every_column() -> None:
    """The tables of docs/commands.md name what a new log has, and nothing else."""
    manual = Path("docs/commands.md").read_text("utf-8")
    table = COLUMNS.search(manual)
    events = re.search(r"`events` has (.*?)\.\n", manual)
    assert table is not None
    assert events is not None
    named = [name for line in table[0].splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    with sqlite3.connect(":memory:") as log:
        for statements in migrations().values():
            for statement in statements:
                log.execute(statement)
        kept = {name: {row[1] for row in log.execute(f"PRAGMA table_xinfo({name})")} for name in ("requests", "events")}
    assert sorted(named) == sorted({"requests"} | kept["requests"])
    assert set(re.findall(r"`(\w+)`", events[1])) == kept["events"]


def test_each_version_of_a_log_has_one_migration() -> None:
    """Two files of one number, as two branches bring them along, would leave one out."""
    files = sorted(file.name for file in Path("golek_worker/store/sql").glob("0*.sql"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1)) == list(migrations())


def a_row(number: int = 0, **changes: object) -> RequestRow:
    row = RequestRow(
        ts=time.time() + number / 1000,
        req_id=f"r{number}",
        job_id="k" * 26,
        raw_input='a "quoted" line\n',
        formatted_input="<user>a\x00b",
        output="ja, grüße 🙂",
        tokens_in=3,
        tokens_out=4,
        finish_reason="stop",
        dur_ms=1.5,
        ttft_ms=0.5,
        seed=2**32 - 2,
    )
    return msgspec.structs.replace(row, **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "m.sqlite"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[LogWriter]:
    opened = await LogWriter.open(path, worker_id="w-1", retention_days=30)
    yield opened
    await opened.close()


async def until(condition: object, limit_s: float = 5.0) -> None:
    """Wait for what another task or thread does."""
    assert callable(condition)
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


async def pragma(log: LogWriter, setting: str) -> None:
    """Set something of the open connection."""
    assert log._file._connection is not None
    await log._file._connection.execute_fetchall(f"PRAGMA {setting}")


def as_they_happened(path: Path) -> list[str]:
    """The codes of all events, oldest first."""
    return [row["code"] for row in reversed(recent_events(path, 99))]


async def test_a_row_comes_back_as_it_was_written(log: LogWriter, path: Path) -> None:
    """Every field of RequestRow reaches the column of its name, whatever characters are in it."""
    values = dict(zip(RequestRow.__struct_fields__, range(100, 200), strict=False))
    texts = ("req_id", "job_id", "kind", "principal", "status", "raw_input", "formatted_input", "output", "error")
    texts += ("input_sha256", "finish_reason", "adapter", "trace_id", "asked", "target", "cache", "parent", "costs")
    texts += ("step", "orchestration")
    marked = RequestRow(**{name: f"t{value}" if name in texts else value for name, value in values.items()})  # type: ignore[arg-type]
    log.record(marked)
    log.record(a_row(1))
    await log.flush()
    rows = recent_requests(path, 5)
    written = next(row for row in rows if row["req_id"] == "t101")
    assert {name: written[name] for name in values} == {name: getattr(marked, name) for name in values}
    row = next(row for row in rows if row["req_id"] == "r1")
    assert row["raw_input"] == 'a "quoted" line\n'
    assert row["output"] == "ja, grüße 🙂"
    assert (row["worker_id"], row["status"], row["stream"], row["error"]) == ("w-1", "ok", 0, None)


async def test_the_manuals_queries_run(log: LogWriter, path: Path) -> None:
    """The sqlite3 lines that users know run unchanged and find the rows."""
    log.record(a_row(target="openai:gpt-5-mini", cost_usd=0.1))
    log.event("info", "startup", "hello")
    await log.flush()
    with open_for_reading(path) as connection:
        for query in PUBLISHED_QUERIES:
            assert len(connection.execute(query).fetchall()) == 1, query
    connection.close()


async def test_rows_are_written_without_a_flush(log: LogWriter, path: Path) -> None:
    """The task writes by itself within moments."""
    log.record(a_row())
    log.event("info", "server.ready", "x")
    await until(lambda: recent_requests(path, 1) and recent_events(path, 1))


async def test_close_writes_what_is_queued(path: Path) -> None:
    """Nothing recorded before close is lost; afterwards rows are counted as dropped."""
    log = await LogWriter.open(path, worker_id="w", retention_days=1)
    for number in range(2500):
        log.record(a_row(number))
    await log.close()
    log.record(a_row())
    await log.close()
    assert len(recent_requests(path, 5000)) == 2500
    assert log.dropped == 1


async def test_a_full_queue_drops_and_counts(log: LogWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """`record` returns at once even then."""
    monkeypatch.setattr(writer_module, "QUEUE_ROWS", 10)
    for number in range(25):
        log.record(a_row(number))
    assert log.dropped == 15


async def test_queued_text_is_bounded_too(log: LogWriter, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large bodies cannot fill the memory, and room comes back when they are written."""
    monkeypatch.setattr(writer_module, "QUEUE_CHARS", 6000)
    for number in range(4):
        log.record(a_row(number, output="x" * 2000))
    assert log.dropped == 2
    await log.flush()
    log.record(a_row(9, output="x" * 2000))
    await log.flush()
    assert log.dropped == 2
    assert len(recent_requests(path, 9)) == 3


async def test_a_locked_log_is_survived(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the log, writes fail, are counted and told; afterwards no row is missing."""
    monkeypatch.setattr("golek_worker.store.database.BUSY_S", 0.05)
    monkeypatch.setattr(writer_module, "RETRY_S", 0.05)
    log = await LogWriter.open(path, worker_id="w", retention_days=1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(5):
        log.record(a_row(number))
    await until(lambda: log.failed >= 2)
    assert log.problem is not None
    assert "locked" in log.problem
    log.event("info", "still.here", "x")
    other.execute("ROLLBACK")
    other.close()
    await until(lambda: len(recent_requests(path, 9)) == 5)
    await log.flush()
    assert log.problem is None
    assert log.dropped == 0
    await log.close()


async def test_how_far_the_log_is_behind_is_known(log: LogWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The age of the oldest row that waits, also while it is being written; None once all are in the file."""
    seen: list[float | None] = []
    insert = log._file.insert

    async def looked_at(query: str, rows: Sequence[tuple[object, ...]]) -> None:
        seen.append(log.lag_s)
        await insert(query, rows)

    await log.flush()
    assert log.lag_s is None
    monkeypatch.setattr(log._file, "insert", looked_at)
    now = time.time()
    log.record(a_row(ts=now - 40))
    log.record(a_row(ts=now - 5))
    assert log.lag_s == pytest.approx(40, abs=1)
    await log.flush()
    assert seen == [pytest.approx(40, abs=1)]
    assert log.lag_s is None


async def test_a_full_disk_is_survived(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that cannot grow refuses rows; once it can, they are written. Close never raises."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.05)
    log = await LogWriter.open(path, worker_id="w", retention_days=1)
    await pragma(log, "max_page_count = 10")
    log.record(a_row(output="x" * 100_000))
    await until(lambda: log.failed >= 1)
    assert log.problem is not None
    assert "full" in log.problem
    await pragma(log, "max_page_count = 100000")
    await until(lambda: len(recent_requests(path, 9)) == 1)
    await pragma(log, "max_page_count = 10")
    log.record(a_row(output="x" * 200_000))
    await log.close()
    assert log.dropped == 1


async def test_a_row_that_cannot_be_stored_hurts_only_itself(log: LogWriter, path: Path) -> None:
    """Half a surrogate pair is no UTF-8; its row is dropped and the others stay."""
    log.record(a_row(1))
    log.record(a_row(2, output="\ud800"))
    log.record(a_row(3))
    await log.flush()
    assert [row["req_id"] for row in recent_requests(path, 9)] == ["r3", "r1"]
    assert log.dropped == 1


async def test_old_rows_are_deleted_at_open(path: Path) -> None:
    """Rows and events past the retention go, in pieces; the others stay."""
    log = await LogWriter.open(path, worker_id="w", retention_days=30)
    for number in range(4500):
        log.record(a_row(number, ts=time.time() - 40 * 86400))
    log.record(a_row(1))
    await log.close()
    log = await LogWriter.open(path, worker_id="w", retention_days=30)
    await until(lambda: len(recent_requests(path, 9)) == 1)
    await log.close()


async def test_replicas_may_open_a_new_log_at_once(path: Path) -> None:
    """One migrates, the others wait; all write."""
    logs = await asyncio.gather(*(LogWriter.open(path, worker_id=f"w{n}", retention_days=1) for n in range(6)))
    for log in logs:
        log.record(a_row())
    await asyncio.gather(*(log.flush() for log in logs))
    assert len(recent_requests(path, 9)) == 6
    assert [row["worker_id"] for row in recent_requests(path, 9, "w3")] == ["w3"]
    await asyncio.gather(*(log.close() for log in logs))


async def test_a_log_of_an_older_version_takes_new_rows(path: Path) -> None:
    """Its rows stay and have no figures; new ones have the speed of their texts, where it was measured."""
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        for statement in migrations()[1]:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO requests (ts, req_id, job_id, worker_id, kind, principal, status, tokens_in, tokens_out,"
            " dur_ms, attempt, stream) VALUES (1, 'old', 'j', 'w', 'inference', 'anonymous', 'ok', 1, 9, 5.0, 1, 0)"
        )
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    log = await LogWriter.open(path, worker_id="w", retention_days=99999)
    log.record(a_row(1, texts=2, tokens_out=22, decode_ms=100.0, adapter="pirate", tokens_cached=2))
    log.record(a_row(2))
    await log.close()
    speeds = {row["req_id"]: (row["tokens_per_s"], row["adapter"]) for row in recent_requests(path, 9)}
    assert speeds == {"old": (None, None), "r1": (200.0, "pirate"), "r2": (None, None)}


async def test_a_log_of_a_newer_version_is_refused(path: Path) -> None:
    """A file that this version does not understand stays untouched."""
    await (await open_for_writing(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opening in (open_for_writing(path), LogWriter.open(path, worker_id="w", retention_days=1)):
        with pytest.raises(NewerLogError, match=r"m\.sqlite: written by a newer Golek \(version 99"):
            await opening


async def test_a_corrupt_log_is_set_aside_at_open(path: Path) -> None:
    """What is no database is kept under another name, a new log begins, and an event says so."""
    path.parent.mkdir()
    text = "no database, but text that is long enough to be read as one" * 20
    path.write_text(text)
    with pytest.raises(StoreError, match=r"m\.sqlite: file is not a database"):
        recent_requests(path, 1)
    log = await LogWriter.open(path, worker_id="w", retention_days=1)
    assert log.problem is None
    log.record(a_row(1))
    await log.close()
    (kept,) = path.parent.glob("m.sqlite.corrupt-*")
    assert kept.read_text() == text
    assert [row["req_id"] for row in recent_requests(path, 9)] == ["r1"]
    (event,) = recent_events(path, 9)
    assert (event["level"], event["code"]) == ("error", "log.set_aside")
    assert kept.name in event["msg"]
    with pytest.raises(StoreError, match="no such file"):
        open_for_reading(path.parent / "other.sqlite")


async def test_replicas_set_a_corrupt_log_aside_once(path: Path) -> None:
    """The one that comes second finds the new log and leaves it where it is."""
    path.parent.mkdir()
    path.write_bytes(b"rubbish" * 1000)
    logs = await asyncio.gather(*(LogWriter.open(path, worker_id=f"w{n}", retention_days=1) for n in range(4)))
    for log in logs:
        log.record(a_row())
    await asyncio.gather(*(log.close() for log in logs))
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1
    assert len(recent_requests(path, 9)) == 4


async def test_a_log_that_becomes_corrupt_is_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages overwritten under two writers: one sets the file aside, and both go on in the new one."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.05)
    monkeypatch.setattr("golek_worker.store.logfile.LOOK_S", 0.05)
    logs = [await LogWriter.open(path, worker_id=f"w{n}", retention_days=1) for n in range(2)]
    for number in range(50):
        logs[0].record(a_row(number, output="x" * 2000))
    await logs[0].flush()
    await pragma(logs[0], "wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(0)
        file.write(b"\xa5" * size)
    for log in logs:
        await pragma(log, "shrink_memory")  # what SQLite remembers of the pages would hide it for a while
    logs[0].record(a_row(1000))
    await until(lambda: list(path.parent.glob("m.sqlite.corrupt-*")) and path.exists())
    await asyncio.sleep(0.06)  # LOOK_S
    for log in logs:
        log.record(a_row(2000))
    await until(lambda: {row["worker_id"] for row in recent_requests(path, 9)} == {"w0", "w1"})
    for log in logs:
        await log.close()
    assert as_they_happened(path).count("log.set_aside") == 1
    assert [log.dropped for log in logs] == [0, 0]


async def test_a_log_that_was_removed_is_begun_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who deletes the file gets a new one with the rows that follow."""
    monkeypatch.setattr("golek_worker.store.logfile.LOOK_S", 0.0)
    log = await LogWriter.open(path, worker_id="w", retention_days=1)
    log.record(a_row(1))
    await log.flush()
    path.unlink()
    log.record(a_row(2))
    await log.flush()
    await log.flush()
    assert [row["req_id"] for row in recent_requests(path, 9)] == ["r2"]
    assert as_they_happened(path) == ["log.moved"]
    await log.close()


async def test_a_log_that_cannot_be_made_stops_no_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder to write in there is a problem, told once; with one, all rows that waited."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.05)
    path.parent.write_text("where the folder should be")
    log = await LogWriter.open(path, worker_id="w", retention_days=1)
    log.record(a_row(1))
    await until(lambda: log.failed >= 3)
    assert log.problem is not None
    assert str(path.parent) in log.problem
    path.parent.unlink()
    await until(lambda: log.problem is None)
    await log.flush()
    assert [row["req_id"] for row in recent_requests(path, 9)] == ["r1"]
    assert as_they_happened(path) == ["log.failed", "log.recovered"]
    assert log.dropped == 0
    await log.close()


async def test_a_locked_log_delays_no_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has the file for itself; the log is opened when it is given back."""
    monkeypatch.setattr(writer_module, "OPEN_S", 0.1)
    monkeypatch.setattr(writer_module, "RETRY_S", 0.05)
    path.parent.mkdir()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE mine (x)")
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    log = await LogWriter.open(path, worker_id="w", retention_days=1)
    assert time.monotonic() - began < 1
    assert "not open after 0.1 s" in (log.problem or "")
    log.record(a_row(1))
    other.execute("ROLLBACK")
    other.close()
    await until(lambda: log.problem is None)
    await log.close()
    assert [row["req_id"] for row in recent_requests(path, 9)] == ["r1"]


def test_audit_decides_what_is_kept() -> None:
    """full keeps all, hash the digest of the input, none neither."""
    row = a_row(raw_input="hello")
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    full, hashed, none = audited(row, "full"), audited(row, "hash"), audited(row, "none")
    assert full == row
    assert (hashed.raw_input, hashed.formatted_input, hashed.output, hashed.input_sha256) == (None, None, None, digest)
    assert (none.raw_input, none.formatted_input, none.output, none.input_sha256) == (None, None, None, None)
    assert none.tokens_in == row.tokens_in


def test_statements_agree_with_the_row() -> None:
    """The columns of insert_request are the fields of RequestRow, in order."""
    columns = re.search(r"requests \(\s*worker_id,(.*?)\)", queries()["insert_request"], re.DOTALL)
    assert columns is not None
    assert tuple(columns[1].replace(",", " ").split()) == RequestRow.__struct_fields__
    assert list(migrations()) == list(range(1, len(migrations()) + 1))


async def test_logs_are_printed_oldest_first(log: LogWriter, path: Path) -> None:
    """`make logs` ends with the newest row, each with its question and answer in one line."""
    log.record(a_row(1))
    log.record(a_row(2, raw_input="word " * 50, output=None, status="CANCELLED", error="The request was cancelled."))
    log.record(a_row(3, target="openai:gpt-5-mini", cost_usd=0.000034075))
    log.record(a_row(4, step="answer/1"))
    log.record(a_row(5, orchestration='{"mode": "debate", "rounds": 2}'))
    log.event("info", "model.loaded", "in 3 s")
    await log.flush()
    lines = request_lines(path, 5)
    assert "  w-1  ok  2 ms  3+4 tokens  r1" in lines[0]
    assert lines[1] == '    a "quoted" line -> ja, grüße 🙂'
    assert "CANCELLED" in lines[2]
    assert lines[3].endswith("… -> The request was cancelled.")
    assert "  3+4 tokens  by openai:gpt-5-mini  $0.000035  r3" in lines[4]
    assert "  step answer/1  r4" in lines[6]
    assert "  debate  r5" in lines[8]
    assert event_lines(path, 5)[0].endswith("w-1  info     model.loaded  in 3 s")
