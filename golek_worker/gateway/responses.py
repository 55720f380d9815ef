"""POST /v1/responses: OpenAI's Responses API; DELETE /v1/responses/{id}.

A response is kept as a conversation of its own: a session under the response's id, with all turns up to its answer.
`previous_response_id` reads it and sends the turns along, so any number of responses may go on from one. Of its figures
and settings nothing is kept, hence there is no GET of the response itself.
"""

import secrets
from typing import Any, Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client.stream import Stream
from golek_program.web.described import describe
from golek_wire import codec
from golek_wire.errors import InferenceServiceError, NotFoundError
from golek_wire.openai import response_body
from golek_wire.openai import responses as form
from golek_wire.openai.response_body import Echo
from golek_wire.openai.response_stream import ResponseWriter
from golek_wire.replies import InferenceReply
from golek_wire.requests import Message
from golek_worker.gateway import asking, body, door, streams
from golek_worker.gateway.asking import Call
from golek_worker.gateway.sse import Events, EventStream, Waiting


class Deleted(Struct, frozen=True):
    """What a response is no longer."""

    id: str
    deleted: bool = True
    object: Literal["response"] = "response"


class Shown(Struct, frozen=True):
    """What a response's form depends on besides the answer."""

    asked: Echo
    key: str
    model: str
    """As the caller named it."""
    created: int


@describe(
    group="OpenAI",
    summary="The next turn of a conversation, in the form of the Responses API.",
    request=form.BODY,
    reply=dict[str, Any],
    events=True,
    asks=True,
    example={"model": "golek-tiny", "input": "What is NATS?"},
)
async def respond(request: Request) -> Response:
    """Answer, as a whole or as a stream of events."""
    asked = form.read(await body.read(request))
    streams.check_not_wanted(request, asked.resumable)
    call = await asking.call(request, asked.model, "inference", asked.deadline_ms)
    key = response_body.key_of(_unlike_others(call))
    shown = Shown(response_body.echo(asked), key, asked.model or call.model, call.created)
    before = await _before(call, asked.previous_response_id)
    kept_as = response_body.response_id(key) if asked.is_stored else None
    payload = codec.encode(form.to_wire(asked, call.deadline_ms, before, kept_as))
    if asked.stream:
        waiting = Waiting()
        return EventStream(_events(call.stream(payload, waiting), call, shown), waiting)
    with asking.in_words_of(form.NAMES):
        reply = await call.only(payload, "inference", InferenceReply)
    return asking.json(response_body.whole(shown.asked, shown.key, shown.model, shown.created, call.in_words(reply)))


@describe(group="OpenAI", summary="Forgets the conversation of a response.", reply=Deleted, errors=(404, 503, 504))
async def forget(request: Request) -> Response:
    """Forget it. Raises NotFoundError for one that there is not, or no longer, or that is another caller's."""
    identifier = _id(request.path_params["response_id"], "response_id")
    try:
        await door.caller(request).golek.delete_session(identifier)
    except NotFoundError:
        raise _unknown(identifier, "response_id") from None
    return asking.json(Deleted(identifier))


@describe(group="OpenAI", summary="Is not kept: says where its conversation is.", errors=(404,))
async def retrieve(request: Request) -> Response:
    """Raises NotFoundError."""
    identifier = _id(request.path_params["response_id"], "response_id")
    raise NotFoundError(
        "response_id: of a response its conversation is kept, not its figures and settings; "
        f"GET /v1/sessions/{identifier} gives that",
        param="response_id",
    )


def _unlike_others(call: Call) -> str:
    """A text that no other request has: a repeat with the same idempotency key is the same request."""
    return secrets.token_hex(16) if call.key is None else f"{call.caller.principal}\0{call.model}\0{call.key}"


async def _before(call: Call, previous: str | None) -> list[Message]:
    """The turns of the response that is gone on from, without its instructions. Raises NotFoundError."""
    if previous is None:
        return []
    try:
        session = await call.caller.golek.session(_id(previous, "previous_response_id"))
    except NotFoundError:
        raise _unknown(previous, "previous_response_id") from None
    return [message for turn in session.turns for message in turn.messages]


async def _events(stream: Stream, call: Call, shown: Shown) -> Events:
    """The events. None comes before the first piece: until then an error is a status."""
    writer = ResponseWriter(shown.asked, shown.key, shown.model, shown.created)
    opening = writer.begin()
    with asking.in_words_of(form.NAMES):
        async with stream:
            call.learnt(stream)
            try:
                async for piece in stream.pieces():
                    if opening:
                        call.learnt(stream)
                    yield b"".join([*opening, *writer.piece(piece)])
                    opening = []
            except InferenceServiceError as error:
                if opening:
                    raise
                call.visit.fail(error)
                yield b"".join(writer.fail(error))
                return
            call.learnt(stream)
            call.cost(stream.reply)
            yield b"".join([*opening, *writer.end(call.in_words(stream.reply))])


def _id(identifier: str, field: str) -> str:
    """`identifier`, which may be one. Raises NotFoundError: sessions that callers name are not responses."""
    if not response_body.is_response_id(identifier):
        raise _unknown(identifier, field)
    return identifier


def _unknown(identifier: str, field: str) -> NotFoundError:
    return NotFoundError(
        f"{field}: no response {identifier[:64]!r} of this caller is kept; one is with `store` true, for "
        "GOLEK_SESSION_TTL",
        param=field,
    )


ROUTES = [
    *(Route(path, respond, methods=["POST"]) for path in ("/v1/responses", "/responses")),
    Route("/v1/responses/{response_id}", retrieve, methods=["GET"]),
    Route("/v1/responses/{response_id}", forget, methods=["DELETE"]),
]
