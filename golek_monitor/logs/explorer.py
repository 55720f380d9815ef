"""What do all request logs say together?

Those of this machine are read as they are when a question comes, in a thread: nothing is kept open and nothing is
remembered. Those of other machines are asked for over the bus.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from golek_client import Golek
from golek_monitor.logs import access, elsewhere, files, missing, story, summaries
from golek_monitor.logs.asking import MOST, Place, Query, Window, asked, moment
from golek_monitor.logs.files import Found
from golek_monitor.logs.records import (
    FoundRequests,
    HttpVisit,
    LogFile,
    LogSummary,
    ModelSummary,
    Stories,
    Story,
    Texts,
    WorkerEvent,
)
from golek_program.logs import reading, rows
from golek_program.logs.reading import LogProblemError
from golek_program.logs.rows import Row, stamp
from golek_wire.logs import MOST as MOST_ELSEWHERE
from golek_wire.logs import LogEvent, LoggedRequest, LogQuery

MOST_FIGURES: Final = 200_000
"""Requests of one model that a summary counts, the newest."""
ID_LIMIT: Final = 256
AT_ONCE: Final = 2
"""Questions that are read for; others wait."""


class _Answer(Struct):
    """What was found."""

    rows: list[Row] = field(default_factory=list[Row])
    """The newest first, once all were added."""
    logs: list[LogFile] = field(default_factory=list[LogFile])
    """Where was looked."""
    events: list[LogEvent] = field(default_factory=list[LogEvent])

    def add(self, found: list[Row], log: LogFile, events: Collection[LogEvent] = ()) -> None:
        """Take what one log says."""
        self.add_rows(found)
        self.logs.append(log)
        self.events += events

    def add_rows(self, found: list[Row]) -> None:
        """Take rows alone."""
        self.rows = sorted([*self.rows, *found], key=_place, reverse=True)


class Explorer:
    """Answers questions about requests."""

    def __init__(
        self,
        data: Path,
        *,
        golek: Golek | None = None,
        project: Path = Path(),
        show_prompts: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`data` is GOLEK_DATA, `show_prompts` MONITOR_SHOW_PROMPTS; without `golek` no other machine is asked."""
        self.data = data
        self.machine = socket.gethostname()
        self._golek = golek
        self._project = project
        self._show_prompts = show_prompts
        self._wall = wall
        self._room = asyncio.Semaphore(AT_ONCE)

    async def search(self, query: Query) -> FoundRequests:
        """One page of the requests that `query` asks for. Raises BadRequestError naming the field that is wrong."""
        wanted = asked(query, self._wall())
        async with self._room:
            found = await asyncio.to_thread(self._here, wanted, query.model, query.limit + 1, _deadline())
        limit = query.limit
        if query.everywhere:
            limit = min(limit, MOST_ELSEWHERE - 1)
            await self._add_elsewhere(found, msgspec.structs.replace(wanted, limit=limit + 1), query.model)
        page = found.rows[:limit]
        last = page[-1] if len(found.rows) > limit else None
        return FoundRequests(
            requests=[row.request for row in page],
            next=str(Place(last.ts, last.request.row, last.request.log)) if last is not None else None,
            logs=found.logs,
            machine=self.machine,
        )

    async def find(self, name: str) -> Stories:
        """What is known of this job id, label or `x-request-id`, or of what begins so; empty where nothing is.

        1. the logs of this machine, also by the job that its gateway gave a request of this id
        2. those of other machines
        """
        if not 0 < len(name) <= ID_LIMIT:
            return Stories()
        async with self._room:
            found, visits = await asyncio.to_thread(self._find, name)  # 1
        if not found.rows:
            for one in {visit.job_id for visit in visits if visit.job_id} or {name}:
                await self._add_elsewhere(found, LogQuery(id=one), "")  # 2
        if not found.rows:
            return Stories(visits=visits)
        jobs = {(row.request.model_name, row.request.job_id): row for row in reversed(found.rows)}
        if len(jobs) > 1:
            return Stories(requests=[row.request for row in sorted(jobs.values(), key=_place, reverse=True)])
        async with self._room:
            return Stories(story=await asyncio.to_thread(self._story, found))

    async def summary(self, window: Window) -> LogSummary:
        """Counts and times of each model of this machine. Raises BadRequestError as `search` does."""
        now = self._wall()
        since, until = moment("since", window.since, now), moment("until", window.until, now)
        since, until = now - 3600 if since is None else since, now if until is None else until
        async with self._room:
            models = await asyncio.to_thread(self._summary, window.model, since, until)
        return LogSummary(since=stamp(since), until=stamp(until), models=models, machine=self.machine)

    async def missing(self, name: str) -> list[str]:
        """Where was looked for `name`, and why it may not be there: for who found nothing."""
        return missing.reasons(name, await self.looked(), self.data / "logs", self.machine)

    async def looked(self) -> list[LogFile]:
        """Every log of this machine, with its oldest row."""
        async with self._room:
            return await asyncio.to_thread(self._looked)

    # -- other machines ------------------------------------------------------------------------------------------------

    async def _add_elsewhere(self, found: _Answer, query: LogQuery, model: str) -> None:
        """Add what workers say of logs that were not read here."""
        if self._golek is None:
            return
        read_here = {(self.machine, str(log.path.absolute())) for log in self._logs()}
        reports, problems = await elsewhere.ask(self._golek, query, model)
        for report in reports:
            if (report.machine, report.log) not in read_here:
                found.add(elsewhere.rows(report), elsewhere.file(report), report.events)
        found.logs += problems

    # -- this machine, in a thread -------------------------------------------------------------------------------------

    def _here(self, query: LogQuery, model: str, limit: int, deadline: float) -> _Answer:
        found = _Answer()
        for log in self._logs():
            is_its_own = model in ("", log.model)
            file, read = LogFile(model_name=log.model, path=str(log.path)), list[Row]()
            asked = "" if is_its_own else model  # a router's log has jobs of all names
            try:
                read = rows.search(log.path, log.model, log.name, query, deadline, limit=limit, asked=asked)
            except LogProblemError as error:
                file = msgspec.structs.replace(file, problem=str(error))
            if is_its_own or read:
                found.add(read, file)
        return found

    def _find(self, name: str) -> tuple[_Answer, list[HttpVisit]]:
        deadline = _deadline()
        found = self._here(LogQuery(id=name), "", MOST, deadline)
        visits = access.visits(self.data, {name}) if not found.rows else []
        for job_id in {visit.job_id for visit in visits if visit.job_id}:
            found.add_rows(self._here(LogQuery(id=job_id), "", MOST, deadline).rows)
        return found, visits

    def _story(self, found: _Answer) -> Story:
        """All attempts of one job; `found` has no other."""
        last, first = found.rows[0].request, found.rows[-1].request
        begun = min(row.accepted_at for row in found.rows)
        paths = {log.name: log.path for log in self._logs()}
        events = list(found.events)
        for name in {row.request.log for row in found.rows} & paths.keys():
            events += _events(paths[name], found.rows)
        return Story(
            job_id=first.job_id,
            req_id=first.req_id,
            model_name=first.model_name,
            status=last.status,
            attempts=[story.attempt(row, self._texts(row, paths)) for row in reversed(found.rows)],
            steps=[row.request for row in self._steps(found.rows)],
            events=[_told(event, begun) for event in sorted(events, key=lambda event: event.ts)],
            visits=access.visits(self.data, {first.job_id}),
            problems=[log for log in found.logs if log.problem],
            machine=self.machine,
        )

    def _steps(self, found: list[Row]) -> list[Row]:
        """Of a job that a router had answered, or was to; the others have none."""
        if not any(_is_routers(row.request) for row in found):
            return []
        deadline, steps = _deadline(), list[Row]()
        for log in self._logs():
            with contextlib.suppress(LogProblemError):  # that it cannot be read is told where it was searched
                steps += rows.steps(log.path, log.model, log.name, found, deadline)
        return sorted(steps, key=_place)

    def _texts(self, row: Row, paths: dict[str, Path]) -> Texts | None:
        if not self._show_prompts or row.request.log not in paths:
            return None
        try:
            with reading.opened(paths[row.request.log], _deadline()) as connection:
                found = reading.ask(connection, "texts", {"id": row.request.row})
        except LogProblemError:
            return None
        return Texts(*found[0]) if found and any(text is not None for text in found[0]) else None

    def _summary(self, model: str, since: float, until: float) -> list[ModelSummary]:
        deadline, told = _deadline(), list[ModelSummary]()
        values = {"since": since, "until": until, "limit": MOST_FIGURES}
        for log in self._logs():
            if model in ("", log.model):
                try:
                    with reading.opened(log.path, deadline) as connection:
                        told.append(summaries.of(log.model, reading.ask(connection, "figures", values)))
                except LogProblemError as error:
                    told.append(summaries.none(log.model, str(error)))
        return told

    def _looked(self) -> list[LogFile]:
        deadline, told = _deadline(), list[LogFile]()
        for log in self._logs():
            file = LogFile(model_name=log.model, path=str(log.path))
            try:
                with reading.opened(log.path, deadline) as connection:
                    oldest = reading.ask(connection, "oldest", {})[0]["ts"]
                told.append(msgspec.structs.replace(file, oldest=None if oldest is None else stamp(oldest)))
            except LogProblemError as error:
                told.append(msgspec.structs.replace(file, problem=str(error)))
        return told

    def _logs(self) -> list[Found]:
        return files.logs(self.data, self._project)


def _is_routers(request: LoggedRequest) -> bool:
    """Whether it stands in a router's log. Of one that was cancelled that says whom it was asked for, and no more."""
    return any(said is not None for said in (request.asked, request.target, request.mode))


def _events(path: Path, found: list[Row]) -> list[LogEvent]:
    try:
        return rows.events(path, found, _deadline())
    except LogProblemError:
        return []


def _told(event: LogEvent, begun: float) -> WorkerEvent:
    return WorkerEvent(
        timestamp=stamp(event.ts),
        offset_ms=round((event.ts - begun) * 1000, 1),
        worker_id=event.worker_id,
        level=event.level,
        code=event.code,
        message=event.message,
    )


def _place(row: Row) -> tuple[float, str, int]:
    return row.place


def _deadline() -> float:
    return time.monotonic() + reading.LONGEST_S
