"""POST /v1/rerank: documents by how well they suit a query, as Jina's and Cohere's APIs have it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_program.web.described import describe
from golek_wire import codec
from golek_wire.openai import rerank as form
from golek_wire.replies import RerankReply
from golek_worker.gateway import asking, body


@describe(
    group="OpenAI",
    summary="Documents by how well they suit a query, the best first.",
    request=form.RankRequest,
    reply=form.Ranked,
    asks=True,
    example={"query": "rivers of Africa", "documents": ["The Nile is long.", "Snow is white."]},
)
async def rerank(request: Request) -> Response:
    """Answer with the documents' places and scores, the best first."""
    asked = form.read(await body.read(request))
    call = await asking.call(request, asked.model, "rerank", asked.deadline_ms)
    payload = codec.encode(form.to_wire(asked, call.deadline_ms))
    reply = await call.only(payload, "rerank", RerankReply)
    return asking.json(form.shown(reply, call.visit.job_id, asked.model or call.model))


ROUTES = [Route(path, rerank, methods=["POST"]) for path in ("/v1/rerank", "/v2/rerank", "/rerank")]
