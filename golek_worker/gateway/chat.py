"""POST /v1/chat/completions: OpenAI's chat API."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client.stream import Stream
from golek_program.web.described import describe
from golek_wire import codec
from golek_wire.openai import chat as form
from golek_wire.openai.completion import ChatCompletion, Shown, completion
from golek_wire.openai.events import ChatEvents
from golek_wire.replies import InferenceReply
from golek_worker.gateway import asking, body, streams
from golek_worker.gateway.asking import Call
from golek_worker.gateway.sse import Events, EventStream, Waiting
from golek_worker.gateway.streams import View


@describe(
    group="OpenAI",
    summary="The next turn of a conversation.",
    request=form.BODY,
    reply=ChatCompletion,
    events=True,
    asks=True,
    example={"model": "golek-tiny", "messages": [{"role": "user", "content": "What is NATS?"}]},
)
async def chat(request: Request) -> Response:
    """Answer, as a whole or as a stream of events."""
    asked = form.read(await body.read(request))
    call = await asking.call(request, asked.model, "inference", asked.deadline_ms)
    sent = form.to_wire(asked, call.deadline_ms)
    if asked.stream and streams.is_wanted(request, asked.resumable):
        return streams.kept(request, sent, View("chat", shown(call, asked)), call)
    payload = codec.encode(sent)
    if asked.stream:
        waiting = Waiting()
        return EventStream(_events(call.stream(payload, waiting), call, asked, waiting), waiting)
    with asking.in_words_of({}):
        reply = await call.only(payload, "inference", InferenceReply)
    return asking.json(completion(call.in_words(reply), shown(call, asked)))


def shown(call: Call, asked: form.ChatRequest) -> Shown:
    """What the answer's form depends on, once the job has an id."""
    return Shown(
        f"chatcmpl-{call.visit.job_id}",
        call.created,
        asked.model or call.model,
        choices=form.texts(asked),
        include_usage=asked.wants_usage,
        former=form.speaks_of_functions(asked),
    )


async def _events(stream: Stream, call: Call, asked: form.ChatRequest, waiting: Waiting) -> Events:
    """The events. But for steps none comes before the first piece: until then an error is a status."""
    with asking.in_words_of({}):
        async with stream:
            call.learnt(stream)
            events = ChatEvents(shown(call, asked))
            waiting.written = events.step
            opening = b"".join(events.opening())
            async for piece in stream.pieces():
                if opening:
                    call.learnt(stream)
                yield opening + events.piece(piece)
                opening = b""
            call.learnt(stream)
            call.cost(stream.reply)
            yield opening + b"".join(events.closing(call.in_words(stream.reply)))


ROUTES = [Route(path, chat, methods=["POST"]) for path in ("/v1/chat/completions", "/chat/completions")]
