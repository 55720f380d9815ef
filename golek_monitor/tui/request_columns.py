"""What does a worker's page show of the requests that it answered?"""

from typing import Final

from golek_monitor.tui import words
from golek_monitor.tui.columns import Column
from golek_monitor.tui.words import Cell, said
from golek_wire.logs import LoggedRequest


def _outcome(one: LoggedRequest) -> Cell:
    return said("✓ ok", "good") if one.status == "ok" else said(f"✕ {one.status}", "bad")


REQUESTS: Final[tuple[Column[LoggedRequest], ...]] = (
    Column(
        key="ended", title="Ended", width=8, rank=1, falls=True, order=lambda one: one.timestamp,
        cell=lambda one: said(words.clock(one.timestamp), "dim"),
    ),
    Column(key="status", title="Outcome", width=12, most=22, rank=2, cell=_outcome, order=lambda one: one.status),
    Column(
        key="job", title="Job", width=26, rank=0, order=lambda one: one.job_id, cell=lambda one: said(one.job_id),
    ),
    Column(
        key="took", title="Took", width=6, rank=3, right=True, falls=True, order=lambda one: one.dur_ms,
        cell=lambda one: said(words.millis(one.dur_ms)),
    ),
    Column(
        key="ttft", title="TTFT", width=6, rank=4, right=True, falls=True, order=lambda one: one.ttft_ms,
        cell=lambda one: said(words.millis(one.ttft_ms)),
    ),
    Column(
        key="out", title="Out", width=5, rank=5, right=True, falls=True, order=lambda one: one.tokens_out,
        cell=lambda one: said(words.count(one.tokens_out)),
    ),
    Column(
        key="queued", title="Queued", width=6, rank=6, right=True, falls=True, order=lambda one: one.queue_ms,
        cell=lambda one: said(words.millis(one.queue_ms)),
    ),
    Column(
        key="in", title="In", width=5, rank=7, right=True, falls=True, order=lambda one: one.tokens_in,
        cell=lambda one: said(words.count(one.tokens_in)),
    ),
    Column(
        key="try", title="Try", width=3, rank=8, right=True, falls=True, order=lambda one: one.attempt,
        cell=lambda one: said(str(one.attempt), "warn" if one.attempt > 1 else "dim"),
    ),
    Column(
        key="who", title="Who", width=10, most=20, rank=9, order=lambda one: one.principal,
        cell=lambda one: said(one.principal),
    ),
    Column(
        key="req", title="Request", width=12, most=40, rank=10, order=lambda one: one.req_id,
        cell=lambda one: said(one.req_id),
    ),
)  # fmt: skip
