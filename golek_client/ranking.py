"""How do a query and documents become a request?

One request, whatever its size: what no message carries goes by reference.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import msgspec

from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.replies import RerankReply
from golek_wire.routing import RouteWish

DECIMALS = 7


class RerankOptions(TypedDict, total=False):
    """Keyword arguments of `rerank`. What is left out, or None, takes its default."""

    top_n: int | None
    """Only so many results, the best ones."""
    return_documents: bool | None
    """Each result also has its document."""
    req_id: str | None
    """A label of at most 128 printable characters, repeated in the reply and the logs."""
    priority: int | None
    """1 low, 2 normal, 3 high; used by a fleet that queues by priority."""
    reply_to: str | None
    """A subject where the answer is published as well."""
    metadata: dict[str, Any] | None
    route: RouteWish | dict[str, Any] | None
    """As in `Options`."""


def build(query: object, documents: object, options: RerankOptions, deadline: float) -> bytes:
    """The request's bytes. Raises BadRequestError for what a worker would refuse, TypeError for a keyword that does
    not exist.
    """
    unknown = options.keys() - RerankOptions.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"unexpected keyword {', '.join(sorted(unknown))}; there is {', '.join(RerankOptions.__annotations__)}"
        )
    if isinstance(documents, str) or not isinstance(documents, Sequence):
        raise BadRequestError(
            f"documents: a list of texts was expected, got `{type(documents).__name__}`", param="documents"
        )
    fields: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    asked = {**fields, "query": query, "documents": documents, "deadline_ms": max(1, round(deadline * 1000))}
    try:
        payload = codec.encode(asked)
    except (TypeError, UnicodeEncodeError, msgspec.EncodeError) as error:
        raise BadRequestError(f"The request cannot be written as JSON: {error}") from None
    codec.decode_rerank(payload)
    return payload


def as_json(reply: RerankReply) -> str:
    """`reply` as a person reads it: in one line, scores with as many decimals as a float32 holds."""
    results = [
        msgspec.structs.replace(result, relevance_score=round(result.relevance_score, DECIMALS))
        for result in reply.results
    ]
    return codec.encode(msgspec.structs.replace(reply, results=results)).decode()
