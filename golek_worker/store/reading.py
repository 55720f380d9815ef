"""What does `make logs` print?"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from golek_wire.keys import dollars, micros
from golek_worker.store.requests import recent_events, recent_requests

TEXT_WIDTH = 60


def request_lines(log: Path, limit: int, worker_id: str | None = None) -> list[str]:
    """The newest requests, oldest first, two lines each. Raises StoreError when there is no log."""
    rows = reversed(recent_requests(log, limit, worker_id))
    return [line for row in rows for line in _request(row)]


def event_lines(log: Path, limit: int, worker_id: str | None = None) -> list[str]:
    """The newest events, oldest first. Raises StoreError when there is no log."""
    rows = reversed(recent_events(log, limit, worker_id))
    return [f"{_time(row)}  {row['worker_id']}  {row['level']:<7}  {row['code']}  {row['msg']}" for row in rows]


def _request(row: dict[str, Any]) -> list[str]:
    tokens = f"{row['tokens_in']}+{row['tokens_out']} tokens"
    took = f"{row['dur_ms']:.0f} ms  {tokens}{_route(row)}"
    head = f"{_time(row)}  {row['worker_id']}  {row['status']}  {took}  {row['req_id']}"
    asked = row["raw_input"] if row["raw_input"] is not None else row["input_sha256"]
    answered = row["error"] or row["output"]
    return [head.rstrip(), f"    {_short(asked)} -> {_short(answered)}"]


def _route(row: dict[str, Any]) -> str:
    """Of what it was a step, who answered or how several did, and what that cost, where the log says it: an older one
    has no such columns.
    """
    target, cost, step = row.get("target"), row.get("cost_usd"), row.get("step")
    how = row.get("orchestration")
    said = [
        f"  step {step}" if step else "",
        f"  {json.loads(how).get('mode', '')}" if how else "",
        f"  by {target}" if target else "",
        "" if cost is None else f"  {dollars(micros(cost))}",
    ]
    return "".join(said)


def _time(row: dict[str, Any]) -> str:
    return datetime.fromtimestamp(row["ts"], UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _short(text: str | None) -> str:
    """One line of at most `TEXT_WIDTH` characters."""
    line = " ".join((text or "-").split())
    return line if len(line) <= TEXT_WIDTH else line[: TEXT_WIDTH - 1] + "…"
