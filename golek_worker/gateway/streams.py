"""How does a stream outlive its connection, and the gateway that began it?

A resumable one (`"resumable": true`, or the header `x-golek-resumable: 1`) has numbered events and lies in a log on the
bus for some minutes. GET /v1/stream/{job_id} writes the same events from that log, from any gateway, behind
`Last-Event-ID`. How they look is noted in the job's metadata by who began it. A client that leaves has half a minute to
come back; then its job is cancelled.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client.reopening import Reopened
from golek_client.stream import Stream
from golek_program.web import errors
from golek_program.web.described import describe
from golek_wire import codec, subjects
from golek_wire.errors import BadRequestError
from golek_wire.openai import completions
from golek_wire.openai.completion import Shown, strictly
from golek_wire.openai.events import DONE, ChatEvents, event
from golek_wire.orchestration import StepEvent
from golek_wire.replies import InferenceReply, Opened
from golek_wire.requests import InferenceRequest
from golek_worker.gateway import asking, door
from golek_worker.gateway.lingering import Lingering
from golek_worker.gateway.sse import Events, EventStream, Waiting

HEADER: Final = "x-golek-resumable"
LAST_EVENT: Final = "last-event-id"
VIEW: Final = "golek.view"
"""Where in a job's metadata it is noted how its events look."""

Surface = Literal["chat", "completions", "native"]


class View(Struct, frozen=True, omit_defaults=True):
    """How the events of one stream look: with the pieces all that they depend on."""

    surface: Surface
    shown: Shown
    """Its id is not known yet when it is noted."""
    req_id: str = ""

    def noted(self, metadata: dict[str, Any] | None) -> dict[str, Any]:
        """A job's metadata with this view among them."""
        return (metadata or {}) | {VIEW: msgspec.to_builtins(self)}


class Range(Struct, frozen=True, kw_only=True):
    """Which events are wanted."""

    start: int = msgspec.field(default=0, name="from")
    """The number of the first one; `Last-Event-ID` says the one before."""


class Cancelled(Struct, frozen=True):
    """A job is told to stop, if it still runs."""

    id: str
    object: Literal["request.cancelling"] = "request.cancelling"


def is_wanted(request: Request, said: bool | None) -> bool:
    """Whether a streamed request is to be resumable: by its body, else by its header."""
    return bool(said) if said is not None else request.headers.get(HEADER) == "1"


def check_not_wanted(request: Request, said: bool | None) -> None:
    """Raise BadRequestError where a stream is to be resumable whose events nobody could write again."""
    if is_wanted(request, said):
        raise BadRequestError(
            "resumable: streams of this API cannot be read again; leave it out, or ask POST /v1/chat/completions",
            param="resumable",
        )


def kept(request: Request, asked: InferenceRequest, view: View, call: asking.Call) -> EventStream:
    """The stream of a request that is to be resumable."""
    noted = msgspec.structs.replace(asked, resumable=True, metadata=view.noted(asked.metadata))
    waiting = Waiting()
    stream = call.stream(codec.encode(noted), waiting)
    return EventStream(_kept(stream, view, call, door.door(request).lingering, waiting), waiting, resumable=True)


async def _kept(stream: Stream, view: View, call: asking.Call, lingering: Lingering, waiting: Waiting) -> Events:
    """Its numbered events, for who began it; who reads it later is told of no steps."""
    async with _read(stream, lingering):
        call.learnt(stream)
        waiting.written = _writer(view, call.visit.job_id).step
        async for some in _events(stream, view, call.visit.job_id, strict=call.strict):
            call.learnt(stream)
            yield some
        call.cost(stream.reply)


@contextlib.asynccontextmanager
async def _read(stream: Stream | Reopened, lingering: Lingering) -> AsyncIterator[None]:
    """Inside, `stream` is read; who leaves before its end may come back."""
    ended = False
    try:
        async with stream:
            yield
            ended = True
    finally:
        if not ended:
            lingering.add(stream)


async def _events(stream: Stream | Reopened, view: View, job_id: str, start: int = 0, *, strict: bool) -> Events:
    """The events of a stream from number `start` on, each as it is for every reader."""
    writes = _writer(view, job_id)
    number = 0
    begun = False
    async for piece in stream.pieces():
        made = [*(() if begun else writes.opening()), *filter(None, [writes.piece(piece)])]
        begun = True
        if wanted := made[max(0, start - number) :]:
            yield b"".join(wanted)
        number += len(made)
    reply = strictly(stream.reply) if strict and view.surface != "native" else stream.reply
    rest = [*(() if begun else writes.opening()), *writes.closing(reply)]
    yield b"".join(rest[min(max(0, start - number), len(rest) - 1) :])  # the end mark has no number


