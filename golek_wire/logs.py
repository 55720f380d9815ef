"""What is asked of a worker's request log, and what does it answer?

`models.<model>.log`: every replica answers from the file that it writes, which the replicas of its machine share. Never
texts: what callers asked and were answered stays on its machine.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct, field

MOST: Final = 101
"""Requests of one answer: a page of 100, and whether there are more."""
Text = Annotated[str, Meta(max_length=256)]


class LogQuery(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which requests: each field that is given narrows it. The newest come first."""

    id: Text = ""
    """Only this job id or label, else those that begin so; with what befell the workers meanwhile."""
    worker_id: Text = ""
    status: Text = ""
    kind: Text = ""
    principal: Text = ""
    req_id: Text = ""
    """Labels that have this in them, in capitals or not."""
    job_id: Text = ""
    errors_only: bool = False
    slower_ms: Annotated[float, Meta(ge=0)] | None = None
    since: float | None = None
    """Ended then or later, in seconds since 1970."""
    until: float | None = None
    before_ts: float | None = None
    """Ended before then: where the last page ended; at the same moment …"""
    before_row: int = 0
    """… with a lower number …"""
    before_log: Text = ""
    """… in the log of this name, or in one whose name comes before."""
    limit: Annotated[int, Meta(ge=1, le=MOST)] = MOST


class LoggedRequest(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A job as it ended: a row of a request log."""

    model_name: str
    log: str
    """The log that has it, below the folder of logs."""
    row: int
    """Its number there."""
    timestamp: str
    """When it ended."""
    req_id: str
    """The caller's label, not unique."""
    job_id: str
    worker_id: str
    kind: str
    principal: str
    """Who asked."""
    status: str
    """`ok`, or the error's code: `CANCELLED`, `DEADLINE_EXCEEDED`, …"""
    dur_ms: float
    """From the lease to the last token."""
    tokens_in: int = field(default_factory=int)
    tokens_out: int = field(default_factory=int)
    tokens_cached: int | None = None
    """Of those read: found in the KV cache."""
    tokens_per_s: float | None = None
    queue_ms: float | None = None
    """From acceptance to the lease."""
    ttft_ms: float | None = None
    """From the lease to the first token."""
    waited_ms: float | None = None
    """Inside the engine, for a slot."""
    prefill_ms: float | None = None
    """From the slot to the first token."""
    decode_ms: float | None = None
    """From the first token to the last."""
    attempt: int = field(default_factory=lambda: 1)
    """Which delivery of the job this was."""
    stream: bool = field(default_factory=bool)
    seed: int | None = None
    finish_reason: str | None = None
    adapter: str | None = None
    texts: int | None = None
    """How many were written."""
    error: str | None = None
    """The error's message."""
    trace_id: str | None = None
    """Of its OpenTelemetry trace."""
    asked: str | None = None
    """The model that was asked for, where it is another name than this log's: of a router."""
    target: str | None = None
    """Who answered, where a router chose: `local:<model>` or `<provider>:<model>`."""
    cost_usd: float | None = None
    """What clouds took for it, for all its steps."""
    cache: str | None = None
    """`hit`, `miss` or `bypass`, where a cache was asked for."""
    parent: str | None = None
    """The job that it was a step of."""
    step: str | None = None
    """Of a step of several models: what it was for, as `<name>/<round>`."""
    mode: str | None = None
    """How several models answered it; absent where one did."""
    rounds: int | None = None
    """Of a critique or a debate."""
    agreement: float | None = None
    """Of their last answers, where it was measured."""
    input_chars: int | None = None
    """Characters that the caller sent; absent where the log keeps no texts. So are the next two."""
    prompt_chars: int | None = None
    """Characters that the model read, after the template."""
    output_chars: int | None = None
    input_sha256: str | None = None


class LogEvent(Struct, frozen=True):
    """Something that happened to a worker: a row of its log."""

    ts: float
    """Seconds since 1970."""
    worker_id: str
    level: str
    code: str
    message: str


class LogReport(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the log of a replica says."""

    model_name: str
    worker_id: str
    """Who answers; the rows are those of all replicas that write this file."""
    machine: str
    log: str
    """The file, on that machine."""
    problem: str | None = None
    """Why it could not be read."""
    requests: list[LoggedRequest] = field(default_factory=list[LoggedRequest])
    moments: list[float] = field(default_factory=list[float])
    """When each of them ended, to the last digit."""
    events: list[LogEvent] = field(default_factory=list[LogEvent])
