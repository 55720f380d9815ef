"""What can be ordered, and by whom?

Models are loaded, unloaded and drained, jobs cancelled, dead letters asked once more or dropped: through the bus, as
`golek` does it. Each order is a line of the event log, with who gave it and what came of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, TypeVar

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client import Golek
from golek_monitor.web.door import bus, door, frame, json, peer
from golek_program.web import body
from golek_program.web.described import describe
from golek_program.web.leaving import watched
from golek_wire import subjects
from golek_wire.errors import (
    BadRequestError,
    ConflictError,
    InferenceServiceError,
    NotFoundError,
    NoWorkersError,
)
from golek_wire.signals import Order, Residence

BODY_LIMIT: Final = 16 * 1024
WORKER_ID_LIMIT: Final = 256
TOLD: Final = 8
"""So many replicas are named with what an order came to there; those that refused it first."""
_ORDERED: Final = (400, 401, 403, 408, 409, 413, 415, 429, 503)
T = TypeVar("T")


class Go(Struct, frozen=True):
    """Nothing more has to be said: `{}`."""


class Cancelling(Struct, frozen=True):
    """The job is told to stop; one that nobody knows is none to stop."""

    job_id: str
    status: Literal["cancelling"] = "cancelling"


class Retried(Struct, frozen=True):
    """The letter's job ran well and the letter is gone; its answer is not shown."""

    job_id: str
    """Of the letter."""
    ms: float
    """From asking to the answer."""


class Dropped(Struct, frozen=True):
    """The letter is gone."""

    job_id: str
    copies: int
    """That there were of it."""


class End(Struct, frozen=True):
    """What an order came to, for the event log."""

    said: str
    is_done: bool = True
    """Everywhere where it was given."""


_ORDER_OF: Final[dict[str, Any]] = {
    "request": Order, "example": {}, "reply": list[Residence], "errors": (*_ORDERED, 404, 499, 500, 504),
}  # fmt: skip
_JOB: Final = {"job_id": "k5ptxjq2m7zv4r3dn6ychwabfe"}
_ORDER: Final[dict[str, Any]] = {"group": "Orders", "request": Go, "example": {}, "values": _JOB}


@describe(group="Orders", summary="Has replicas load a model; a machine starts one where none runs.", **_ORDER_OF)
async def load(request: Request) -> Response:
    """POST /api/models/MODEL/load."""
    return await _order(request, "load")


@describe(group="Orders", summary="Has replicas take a model out of memory once their jobs end.", **_ORDER_OF)
async def unload(request: Request) -> Response:
    """POST /api/models/MODEL/unload."""
    return await _order(request, "unload")


@describe(group="Orders", summary="Has replicas take no more requests, finish their jobs and end.", **_ORDER_OF)
async def drain(request: Request) -> Response:
    """POST /api/models/MODEL/drain."""
    return await _order(request, "drain")


@describe(**_ORDER, summary="Stops a job.", reply=Cancelling, status=202, errors=_ORDERED)
async def cancel(request: Request) -> Response:
    """POST /api/jobs/JOB_ID/cancel. Raises BadRequestError for what is no id."""
    who, golek, job_id = await _about_job(request)
    what = f"cancel of job {job_id}"
    await _noted(request, who, what, "job.cancel", golek.cancel(job_id), lambda _: End("told to stop"))
    return json(Cancelling(job_id), 202)


@describe(
    **_ORDER,
    summary="Asks a dead letter's request once more.",
    reply=Retried,
    errors=(*_ORDERED, 404, 499, 500, 502, 504),
)
async def retry(request: Request) -> Response:
    """POST /api/dead-letters/JOB_ID/retry. Raises NotFoundError, and what the job ends in; then the letter stays."""
    who, golek, job_id = await _about_job(request)
    async with watched(request.scope):
        what = f"retry of dead letter {job_id}"
        reply = await _noted(request, who, what, "dead_letter.retry", golek.retry(job_id), lambda _: End("answered"))
    return json(Retried(job_id, reply.ms))


@describe(**_ORDER, summary="Drops a dead letter.", reply=Dropped, errors=(*_ORDERED, 404))
async def drop(request: Request) -> Response:
    """POST /api/dead-letters/JOB_ID/drop. Raises NotFoundError."""
    who, golek, job_id = await _about_job(request)
    what = f"drop of dead letter {job_id}"
    order = _dropped(golek, job_id)
    return json(await _noted(request, who, what, "dead_letter.drop", order, lambda done: End(f"{done.copies} dropped")))


