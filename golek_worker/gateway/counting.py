"""POST /tokenize and /v1/chat/completions/input_tokens: how many tokens a prompt has."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_program.web.described import describe
from golek_wire import codec
from golek_wire.openai import chat
from golek_wire.openai import counting as form
from golek_wire.replies import InferenceReply
from golek_worker.gateway import asking, body


@describe(
    group="OpenAI",
    summary="Counts the tokens of a text or a conversation.",
    request=form.TokenizeRequest,
    reply=form.Counted,
    asks=True,
    example={"model": "golek-tiny", "content": "What is NATS?"},
)
async def tokenize(request: Request) -> Response:
    """Answer with the number of tokens; the tokens themselves are not told."""
    asked = form.read(await body.read(request))
    call = await asking.call(request, asked.model, "inference", None)
    payload = codec.encode(form.to_wire(asked, call.deadline_ms))
    reply = await call.only(payload, "inference", InferenceReply)
    return asking.json(form.Counted(reply.tokens_in, call.model))


@describe(
    group="OpenAI",
    summary="Counts the tokens that a chat completion would read, with its template and tools.",
    request=chat.BODY,
    reply=form.InputTokens,
    asks=True,
    example={"model": "golek-tiny", "messages": [{"role": "user", "content": "What is NATS?"}]},
)
async def input_tokens(request: Request) -> Response:
    """Answer with the number of tokens."""
    asked = chat.read(await body.read(request))
    call = await asking.call(request, asked.model, "inference", asked.deadline_ms)
    payload = codec.encode(form.counting(chat.to_wire(asked, call.deadline_ms)))
    reply = await call.only(payload, "inference", InferenceReply)
    return asking.json(form.InputTokens(reply.tokens_in, call.model))


ROUTES = [
    *(Route(path, tokenize, methods=["POST"]) for path in ("/v1/tokenize", "/tokenize")),
    Route("/v1/chat/completions/input_tokens", input_tokens, methods=["POST"]),
]
