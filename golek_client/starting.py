"""How is a model started that no worker serves?

The supervisors of the fleet's machines, each a `golek serve`, say what they could start; one that can is ordered to.
"""

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from golek_client import discovery
from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_wire import codec, headers, subjects
from golek_wire.errors import ConflictError, InferenceServiceError, ModelNotFoundError
from golek_wire.hosts import HostReport

FIRST_S: Final = 5.0
"""The first supervisor answers within this time: it reads files for that, on a machine that may be busy."""
GATHER_S: Final = 0.5
"""The others answer so soon after it."""


async def hosts(line: Line, until: float) -> list[HostReport]:
    """What each supervisor could start, by machine; empty at once where there is none.

    `until` on the loop's clock ends the wait sooner. Raises BusUnavailableError and ForbiddenError.
    """
    found: dict[str, HostReport] = {}
    latest = min(until, line.loop.time() + FIRST_S)
    with line.mux.open() as inbox:
        inbox.asked = subjects.hosts("list")
        await line.send(inbox.asked, b"", inbox.subject, line.authorization)
        while (message := await inbox.get(latest)) is not None:
            if headers.NATS_STATUS in (message.headers or {}):
                break
            try:
                said = codec.decode(message.data, HostReport)
            except UNREADABLE:  # a later release's
                continue
            if not found:
                latest = min(until, line.loop.time() + GATHER_S)
            found[said.host] = said
    return sorted(found.values(), key=lambda report: (report.machine, report.host))


async def host_for(line: Line, model: str, until: float, nobody: InferenceServiceError) -> str:
    """The supervisor to order; `nobody` is why no worker could be.

    Raises `nobody` where no supervisor answers and a worker is expected back, ConflictError with the command to type
    where none is, and ModelNotFoundError where supervisors answer and none has the model.
    """
    reports = await hosts(line, until)
    if not reports:
        raise await _by_hand(line, model, nobody) from None
    if (host := chosen(reports, model)) is None:
        raise nowhere(reports, model) from None
    return host


def chosen(reports: Sequence[HostReport], model: str) -> str | None:
    """The supervisor that is nearest to having `model`: it starts it already, has its file, or can get it."""
    token = subjects.model_token(model)
    able = [
        ((not one.runs, not one.has_file, report.host), report.host)
        for report in reports
        for one in report.models
        if token in (subjects.model_token(one.name), subjects.model_token(one.deployment))
    ]
    return min(able)[1] if able else None


def nowhere(reports: Sequence[HostReport], model: str) -> ModelNotFoundError:
    """What to tell who wants a model that no machine has."""
    there = sorted({one.name for report in reports for one in report.models})
    near = difflib.get_close_matches(model, there, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(there)}" if there else "there is none"
    machines = ", ".join(dict.fromkeys(report.machine for report in reports))
    return ModelNotFoundError(
        f"No worker serves {model!r}, and {machines} could not start it: {hint}",
        model=model,
        did_you_mean=near[0] if near else None,
        available=there,
    )


async def _by_hand(line: Line, model: str, nobody: InferenceServiceError) -> InferenceServiceError:
    """What to tell where nobody starts models unasked."""
    known = await discovery.record(line, model)
    if known is not None and discovery.gone(known, datetime.now(UTC)) is None:
        return nobody
    deployment = known.deployment if known is not None and known.deployment else model
    command = f"make start WORKER={deployment}"
    where = (
        "the machine that had it"
        if known is not None
        else f"a machine that has envs/worker.{deployment}.env (copy worker.example.env to it) or {deployment} in its "
        "catalogue (`golek models list`)"
    )
    return ConflictError(
        f"{nobody.message}; no supervisor (`golek serve`) answers that could start it: type `{command}` on {where}",
        model=model,
        command=command,
    )
