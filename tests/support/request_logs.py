"""Request logs as workers write them, for those who read them."""

import sqlite3
import time
from pathlib import Path

import msgspec

from golek_worker.store.requests import RequestRow
from golek_worker.store.sql import migrations, queries
from golek_worker.store.writer import LogWriter

JOB = "k" * 26


def row(number: int = 0, **changes: object) -> RequestRow:
    """An answered request; a higher number ended later."""
    made = RequestRow(
        ts=1_767_355_200.0 + number,
        req_id=f"label-{number}",
        job_id=f"job{number:023d}",
        raw_input="what was asked",
        formatted_input="<user>what was asked",
        output="an answer",
        tokens_in=12,
        tokens_out=34,
        finish_reason="stop",
        dur_ms=100.0,
        ttft_ms=30.0,
        queue_ms=20.0,
        waited_ms=5.0,
        prefill_ms=20.0,
        decode_ms=65.0,
        texts=1,
        seed=7,
    )
    return msgspec.structs.replace(made, **changes)


async def write(path: Path, *rows: RequestRow, worker_id: str = "w-1", events: tuple[str, ...] = ()) -> None:
    """A log with these rows, by the worker's own writer, which has closed it."""
    writer = await LogWriter.open(path, worker_id=worker_id, retention_days=36500)
    for one in rows:
        writer.record(one)
    for code in events:
        writer.event("warning", code, f"said of {code}")
    await writer.close()
    assert (writer.problem, writer.dropped) == (None, 0)


def of_version(path: Path, version: int) -> sqlite3.Connection:
    """An empty log as an older worker made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = sqlite3.connect(path)
    for number, statements in migrations().items():
        if number <= version:
            for statement in statements:
                log.execute(statement)
    log.execute(f"PRAGMA user_version = {version:d}")
    log.commit()
    return log


def many(path: Path, count: int) -> None:
    """A log with so many requests of the last days; one in a thousand failed, one in ten thousand was slow."""
    begin = time.time() - count
    with of_version(path, max(migrations())) as log:
        log.executemany(
            queries()["insert_request"],
            (
                (
                    "w-1",
                    *msgspec.structs.astuple(
                        row(
                            number,
                            ts=begin + number,
                            status="ok" if number % 1000 else "CANCELLED",
                            dur_ms=9000.0 if number % 10_000 == 5 else 100.0,
                        )
                    ),
                )
                for number in range(count)
            ),
        )
    log.close()