async def _order(request: Request, verb: subjects.Verb) -> Response:
    """Raises what the fleet answers, and ConflictError where no replica could do it."""
    who, golek, model = _who(request), bus(request, door(request).golek), request.path_params["model"]
    asked = body.order(await body.read(request, BODY_LIMIT), Order)
    if not subjects.is_model_name(model):
        raise BadRequestError(f"model: {model[:128]!r} is no name of a model", param="model")
    if len(asked.worker_id) > WORKER_ID_LIMIT or not asked.worker_id.isprintable():
        raise BadRequestError(f"worker_id: at most {WORKER_ID_LIMIT} printable characters", param="worker_id")
    if asked.force and verb != "unload":
        raise BadRequestError(f"force: only an unload may be forced, not a {verb}", param="force")
    what = f"{verb} of {model}{f' at {asked.worker_id}' if asked.worker_id else ''}{' by force' * asked.force}"
    if verb == "load":
        ordered = golek.load(model, worker_id=asked.worker_id)
    elif verb == "unload":
        ordered = golek.unload(model, worker_id=asked.worker_id, force=asked.force)
    else:
        ordered = golek.drain(model, worker_id=asked.worker_id)
    async with watched(request.scope):
        if asked.worker_id:
            ordered = _of_one(ordered, request, model, asked.worker_id)
        order = _done(ordered, what, verb)
        found = await _noted(
            request, who, what, f"model.{verb}", order, lambda done: _end(done, verb), model, asked.worker_id
        )
    return json(found)


async def _dropped(golek: Golek, job_id: str) -> Dropped:
    if not (copies := await golek.drop(job_id)):
        raise _no_letter(job_id)
    return Dropped(job_id, copies)


async def _of_one(ordered: Awaitable[list[Residence]], request: Request, model: str, worker_id: str) -> list[Residence]:
    """Raises NotFoundError with those there are where nobody heard it and no worker is called so."""
    try:
        return await ordered
    except NoWorkersError:
        there = sorted(row.worker_id for row in frame(request).now.replicas if row.model_name == model)
        if worker_id in there or not there:
            raise
        more = f" and {len(there) - TOLD} more" if len(there) > TOLD else ""
        raise NotFoundError(
            f"worker_id: {model} has no worker {worker_id!r}; there are {', '.join(there[:TOLD])}{more}",
            param="worker_id",
        ) from None


async def _done(ordered: Awaitable[list[Residence]], what: str, verb: subjects.Verb) -> list[Residence]:
    found = await ordered
    if found and all(one.problem is not None for one in found):
        raise ConflictError(f"{what}: {_outcome(found, verb)}")
    return found


def _end(found: Sequence[Residence], verb: subjects.Verb) -> End:
    return End(_outcome(found, verb), all(one.problem is None for one in found))


def _outcome(found: Sequence[Residence], verb: subjects.Verb) -> str:
    """What the order came to at each replica, those first that could not do it."""
    no = "kept" if verb == "unload" else "refused"
    ones = sorted(found, key=lambda one: one.problem is None)
    said = [f"{one.worker_id} {one.status if one.problem is None else f'{no}: {one.problem}'}" for one in ones[:TOLD]]
    return "; ".join(said) + (f"; and {len(ones) - TOLD} more" if len(ones) > TOLD else "")


async def _noted(
    request: Request,
    who: str,
    what: str,
    code: str,
    order: Awaitable[T],
    end: Callable[[T], End],
    model: str = "",
    worker_id: str = "",
) -> T:
    """The outcome of `order`, which is told in the event log, with its end."""
    note = door(request).note
    note("info", f"{code}.ordered", f"{who} ordered: {what}", model, worker_id)
    try:
        found = await order
    except InferenceServiceError as error:
        why = error.message.removeprefix(f"{what}: ")
        note("warning", f"{code}.failed", f"{what}: {why} (ordered by {who})", model, worker_id)
        raise
    except asyncio.CancelledError:
        note("info", f"{code}.left", f"{what}: {who} did not wait for its end", model, worker_id)
        raise
    came = end(found)
    said = f"{what}: {came.said} (ordered by {who})"
    note(
        "info" if came.is_done else "warning", f"{code}.{'done' if came.is_done else 'partly'}", said, model, worker_id
    )
    return found


def _who(request: Request) -> str:
    return door(request).access.act(request.headers, peer(request))


async def _about_job(request: Request) -> tuple[str, Golek, str]:
    """Who orders something about a job, by which client, and the job. Raises what is wrong with the order."""
    who, golek = _who(request), bus(request, door(request).golek)
    body.order(await body.read(request, BODY_LIMIT), Go)
    job_id: str = request.path_params["job_id"]
    if not subjects.is_job_id(job_id):
        raise BadRequestError(f"job_id: 26 characters of a to z and 2 to 7; got {job_id[:64]!r}", param="job_id")
    return who, golek, job_id


def _no_letter(job_id: str) -> NotFoundError:
    return NotFoundError(f"no dead letter of job {job_id} is kept; seven days ends each", param="job_id")


ROUTES = [
    *(Route(f"/api/models/{{model:path}}/{verb.__name__}", verb, methods=["POST"]) for verb in (load, unload, drain)),
    Route("/api/jobs/{job_id}/cancel", cancel, methods=["POST"]),
    Route("/api/dead-letters/{job_id}/retry", retry, methods=["POST"]),
    Route("/api/dead-letters/{job_id}/drop", drop, methods=["POST"]),
]
