"""Where prompts lie when they were answered: docs/security.md says it, and this greps."""

from pathlib import Path

import pytest

from golek_client import Golek
from tests.support.workers import WorkerProcess

SECRET = "the-answer-is-forty-two"


@pytest.mark.parametrize(("audit", "kept"), [("full", True), ("hash", False), ("none", False)])
async def test_the_audit_switch_rules_all_that_a_worker_writes(
    nats_server: str, tmp_path: Path, audit: str, kept: bool
) -> None:
    """Answered, refused and cut off: with `hash` and `none` no file of the worker holds a word of it."""
    with WorkerProcess(nats_server, tmp_path / "data", GOLEK_AUDIT_BODY=audit, GOLEK_LOG_LEVEL="debug") as worker:
        async with Golek(nats_server, deadline=5) as golek:
            assert (await golek.ask("echo", SECRET)).text == SECRET
            async for _ in golek.stream("echo", f"{SECRET} {SECRET} again"):
                break
        worker.end()
    found = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert bool(found) is kept
    assert {path.suffix for path in found} <= {".sqlite", ".sqlite-wal"}  # and no log