def _writer(view: View, job_id: str) -> Any:
    """What writes the events of this view."""
    if view.surface == "chat":
        return ChatEvents(msgspec.structs.replace(view.shown, id=f"chatcmpl-{job_id}"), numbered=True)
    if view.surface == "completions":
        return _TextEvents(msgspec.structs.replace(view.shown, id=f"cmpl-{job_id}"))
    return _NativeEvents(view.req_id)


class _TextEvents:
    """Those of one prompt of OpenAI's former API."""

    def __init__(self, shown: Shown) -> None:
        self._events = completions.TextEvents(shown, numbered=True)
        self.opening: Callable[[], Iterable[bytes]] = self._events.opening
        self.step = self._events.step

    def piece(self, piece: Any) -> bytes:
        return self._events.piece(piece, 0)

    def closing(self, reply: InferenceReply) -> list[bytes]:
        return [*self._events.ended(reply, 0), *self._events.closing([reply])]


class _NativeEvents:
    """The chunks of the bus."""

    def __init__(self, req_id: str) -> None:
        self._req_id = req_id
        self._seq = 0

    def opening(self) -> Iterable[bytes]:
        return ()

    def piece(self, piece: Any) -> bytes:
        made = completions.native_event(piece, self._req_id, self._seq)
        self._seq += 1
        return b"id: %d\n%b" % (self._seq - 1, made)

    def step(self, step: StepEvent) -> bytes:
        return event(codec.encode(step))

    def closing(self, reply: InferenceReply) -> list[bytes]:
        return [b"id: %d\n%b" % (self._seq, event(codec.encode(reply))), DONE]


@describe(
    group="Requests",
    summary="Reads a resumable stream again: its events behind `Last-Event-ID`, or from number `from` on.",
    query=Range,
    events=True,
    asks=True,
    errors=(404,),
)
async def resume(request: Request) -> Response:
    """The events of a job that was asked for with `resumable`."""
    job_id, caller, visit = _job(request), door.caller(request), door.visit(request)
    start = _start(request)
    visit.job_id, visit.streamed = job_id, True
    stream = caller.golek.reopen(job_id, principal=caller.principal)
    strict = door.door(request).settings.golek_strict_openai

    async def events() -> Events:
        async with _read(stream, door.door(request).lingering):
            visit.model = stream.opened.model
            async for some in _events(stream, _view(stream.opened), job_id, start, strict=strict):
                visit.worker = stream.worker
                yield some

    return EventStream(events(), Waiting(), resumable=True)


@describe(
    group="Requests",
    summary="Cancels a request by its job's id (`x-golek-job`); whoever waits for it gets error 499.",
    reply=Cancelled,
    status=202,
    asks=True,
)
async def cancel(request: Request) -> Response:
    """Tell the fleet to stop a job. An id that nobody knows is no error: the job may have ended a moment ago."""
    job_id = _job(request)
    door.visit(request).job_id = job_id
    await door.caller(request).golek.cancel(job_id)
    return Response(codec.encode(Cancelled(job_id)), 202, media_type=errors.JSON)


def _job(request: Request) -> str:
    """The job's id in the path, also behind the prefix of a completion's id. Raises BadRequestError."""
    said = str(request.path_params["job_id"])
    job_id = said.rpartition("-")[2].rpartition("_")[2]
    if not subjects.is_job_id(job_id):
        raise BadRequestError(
            f"job_id: {said[:64]!r} is no job's id; x-golek-job tells it, 26 characters of a-z and 2-7", param="job_id"
        )
    return job_id


def _start(request: Request) -> int:
    """The number of the first event that is wanted. Raises BadRequestError."""
    given = request.headers.get(LAST_EVENT, "").strip()
    name, text = (LAST_EVENT, given) if given else ("from", request.query_params.get("from", "0"))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequestError(f"{name}: the number of an event, as its `id` says; got {text[:32]!r}", param=name)
    return int(text) + (1 if given else 0)


def _view(opened: Opened) -> View:
    """How the events look; those of a job that was not asked for over HTTP are the bus's."""
    noted = (opened.metadata or {}).get(VIEW)
    if noted is None:
        return View("native", Shown("", opened.created, opened.model))
    try:
        return msgspec.convert(noted, View)
    except msgspec.ValidationError:
        return View("native", Shown("", opened.created, opened.model))


ROUTES = [
    Route("/v1/stream/{job_id}", resume, methods=["GET"]),
    Route("/v1/requests/{job_id}", cancel, methods=["DELETE"]),
]
