"""What is written down of each request over HTTP."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from golek_client.testing import FakeFleet
from golek_worker.gateway import access
from golek_worker.gateway.access import KEPT, NAME, AccessLog
from golek_worker.gateway.door import Caller, Visit


def visit(number: int, **given: Any) -> Visit:
    return Visit(f"req_{number}", "POST", "/v1/chat/completions", **given)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_line_tells_who_asked_what_and_how_it_ended(tmp_path: Path) -> None:
    """By the key's id; a long path is cut."""
    log = AccessLog(tmp_path / "logs")
    caller = Caller("ann", FakeFleet().client())
    log.told(
        visit(
            1,
            caller=caller,
            model="tiny",
            job_id="j",
            status=200,
            tokens_in=3,
            tokens_out=4,
            bytes_out=99,
            cost_usd=0.5,
        )
    )
    log.told(Visit("req_2", "GET", "/" + 1000 * "x", status=404, code="NOT_FOUND", peer="127.0.0.1"))
    await log.close()
    first, second = lines(log.path)
    assert first.pop("time").endswith("Z")
    assert first.pop("ms") >= 0
    assert first == {
        "key_id": "ann", "method": "POST", "path": "/v1/chat/completions", "status": 200, "model": "tiny",
        "job_id": "j", "tokens_in": 3, "tokens_out": 4, "bytes": 99, "request_id": "req_1", "code": "", "worker": "",
        "peer": "", "cost_usd": 0.5,
    }  # fmt: skip
    assert (second["code"], second["peer"], len(second["path"]), second["key_id"]) == (
        "NOT_FOUND",
        "127.0.0.1",
        256,
        "",
    )


async def test_lines_come_without_a_close(tmp_path: Path) -> None:
    """Soon after the request."""
    log = AccessLog(tmp_path)
    log.told(visit(1))
    async with asyncio.timeout(5):
        while not log.path.exists() or not lines(log.path):
            await asyncio.sleep(0.01)
    await log.close()


async def test_processes_share_a_file_that_is_begun_anew_when_it_is_large(tmp_path: Path) -> None:
    """Two writers, no line lost or broken; older files are kept up to a number."""
    writers = [AccessLog(tmp_path, largest=2000) for _ in range(2)]
    for number in range(60):
        for writer in writers:
            writer.told(visit(number))
        if number % 4 == 3:
            await asyncio.gather(*(writer.close() for writer in writers))
    kept = sorted(tmp_path.glob(f"{NAME}*"))
    assert [path.name for path in kept] == [NAME, *(f"{NAME}.{number}" for number in range(1, KEPT + 1))]
    assert all(path.stat().st_size <= 2000 for path in kept)
    assert all(line["request_id"].startswith("req_") for path in kept for line in lines(path))
    assert [line["request_id"] for line in lines(tmp_path / NAME)][-1] == "req_59"


async def test_a_disk_that_refuses_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    """They are counted."""
    (tmp_path / "logs").write_text("in the way")
    log = AccessLog(tmp_path / "logs")
    log.told(visit(1))
    await log.close()
    assert log.lost == 1


async def test_lines_that_find_no_place_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is slow; in the gateway's log, once."""
    monkeypatch.setattr(access, "WAITING_LIMIT", 1)
    log = AccessLog(tmp_path)
    with structlog.testing.capture_logs() as told:
        for number in range(3):
            log.told(visit(number))
        await log.close()
        await log.close()
    assert [(line["event"], line["lines"]) for line in told] == [("access.lost", 2)]
    assert len(lines(tmp_path / NAME)) == 1
