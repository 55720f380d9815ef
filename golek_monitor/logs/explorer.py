"""What do all request logs of this machine say together?

Each question is answered in a thread, from the files as they are then: nothing is kept open and nothing is remembered.
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from golek_monitor.logs import access, files, reading, story
from golek_monitor.logs.asking import MOST, Place, Query, Window, moment
from golek_monitor.logs.files import Found
from golek_monitor.logs.reading import LogProblemError
from golek_monitor.logs.records import (
    FoundRequests,
    LogFile,
    LoggedRequest,
    LogSummary,
    ModelSummary,
    Stories,
    Story,
    Texts,
    WorkerEvent,
)

AROUND_S: Final = 5.0
"""What happened to a worker so long before a request and after it is told with it."""
MOST_EVENTS: Final = 200
MOST_FIGURES: Final = 200_000
"""Requests of one model that a summary counts, the newest."""
AT_ONCE: Final = 2
"""Questions that are read for; others wait."""
SHORTEST_BEGIN: Final = 4
"""Fewer characters of an id are no beginning of one."""
_FIRST: Final = -1e18
_LAST: Final = 1e18
_ANY_ROW: Final = 2**62


class _Hit(Struct, frozen=True):
    """A row of a log."""

    ts: float
    log: Found
    request: LoggedRequest

    @property
    def place(self) -> tuple[float, str, int]:
        return self.ts, self.log.name, self.request.row


class Explorer:
    """Reads the request logs of one machine."""

    def __init__(
        self,
        data: Path,
        *,
        project: Path = Path(),
        show_prompts: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`data` is GOLEK_DATA; `show_prompts` is MONITOR_SHOW_PROMPTS."""
        self.data = data
        self.machine = socket.gethostname()
        self._project = project
        self._show_prompts = show_prompts
        self._wall = wall
        self._room = asyncio.Semaphore(AT_ONCE)

    async def search(self, query: Query) -> FoundRequests:
        """One page of the requests that `query` asks for. Raises BadRequestError naming the field that is wrong."""
        values, place = self._values(query)
        async with self._room:
            return await asyncio.to_thread(self._search, query, values, place)

    async def find(self, name: str) -> Stories:
        """What is known of this job id, label or `x-request-id`, or of what begins so; empty where nothing is."""
        async with self._room:
            return await asyncio.to_thread(self._find, name)

    async def summary(self, window: Window) -> LogSummary:
        """Counts and times of each model. Raises BadRequestError as `search` does."""
        now = self._wall()
        since, until = moment("since", window.since, now, now - 3600), moment("until", window.until, now, now)
        async with self._room:
            return await asyncio.to_thread(self._summary, window.model, since, until)

    async def looked(self) -> list[LogFile]:
        """Every log of this machine, with its oldest row: for who found nothing."""
        async with self._room:
            return await asyncio.to_thread(self._looked)

    # -- in a thread ---------------------------------------------------------------------------------------------------

    def _values(self, query: Query) -> tuple[dict[str, Any], Place | None]:
        now = self._wall()
        place = Place.read(query.before) if query.before else None
        status = query.status if query.status.lower() != "ok" else "ok"
        return {
            "since": moment("since", query.since, now, _FIRST),
            "until": moment("until", query.until, now, _LAST),
            "job_id": query.job_id or None,
            "req_id": query.req_id or None,
            "status": (status if status == "ok" else status.upper()) or None,
            "errors_only": query.errors_only,
            "slower_ms": query.slower_ms,
            "worker_id": query.worker_id or None,
            "kind": query.kind or None,
            "principal": query.principal or None,
            "limit": query.limit + 1,
        }, place

    def _search(self, query: Query, values: dict[str, Any], place: Place | None) -> FoundRequests:
        hits, looked = self._ask(
            [log for log in self._logs() if query.model in ("", log.model)],
            "search",
            lambda log: values | _before(place, log),
        )
        page = hits[: query.limit]
        more = len(hits) > query.limit
        last = page[-1] if more else None
        return FoundRequests(
            requests=[hit.request for hit in page],
            next=str(Place(last.ts, last.request.row, last.log.name)) if last is not None else None,
            logs=looked,
            machine=self.machine,
        )

    def _find(self, name: str) -> Stories:
        """1. the exact id; 2. the job that the gateway gave a request of this id; 3. ids that begin so."""
        hits, looked = self._named(name, "by_id")  # 1
        if not hits:
            for job_id in {visit.job_id for visit in access.visits(self.data, {name}) if visit.job_id}:  # 2
                hits += self._named(job_id, "by_id")[0]
        if not hits and len(name) >= SHORTEST_BEGIN:
            hits, looked = self._named(name, "by_begin")  # 3
        jobs = dict.fromkeys((hit.log.model, hit.request.job_id) for hit in hits)
        if len(jobs) == 1:
            return Stories(story=self._story(hits, [one for one in looked if one.problem]))
        newest = {(hit.log.model, hit.request.job_id): hit for hit in reversed(hits)}
        return Stories(requests=[newest[job].request for job in jobs])

    def _named(self, name: str, query: str) -> tuple[list[_Hit], list[LogFile]]:
        return self._ask(self._logs(), query, lambda _: {"id": name, "limit": MOST})

    def _story(self, hits: list[_Hit], problems: list[LogFile]) -> Story:
        """All attempts of one job. `hits` are of it alone, the newest first."""
        first, last = hits[-1], hits[0]
        begun = min(story.accepted_at(hit.request, hit.ts) for hit in hits)
        attempts = [story.attempt(hit.request, hit.ts, self._texts(hit)) for hit in reversed(hits)]
        ids = {first.request.job_id, first.request.req_id}
        return Story(
            job_id=first.request.job_id,
            req_id=first.request.req_id,
            model_name=first.log.model,
            status=last.request.status,
            attempts=attempts,
            events=self._events(hits, begun, last.ts),
            visits=access.visits(self.data, ids),
            problems=problems,
            machine=self.machine,
        )

    def _texts(self, hit: _Hit) -> Texts | None:
        if not self._show_prompts:
            return None
        try:
            with reading.opened(hit.log, _deadline()) as connection:
                rows = reading.ask(connection, "texts", {"id": hit.request.row})
        except LogProblemError:
            return None
        return Texts(*rows[0]) if rows and any(text is not None for text in rows[0]) else None

    def _events(self, hits: Iterable[_Hit], begun: float, ended: float) -> list[WorkerEvent]:
        """What happened to its model's workers meanwhile: one that died had the job before, and has no row of it."""
        found: list[WorkerEvent] = []
        for log in {hit.log.name: hit.log for hit in hits}.values():
            values = {"since": begun - AROUND_S, "until": ended + AROUND_S, "limit": MOST_EVENTS}
            try:
                with reading.opened(log, _deadline()) as connection:
                    rows = reading.ask(connection, "events", values)
            except LogProblemError:
                continue
            found += [
                WorkerEvent(
                    timestamp=story.stamp(row["ts"]), offset_ms=round((row["ts"] - begun) * 1000, 1),
                    worker_id=row["worker_id"], level=row["level"], code=row["code"], message=row["msg"],
                )
                for row in rows
            ]  # fmt: skip
        return found

    def _summary(self, model: str, since: float, until: float) -> LogSummary:
        deadline = _deadline()
        told = []
        for log in self._logs():
            if model in ("", log.model):
                try:
                    with reading.opened(log, deadline) as connection:
                        values = {"since": since, "until": until, "limit": MOST_FIGURES}
                        told.append(summarised(log.model, reading.ask(connection, "figures", values)))
                except LogProblemError as error:
                    nothing = ModelSummary(model_name=log.model, requests=0, errors=0, error_share=0.0)
                    told.append(msgspec.structs.replace(nothing, problem=str(error)))
        return LogSummary(since=story.stamp(since), until=story.stamp(until), models=told, machine=self.machine)

    def _looked(self) -> list[LogFile]:
        deadline = _deadline()
        told = []
        for log in self._logs():
            file = LogFile(model_name=log.model, path=str(log.path))
            try:
                with reading.opened(log, deadline) as connection:
                    oldest = reading.ask(connection, "oldest", {})[0]["ts"]
                told.append(msgspec.structs.replace(file, oldest=None if oldest is None else story.stamp(oldest)))
            except LogProblemError as error:
                told.append(msgspec.structs.replace(file, problem=str(error)))
        return told

    def _logs(self) -> list[Found]:
        return files.logs(self.data, self._project)

    def _ask(
        self, logs: list[Found], query: str, values: Callable[[Found], dict[str, Any]]
    ) -> tuple[list[_Hit], list[LogFile]]:
        """The rows of all logs, the newest first, and what became of each log."""
        deadline = _deadline()
        hits, looked = [], []
        for log in logs:
            problem = None
            try:
                with reading.opened(log, deadline) as connection:
                    rows = reading.ask(connection, query, values(log))
                hits += [_Hit(row["ts"], log, story.logged(log.model, log.name, dict(row))) for row in rows]
            except LogProblemError as error:
                problem = str(error)
            looked.append(LogFile(model_name=log.model, path=str(log.path), problem=problem))
        return sorted(hits, key=lambda hit: hit.place, reverse=True), looked


