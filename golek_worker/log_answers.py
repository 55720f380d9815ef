"""What does a worker tell of its request log?

On `models.<model>.log`, to who may give orders: each replica reads the file that it writes, which the replicas of its
machine share. Labels, times, errors and who asked; never what was asked or answered.
"""

import asyncio
import socket
import time
from pathlib import Path
from typing import Final

import msgspec

from golek_program.logs import reading, rows
from golek_program.logs.reading import LogProblemError
from golek_program.logs.rows import Row
from golek_wire import codec, subjects
from golek_wire.logs import LogEvent, LogQuery, LogReport
from golek_worker.bus.orders import Orders, Task

TEXT_LIMIT: Final = 2000
"""Characters of an error's or event's message."""


class LogAnswers:
    """Answers what is asked of one worker's log, one question after the other."""

    def __init__(self, orders: Orders, model: str, worker_id: str, log: Path) -> None:
        self._orders = orders
        self._model = model
        self._log = log
        self._nothing = LogReport(
            model_name=model, worker_id=worker_id, machine=socket.gethostname(), log=str(log.absolute())
        )
        self._name = f"{self._nothing.machine}:{log.name}"
        self._one = asyncio.Lock()

    async def start(self) -> None:
        """Hear questions, on the literal and the token subject."""
        await self._orders.hear([subjects.log(spelling) for spelling in subjects.spellings(self._model)], self._read)

    def _read(self, _: str, body: bytes) -> Task:
        query = codec.decode_order(body, LogQuery)
        report = self._nothing

        async def obey() -> str | None:
            nonlocal report
            try:
                async with self._one:
                    found, befell = await asyncio.to_thread(self._found, query)
            except LogProblemError as error:
                return str(error)
            report = msgspec.structs.replace(
                report, requests=[row.request for row in found], moments=[row.ts for row in found], events=befell
            )
            return None

        return Task(obey, lambda problem: msgspec.structs.replace(report, problem=problem))

    def _found(self, query: LogQuery) -> tuple[list[Row], list[LogEvent]]:
        """In a thread. Raises LogProblemError."""
        until = time.monotonic() + reading.LONGEST_S
        found = rows.search(self._log, self._model, self._name, query, until)
        jobs = {row.request.job_id for row in found}
        befell = rows.events(self._log, found, until) if query.id and len(jobs) == 1 else []
        return [_short(row) for row in found], [
            msgspec.structs.replace(event, message=event.message[:TEXT_LIMIT]) for event in befell
        ]


def _short(row: Row) -> Row:
    """So that an answer of many rows is no message that the bus refuses."""
    error = row.request.error
    if error is None or len(error) <= TEXT_LIMIT:
        return row
    return msgspec.structs.replace(row, request=msgspec.structs.replace(row.request, error=error[:TEXT_LIMIT]))
