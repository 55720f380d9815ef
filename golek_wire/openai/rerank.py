"""How does a rerank request in Jina's and Cohere's form become one on the bus, and how is its reply shown?"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from golek_wire import codec
from golek_wire.openai import routed
from golek_wire.openai.chat import DeadlineMs, Model
from golek_wire.openai.routed import Routed
from golek_wire.replies import EmbeddingUsage, Ranking, RerankReply
from golek_wire.requests import DOCUMENTS_LIMIT, Document, Priority, RerankRequest
from golek_wire.routing import RouteWish


class RankRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/rerank."""

    query: str
    documents: Annotated[list[str | Document], Meta(min_length=1, max_length=DOCUMENTS_LIMIT)]
    model: Model | None = None
    top_n: Annotated[int, Meta(ge=1)] | None = None
    """Only so many results, the best ones."""
    return_documents: bool | None = None
    """Each result also has its document."""
    deadline_ms: DeadlineMs | None = None
    priority: Priority | None = None
    metadata: dict[str, Any] | None = None
    route: RouteWish | None = None


class Billed(Struct, frozen=True):
    """Cohere's count."""

    search_units: int = 1


class RankedMeta(Struct, frozen=True):
    """What Cohere's clients read beside the results."""

    billed_units: Billed = field(default_factory=Billed)


class Ranked(Routed, frozen=True):
    """The answer to POST /v1/rerank."""

    id: str
    model: str
    results: list[Ranking]
    usage: EmbeddingUsage
    meta: RankedMeta = field(default_factory=RankedMeta)


_decoder = msgspec.json.Decoder(RankRequest)


def read(payload: bytes) -> RankRequest:
    """The request in `payload`. Raises BadRequestError naming the field that is wrong."""
    return codec.decode_by(payload, _decoder, '{"query": "What is NATS?", "documents": ["…"]}')


def to_wire(request: RankRequest, deadline_ms: int) -> RerankRequest:
    """`request` on the bus."""
    return RerankRequest(
        query=request.query,
        documents=request.documents,
        top_n=request.top_n,
        return_documents=bool(request.return_documents),
        deadline_ms=deadline_ms,
        priority=request.priority,
        metadata=request.metadata,
        route=request.route,
    )


def shown(reply: RerankReply, job_id: str, model: str) -> Ranked:
    """The answer; `model` is as the caller named it."""
    return Ranked(f"rerank-{job_id}", model, reply.results, reply.usage, **routed.about([reply]))
