"""POST /v1/messages: Anthropic's Messages API, and how many tokens a message has."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client.stream import Stream
from golek_program.web import errors
from golek_program.web.described import describe
from golek_wire import codec
from golek_wire.anthropic import messages as form
from golek_wire.anthropic import reply as replies
from golek_wire.anthropic.errors import Refusal
from golek_wire.anthropic.events import MessageEvents
from golek_wire.anthropic.reply import Shown
from golek_wire.errors import InferenceServiceError
from golek_wire.openai.counting import counting
from golek_wire.replies import InferenceReply
from golek_worker.gateway import asking, body, streams
from golek_worker.gateway.asking import Call
from golek_worker.gateway.sse import Events, EventStream, Waiting

EXAMPLE = {"max_tokens": 100, "messages": [{"role": "user", "content": "What is NATS?"}]}


@describe(
    group="Anthropic",
    summary="The next turn of a conversation.",
    request=form.BODY,
    reply=replies.Message,
    events=True,
    asks=True,
    refusal=Refusal,
    example=EXAMPLE,
)
async def messages(request: Request) -> Response:
    """Answer, as a whole or as a stream of events."""
    asked = form.read(await body.read(request))
    streams.check_not_wanted(request, asked.resumable)
    call = await asking.call(request, asked.model, "inference", asked.deadline_ms)
    payload = codec.encode(form.to_wire(asked, call.deadline_ms))
    if asked.stream:
        waiting = Waiting()

        def told(error: InferenceServiceError) -> bytes:
            return b"event: error\ndata: " + errors.anthropic_body(error, call.visit.request_id) + b"\n\n"

        return EventStream(_events(call.stream(payload, waiting), call, asked), waiting, told)
    with asking.in_words_of(form.NAMES):
        reply = await call.only(payload, "inference", InferenceReply)
    return asking.json(replies.message(reply, _shown(call, asked)))


@describe(
    group="Anthropic",
    summary="Counts the tokens that a message would read, with its template and tools.",
    request=form.Counted,
    reply=replies.Count,
    asks=True,
    refusal=Refusal,
    example={"messages": EXAMPLE["messages"]},
)
async def count_tokens(request: Request) -> Response:
    """Answer with the number of tokens."""
    asked = form.read_counted(await body.read(request))
    call = await asking.call(request, asked.model, "inference", None)
    payload = codec.encode(counting(form.to_wire(asked, call.deadline_ms)))
    with asking.in_words_of(form.NAMES):
        reply = await call.only(payload, "inference", InferenceReply)
    return asking.json(replies.Count(reply.tokens_in))


def _shown(call: Call, asked: form.MessagesRequest) -> Shown:
    """What the answer's form depends on, once the job has an id."""
    return Shown(call.visit.job_id, asked.model or call.model)


async def _events(stream: Stream, call: Call, asked: form.MessagesRequest) -> Events:
    """The events. None comes before the first piece: until then an error is a status."""
    with asking.in_words_of(form.NAMES):
        async with stream:
            call.learnt(stream)
            events = MessageEvents(_shown(call, asked))
            opening = events.opening()
            async for piece in stream.pieces():
                if opening:
                    call.learnt(stream)
                yield b"".join([*opening, *events.piece(piece)])
                opening = []
            call.learnt(stream)
            call.cost(stream.reply)
            yield b"".join([*opening, *events.closing(stream.reply)])


ROUTES = [
    Route("/v1/messages", messages, methods=["POST"]),
    Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
]
