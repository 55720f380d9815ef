"""What do the request logs of other machines say?

Their workers are asked over the bus. Who does not answer is left out: a model that nobody serves at the moment has its
log on a machine that cannot be asked.
"""

import asyncio
from typing import Final

from golek_client import Golek
from golek_monitor.logs.records import LogFile
from golek_program.logs.rows import Row
from golek_wire.errors import InferenceServiceError, NotFoundError, NoWorkersError
from golek_wire.logs import LogQuery, LogReport

PATIENCE_S: Final = 6.0
"""A worker gives up reading after five."""
AT_ONCE: Final = 32
"""Models that are asked at the same time."""


async def ask(golek: Golek, query: LogQuery, model: str = "") -> tuple[list[LogReport], list[LogFile]]:
    """An answer for each log that workers write, and what could not be asked; of `model`, or of all."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> tuple[list[LogReport], list[LogFile]]:
        try:
            async with room:
                return await golek.logged(name, query, timeout=PATIENCE_S), []
        except (NoWorkersError, NotFoundError):
            return [], []
        except InferenceServiceError as error:
            return [], [LogFile(model_name=name, path="", problem=error.message)]

    try:
        names = [model] if model else [record.name for record in await golek.models()]
    except InferenceServiceError as error:
        return [], [LogFile(model_name=model, path="", problem=f"other machines could not be asked: {error.message}")]
    answers = await asyncio.gather(*map(one, names))
    # The replicas of one machine share a file, and each answers.
    reports = {(report.machine, report.log): report for found, _ in answers for report in found}
    return list(reports.values()), [problem for _, problems in answers for problem in problems]


def rows(report: LogReport) -> list[Row]:
    """The rows of an answer."""
    return [Row(ts, request) for ts, request in zip(report.moments, report.requests, strict=False)]


def file(report: LogReport) -> LogFile:
    """That it was looked in."""
    return LogFile(
        model_name=report.model_name, path=report.log, machine=report.machine, problem=report.problem
    )  # fmt: skip
