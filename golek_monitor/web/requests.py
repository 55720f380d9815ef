"""What was asked, who waits, and what was given up?

Requests from the logs of this machine, queues and dead letters from the bus. What callers said is shown only where
MONITOR_SHOW_PROMPTS allows it.

    web = application(picture, golek, access, more=requests.routes(explorer, golek, show_prompts=False))
"""

from typing import Annotated, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client import Golek
from golek_client.queueing import MOST as LONGEST_QUEUE
from golek_client.queueing import ModelQueue
from golek_monitor.logs.asking import Query, Window, parse
from golek_monitor.logs.explorer import Explorer
from golek_monitor.logs.records import FoundRequests, LogSummary, Stories
from golek_monitor.web.door import bus, json
from golek_monitor.web.mail import Mail
from golek_program.web.described import describe
from golek_wire.errors import NotFoundError
from golek_wire.signals import DeadLetter

GROUP: Final = "Requests"


class Span(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a queue."""

    limit: Annotated[int, Meta(ge=1, le=LONGEST_QUEUE)] = LONGEST_QUEUE
    """Jobs that are told of, at most 100."""


class OfModel(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters."""

    model: Annotated[str, Meta(max_length=128)] = ""
    """Only of this model."""


class DeadLetterRow(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A job that crashed its engine each time it ran."""

    job_id: str
    req_id: str
    model_name: str
    worker_id: str
    at: str
    """When it was given up."""
    kind: str
    crashes: int
    input_sha256: str
    can_retry: bool
    """Whether its request was kept."""
    withheld: str = ""
    """Why it was not."""


class DeadLetterStory(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The same with what its engine said."""

    letter: DeadLetterRow
    log_tail: list[str]
    """The last lines of the engine's stderr."""
    seed: int
    payload: str | None = None
    """The request, where it was kept and MONITOR_SHOW_PROMPTS allows it."""


def routes(explorer: Explorer, golek: Golek | None, *, show_prompts: bool = False) -> list[Route]:
    """All routes of this file; without `golek` there is no bus, and those that need it say so."""
    return [*_of_logs(explorer), *_of_bus(golek, show_prompts=show_prompts)]


def _of_logs(explorer: Explorer) -> list[Route]:
    """What the request logs of this machine tell."""

    @describe(
        group=GROUP,
        summary="Requests that were answered by workers of this machine, the newest first.",
        query=Query,
        reply=FoundRequests,
        errors=(400,),
    )
    async def requests(request: Request) -> Response:
        """GET /api/requests. Raises BadRequestError."""
        return json(await explorer.search(parse(request.query_params, Query)))

    @describe(
        group=GROUP,
        summary="One request's whole story, by its job id, label or x-request-id; a list where several share it.",
        reply=Stories,
        errors=(404,),
        values={"id": "k5ptxjq2m7zv4r3dn6ychwabfe"},
    )
    async def one(request: Request) -> Response:
        """GET /api/requests/ID. Raises NotFoundError with where was looked."""
        name = request.path_params["id"]
        found = await explorer.find(name)
        if found.is_empty:
            raise NotFoundError("; ".join(await explorer.missing(name)), param="id")
        return json(found)

    @describe(
        group=GROUP,
        summary="How many requests each model answered in a window of time, how many failed, and how long they took.",
        query=Window,
        reply=LogSummary,
        errors=(400,),
    )
    async def summary(request: Request) -> Response:
        """GET /api/requests-summary. Raises BadRequestError."""
        return json(await explorer.summary(parse(request.query_params, Window)))

    return [
        Route("/api/requests", requests),
        Route("/api/requests-summary", summary),
        Route("/api/requests/{id:path}", one),
    ]


def _of_bus(golek: Golek | None, *, show_prompts: bool) -> list[Route]:
    """What lies in the broker's streams."""
    mail = Mail()

    @describe(
        group=GROUP,
        summary="Who waits for a model and who runs; never what they ask.",
        query=Span,
        reply=ModelQueue,
        errors=(400, 404, 503),
    )
    async def queue(request: Request) -> Response:
        """GET /api/queues/MODEL. Raises NotFoundError, BadRequestError, BusUnavailableError."""
        model = request.path_params["model"]
        found = await bus(request, golek).queue(model, parse(request.query_params, Span).limit)
        if not found.capacity:
            raise NotFoundError(f"model: {model[:128]!r} has no queue, for it never had a worker", param="model")
        return json(found)

    @describe(
        group=GROUP,
        summary="Jobs that crashed their engine each time they ran, the newest first: 500, or fewer large ones.",
        query=OfModel,
        reply=list[DeadLetterRow],
        errors=(400, 503),
    )
    async def letters(request: Request) -> Response:
        """GET /api/dead-letters. Raises BadRequestError, BusUnavailableError."""
        model = parse(request.query_params, OfModel).model
        return json([row(letter) for letter in reversed(await mail.newest(bus(request, golek), model))])

    @describe(
        group=GROUP,
        summary="One dead letter, with the last lines of its engine.",
        reply=DeadLetterStory,
        errors=(404, 503),
        values={"job_id": "k5ptxjq2m7zv4r3dn6ychwabfe"},
    )
    async def letter(request: Request) -> Response:
        """GET /api/dead-letters/JOB_ID. Raises NotFoundError, BusUnavailableError."""
        job_id = request.path_params["job_id"]
        return json(told(await mail.one(bus(request, golek), job_id), show_prompts=show_prompts))

    return [
        Route("/api/queues/{model:path}", queue),
        Route("/api/dead-letters", letters),
        Route("/api/dead-letters/{job_id}", letter),
    ]


def row(letter: DeadLetter) -> DeadLetterRow:
    """What a list shows of a letter."""
    return DeadLetterRow(
        job_id=letter.job_id,
        req_id=letter.req_id,
        model_name=letter.model,
        worker_id=letter.worker_id,
        at=letter.at,
        kind=letter.kind,
        crashes=letter.crashes,
        input_sha256=letter.input_sha256,
        can_retry=letter.payload is not None,
        withheld=letter.withheld,
    )


def told(letter: DeadLetter, *, show_prompts: bool) -> DeadLetterStory:
    """All of a letter; its request only if prompts may be shown."""
    return DeadLetterStory(
        letter=row(letter),
        log_tail=letter.log_tail,
        seed=letter.seed,
        payload=letter.payload if show_prompts else None,
    )
