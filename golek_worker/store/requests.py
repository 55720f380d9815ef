"""What does the log keep of a job, and how is it read back?"""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from golek_worker.store.database import StoreError, open_for_reading
from golek_worker.store.sql import queries

AuditBody = Literal["full", "hash", "none"]


class RequestRow(Struct, frozen=True, kw_only=True):
    """One job as it ended. The order of the fields is the order in `insert_request`."""

    ts: float
    """End of the job, seconds since 1970."""
    req_id: str
    """The caller's label."""
    job_id: str
    kind: str = "inference"
    principal: str = "anonymous"
    status: str = "ok"
    """`ok`, or the error's code as it travelled: `CANCELLED`, `DEADLINE_EXCEEDED`, …"""
    raw_input: str | None = None
    """What the caller sent."""
    formatted_input: str | None = None
    """What the model read, after the template."""
    output: str | None = None
    input_sha256: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    finish_reason: str | None = None
    dur_ms: float = 0.0
    """From the lease to the last token."""
    ttft_ms: float | None = None
    """From the lease to the first token; None when there was none."""
    queue_ms: float | None = None
    """From acceptance to the lease."""
    attempt: int = 1
    stream: bool = False
    seed: int | None = None
    error: str | None = None
    """The error's message."""
    adapter: str | None = None
    """The LoRA adapter that was asked for."""
    texts: int | None = None
    """How many were written in answer; None for a request that could not be read."""
    tokens_cached: int | None = None
    """Of `tokens_in`: found in the KV cache. This and the times are None where the engine did not measure them."""
    waited_ms: float | None = None
    """Inside the engine, for a slot."""
    prefill_ms: float | None = None
    """From the slot to the first token."""
    decode_ms: float | None = None
    """From the first token to the last."""
    trace_id: str | None = None
    """The trace that it belongs to; None without one."""
    asked: str | None = None
    """The model that was asked for; None where it is the log's own."""
    target: str | None = None
    """Who answered; None where no router chose."""
    cost_usd: float | None = None
    """What clouds took for it; None where nothing had a price."""
    cache: str | None = None
    """`hit`, `miss` or `bypass`; None where no cache was asked for."""
    parent: str | None = None
    """The job that it was a step of."""
    costs: str | None = None
    """What clouds took for it, by target, as JSON; `cost_usd` is their sum."""
    step: str | None = None
    """Of a step of several models: what it was for, as `<name>/<round>`."""
    orchestration: str | None = None
    """How several models answered it, as JSON without what they said; None where one did."""


def audited(row: RequestRow, audit: AuditBody) -> RequestRow:
    """`row` as GOLEK_AUDIT_BODY lets it be kept.

    `full`: the texts; `hash`: only the SHA-256 of the input; `none`: neither.
    """
    if audit == "full":
        return row
    digest = None
    if audit == "hash":
        digest = hashlib.sha256((row.raw_input or "").encode("utf-8", "surrogatepass")).hexdigest()
    return msgspec.structs.replace(row, raw_input=None, formatted_input=None, output=None, input_sha256=digest)


def recent_requests(path: Path, limit: int, worker_id: str | None = None) -> list[dict[str, Any]]:
    """The newest rows first, each as column: value. Raises StoreError when there is no log, or no sound one."""
    return _read(path, "recent_requests", limit, worker_id)


def recent_events(path: Path, limit: int, worker_id: str | None = None) -> list[dict[str, Any]]:
    """The newest events first, each as column: value. Raises StoreError when there is no log."""
    return _read(path, "recent_events", limit, worker_id)


def _read(path: Path, query: str, limit: int, worker_id: str | None) -> list[dict[str, Any]]:
    with closing(open_for_reading(path)) as connection:
        try:
            return [dict(row) for row in connection.execute(queries()[query], (limit, worker_id))]
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
