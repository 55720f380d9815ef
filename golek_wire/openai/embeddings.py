"""How do OpenAI's embeddings become texts for the bus, and vectors its answer?"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.openai import routed
from golek_wire.openai.chat import DeadlineMs, Model
from golek_wire.openai.routed import Routed
from golek_wire.replies import Embedding, EmbeddingReply, EmbeddingUsage
from golek_wire.requests import EncodingFormat, Priority, User
from golek_wire.routing import CacheWish, RouteWish


class EmbeddingsRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/embeddings."""

    input: str | list[str | int | list[int]]
    """A text, or several."""
    model: Model | None = None
    encoding_format: EncodingFormat | None = None
    """Numbers, or base64 of little-endian float32; numbers without it."""
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    """Only the first so many numbers of each vector, as a unit vector again."""
    deadline_ms: DeadlineMs | None = None
    priority: Priority | None = None
    metadata: dict[str, Any] | None = None
    user: User | None = None
    cache: CacheWish | None = None
    route: RouteWish | None = None


class EmbeddingList(Routed, frozen=True):
    """The answer to POST /v1/embeddings."""

    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


_decoder = msgspec.json.Decoder(EmbeddingsRequest)
_TOKENS: Final = (
    "numbers of tokens are those of another model's vocabulary; send the text "
    "(LangChain: OpenAIEmbeddings(…, check_embedding_ctx_length=False))"
)


def read(payload: bytes) -> EmbeddingsRequest:
    """The request in `payload`. Raises BadRequestError naming the field that is wrong."""
    request = codec.decode_by(payload, _decoder, '{"input": "What is NATS?"}')
    texts(request)
    return request


def texts(request: EmbeddingsRequest) -> str | list[str]:
    """What is asked about. Raises BadRequestError for an empty text, and for numbers of tokens.

    Some clients count tokens themselves and send the numbers of OpenAI's vocabulary: read by any other model they are
    another text, so an answer would be wrong without anybody noticing.
    """
    if isinstance(request.input, str):
        codec.check_texts(request.input)
        return request.input
    if not request.input:
        raise BadRequestError("input: at least one text, got none", param="input")
    found: list[str] = []
    for number, text in enumerate(request.input):
        if not isinstance(text, str):
            raise BadRequestError(f"input[{number}]: {_TOKENS}", param=f"input[{number}]")
        found.append(text)
    codec.check_texts(found)
    return found


def shown(reply: EmbeddingReply, model: str) -> EmbeddingList:
    """The answer; `model` is as the caller named it."""
    return EmbeddingList(reply.data, model, reply.usage, **routed.about([reply]))
