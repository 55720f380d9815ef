"""POST /v1/embeddings: OpenAI's embeddings API."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client.embedding import EmbedOptions
from golek_program.web.described import describe
from golek_program.web.leaving import watched
from golek_wire.openai import embeddings as form
from golek_worker.gateway import asking, body


@describe(
    group="OpenAI",
    summary="A vector for each text.",
    request=form.EmbeddingsRequest,
    reply=form.EmbeddingList,
    asks=True,
    example={"input": ["a river", "a lease"]},
)
async def embeddings(request: Request) -> Response:
    """Answer with a vector for each text; a long list goes to the model in parts."""
    asked = form.read(await body.read(request))
    call = await asking.call(request, asked.model, "embedding", asked.deadline_ms)
    options = EmbedOptions(
        dimensions=asked.dimensions,
        encoding_format=asked.encoding_format,
        priority=asked.priority,
        metadata=asked.metadata,
        user=asked.user,
        cache=asked.cache,
        route=call.wish(asked.route),
    )
    async with watched(request.scope):
        reply = await call.caller.golek.passed_texts(
            call.model,
            form.texts(asked),
            options,
            deadline=call.seconds,
            idempotency_key=call.key,
            told=call.learnt,
            hops=call.hops,
        )
    call.cost(reply)
    return asking.json(form.shown(reply, asked.model or call.model))


ROUTES = [Route(path, embeddings, methods=["POST"]) for path in ("/v1/embeddings", "/embeddings")]