def summarised(model: str, rows: list[Any]) -> ModelSummary:
    """Counts and times of some requests, each a row of `figures`."""
    statuses = Counter(str(row["status"]) for row in rows)
    well = statuses.pop("ok", 0)
    durations = sorted(row["dur_ms"] for row in rows if row["status"] == "ok")
    firsts = sorted(row["ttft_ms"] for row in rows if row["status"] == "ok" and row["ttft_ms"] is not None)
    return ModelSummary(
        model_name=model,
        requests=len(rows),
        errors=len(rows) - well,
        error_share=round((len(rows) - well) / len(rows), 4) if rows else 0.0,
        dur_ms_p50=percentile(durations, 0.5),
        dur_ms_p95=percentile(durations, 0.95),
        ttft_ms_p50=percentile(firsts, 0.5),
        ttft_ms_p95=percentile(firsts, 0.95),
        tokens_in=sum(row["tokens_in"] for row in rows),
        tokens_out=sum(row["tokens_out"] for row in rows),
        statuses=dict(statuses.most_common()),
    )


def percentile(ordered: list[float], share: float) -> float | None:
    """The nearest rank; None of nothing."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)


def _before(place: Place | None, log: Found) -> dict[str, Any]:
    """Where this log's rows go on: rows of one moment are in the order of their logs' names."""
    if place is None:
        return {"before_ts": _LAST, "before_id": _ANY_ROW}
    row = place.row if log.name == place.log else _ANY_ROW if log.name < place.log else -1
    return {"before_ts": place.ts, "before_id": row}


def _deadline() -> float:
    return time.monotonic() + reading.LONGEST_S
