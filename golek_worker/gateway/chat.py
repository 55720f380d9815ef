"""POST /v1/chat/completions: OpenAI's chat API."""

import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client.stream import Stream
from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.replies import InferenceReply
from golek_wire.requests import InferenceRequest
from golek_worker.gateway import body, door
from golek_worker.gateway.callers import check_model
from golek_worker.gateway.leaving import watched
from golek_worker.gateway.sse import Events, EventStream, Waiting


async def chat(request: Request) -> Response:
    """Answer, as a whole or as a stream of events."""
    asked = codec.decode_body(await body.read(request), dict[str, Any])
    model = asked.get("model") or door.door(request).served
    if not isinstance(model, str) or not model:
        raise BadRequestError("model: the name of a model, as GET /v1/models lists them", param="model")
    visit, caller, seconds = door.visit(request), door.caller(request), door.door(request).seconds
    check_model(caller, model)
    visit.model = model
    fields = {name: asked[name] for name in ("messages", "stream") if name in asked}
    payload = codec.encode(msgspec.convert(fields, InferenceRequest))
    if asked.get("stream"):
        waiting = Waiting()
        stream = caller.golek.passed_stream(model, payload, deadline=seconds, on_queued=waiting)
        return EventStream(_events(stream, visit), waiting)
    async with (
        watched(request.receive),
        await caller.golek.passed(model, "inference", payload, InferenceReply, deadline=seconds) as exchange,
    ):
        visit.job_id = exchange.job_id
        reply = await exchange.reply()
        visit.worker, visit.allowances = exchange.worker, exchange.allowances
    visit.tokens_in, visit.tokens_out = reply.tokens_in, reply.tokens_out
    return Response(codec.encode(_completion(reply, visit)), media_type="application/json")


async def _events(stream: Stream, visit: door.Visit) -> Events:
    async with stream:
        visit.job_id = stream.job_id
        async for delta in stream.pieces():
            visit.worker, visit.allowances = stream.worker, stream.allowances
            yield b"data: " + codec.encode({"choices": [{"index": 0, "delta": {"content": delta.text}}]}) + b"\n\n"
        yield b"data: [DONE]\n\n"


def _completion(reply: InferenceReply, visit: door.Visit) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{visit.job_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": visit.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.text},
                "finish_reason": reply.finish_reason,
            }
        ],
    }


ROUTES = [Route("/v1/chat/completions", chat, methods=["POST"])]
