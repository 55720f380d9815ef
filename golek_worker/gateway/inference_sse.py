"""/v1/inference_sse: a prompt in, named events out.

`inference_token` with each piece, `inference_complete` with the whole answer, `inference_error` for a stream that ends
in one; `inference_step` where several models answer and `orchestration.progress` asks for it. With GET the query is the
prompt.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client.stream import Stream
from golek_program.web import errors
from golek_program.web.described import describe
from golek_wire import codec
from golek_wire.errors import InferenceServiceError
from golek_worker.gateway import asking, body, door, prompts
from golek_worker.gateway.asking import Call
from golek_worker.gateway.prompts import Prompt
from golek_worker.gateway.sse import Events, EventStream, Waiting

TOKEN = b"inference_token"
COMPLETE = b"inference_complete"
STEP = b"inference_step"
ERROR = b"inference_error"
_EXAMPLE = {"model": "golek-tiny", "prompt": "Why is the sky blue?", "max_tokens": 64}


@describe(group="Prompts", summary="Streams the answer to a prompt as named events.", request=Prompt, events=True,
          asks=True, example=_EXAMPLE)  # fmt: skip
async def posted(request: Request) -> Response:
    """Answer the prompt in the body."""
    return await _answer(request, *prompts.read(await body.read(request)))


@describe(group="Prompts", summary="The same, with the prompt in the query.", query=Prompt, events=True, asks=True,
          values={"prompt": "Why is the sky blue?"})  # fmt: skip
async def queried(request: Request) -> Response:
    """Answer the prompt in the query."""
    return await _answer(request, *prompts.read(dict(request.query_params), strict=False))


async def _answer(request: Request, asked: Prompt, fields: dict[str, object]) -> Response:
    call = await asking.call(request, asked.model, "inference", asked.deadline_ms)
    waiting = Waiting()
    stream = call.stream(prompts.request(fields, call.deadline_ms), waiting)

    def told(error: InferenceServiceError) -> bytes:
        return _event(ERROR, errors.event(error, strict=door.door(request).settings.golek_strict_openai))

    return EventStream(_events(stream, call, asked, waiting), waiting, told)


async def _events(stream: Stream, call: Call, asked: Prompt, waiting: Waiting) -> Events:
    request_id = call.visit.request_id
    async with stream:
        call.learnt(stream)
        waiting.written = lambda step: _event(
            STEP, codec.encode(prompts.step(step, asked, request_id, call.visit.job_id))
        )
        async for piece in stream.pieces():
            call.learnt(stream)
            if piece.text or piece.reasoning_content:
                said = prompts.written(piece, asked, request_id, call.visit.job_id)
                yield _event(TOKEN, codec.encode(said))
        call.learnt(stream)
        call.cost(stream.reply)
        end = prompts.complete(stream.reply, asked, call.model, request_id, call.visit.job_id, call.visit.worker)
        yield _event(COMPLETE, codec.encode(end))


def _event(name: bytes, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, data)


_QUERIED = Route("/v1/inference_sse", queried, methods=["GET"])
assert _QUERIED.methods is not None
_QUERIED.methods.remove("HEAD")  # it would have a text written that nobody gets
ROUTES = [Route("/v1/inference_sse", posted, methods=["POST"]), _QUERIED]
