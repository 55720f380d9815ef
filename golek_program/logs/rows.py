"""Which rows of one request log are asked for, and what is told of them?"""

from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from golek_program.logs import reading
from golek_wire import moments
from golek_wire.logs import LogEvent, LoggedRequest, LogQuery

AROUND_S: Final = 5.0
"""What happened to a worker so long before a request and after it is told with it."""
MOST_EVENTS: Final = 200
MOST_STEPS: Final = 200
SHORTEST_BEGIN: Final = 4
"""Fewer characters of an id are no beginning of one."""
_FIRST: Final = -1e18
_LAST: Final = 1e18
_ANY_ROW: Final = 2**62


class Row(Struct, frozen=True):
    """A row of a log."""

    ts: float
    """When it ended, in seconds since 1970."""
    request: LoggedRequest

    @property
    def place(self) -> tuple[float, str, int]:
        """Orders the rows of all logs."""
        return self.ts, self.request.log, self.request.row

    @property
    def accepted_at(self) -> float:
        """The end less all the time that is known of, in seconds since 1970."""
        return self.ts - ((self.request.queue_ms or 0.0) + self.request.dur_ms) / 1000


def search(
    path: Path, model: str, name: str, query: LogQuery, until: float, *, limit: int = 0, asked: str = ""
) -> list[Row]:
    """What `query` asks for, the newest first: `limit` rows, or as many as it says itself. `name` is the log's; with
    `asked` those that were asked for by this name, which a router's log has.

    Raises LogProblemError, also when it is not done by `until` on the monotonic clock.
    """
    most = limit or query.limit
    with reading.opened(path, until) as connection:
        if not query.id:
            found = reading.ask(connection, "search", _values(query, name) | {"limit": most, "asked": asked or None})
        else:
            found = reading.ask(connection, "by_id", {"id": query.id, "limit": most})
            if not found and len(query.id) >= SHORTEST_BEGIN:
                found = reading.ask(connection, "by_begin", {"id": query.id, "limit": most})
    return [Row(one["ts"], _logged(model, name, dict(one))) for one in found]


def events(path: Path, rows: list[Row], until: float) -> list[LogEvent]:
    """What happened to the workers of this log around `rows`, oldest first. Raises as `search` does.

    Of all of them: one that died had the job before, and has no row of it.
    """
    if not rows:
        return []
    span = {
        "since": min(row.accepted_at for row in rows) - AROUND_S, "until": max(row.ts for row in rows) + AROUND_S,
        "limit": MOST_EVENTS,
    }  # fmt: skip
    with reading.opened(path, until) as connection:
        found = reading.ask(connection, "events", span)
    return [LogEvent(one["ts"], one["worker_id"], one["level"], one["code"], one["msg"]) for one in found]


def steps(path: Path, model: str, name: str, found: list[Row], until: float) -> list[Row]:
    """The steps of the job whose rows were `found`, oldest first. Raises as `search` does."""
    about = {
        "id": found[0].request.job_id, "since": min(row.accepted_at for row in found) - AROUND_S,
        "until": max(row.ts for row in found) + AROUND_S, "limit": MOST_STEPS,
    }  # fmt: skip
    with reading.opened(path, until) as connection:
        read = reading.ask(connection, "steps", about)
    return [Row(one["ts"], _logged(model, name, dict(one))) for one in read]


def stamp(epoch_s: float) -> str:
    """A row's moment as it is told."""
    try:
        return moments.stamp(epoch_s)
    except (ValueError, OverflowError, OSError):  # a row that nobody of ours wrote
        return moments.stamp(0.0)


def _values(query: LogQuery, name: str) -> dict[str, Any]:
    """The parameters of `search`."""
    return {
        "since": _FIRST if query.since is None else query.since,
        "until": _LAST if query.until is None else query.until,
        "job_id": query.job_id or None,
        "req_id": query.req_id or None,
        "status": query.status or None,
        "errors_only": query.errors_only,
        "slower_ms": query.slower_ms,
        "worker_id": query.worker_id or None,
        "kind": query.kind or None,
        "principal": query.principal or None,
        **_before(query, name),
    }


def _before(query: LogQuery, name: str) -> dict[str, Any]:
    """Where this log's rows go on: rows of one moment are in the order of their logs' names."""
    if query.before_ts is None:
        return {"before_ts": _LAST, "before_id": _ANY_ROW}
    row = query.before_row if name == query.before_log else _ANY_ROW if name < query.before_log else -1
    return {"before_ts": query.before_ts, "before_id": row}


def _logged(model: str, log: str, row: dict[str, Any]) -> LoggedRequest:
    kept = {name: value for name, value in row.items() if name not in ("id", "ts", "stream")}
    kept["tokens_per_s"] = None if row["tokens_per_s"] is None else round(row["tokens_per_s"], 2)
    return LoggedRequest(
        model_name=model, log=log, row=row["id"], timestamp=stamp(row["ts"]), stream=bool(row["stream"]), **kept
    )
