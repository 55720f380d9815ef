"""What may be asked of a job whose answer is not waited for?

The keyword arguments of `submit`, and the request they become.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from golek_client import ranking, seeing
from golek_client.embedding import EmbedOptions
from golek_client.options import Messages, Options, build
from golek_client.ranking import RerankOptions
from golek_client.seeing import ClassifyOptions, Source
from golek_wire import codec, headers
from golek_wire.errors import BadRequestError
from golek_wire.subjects import Kind

SUBMIT_DEADLINE_S: Final = 3600.0


class SubmitOptions(Options, EmbedOptions, RerankOptions, ClassifyOptions, total=False):
    """Keyword arguments of `submit`: those of `ask`, or with `kind="embedding"` those of `embed`, with `kind="rerank"`
    those of `rerank` and the documents, with `kind="vision"` those of `classify` and the images.
    """

    documents: Sequence[str]
    images: Source | Sequence[Source]


def submission(
    kind: Kind,
    texts: str | Sequence[str] | None,
    messages: Messages | None,
    options: SubmitOptions,
    deadline: float,
) -> bytes:
    """The request's bytes.

    Raises TypeError for a keyword that this kind does not have, BadRequestError naming the field for a wrong value.
    """
    if kind == "inference":
        if texts is not None and not isinstance(texts, str):
            raise BadRequestError(
                f"input: a text was expected, got `{type(texts).__name__}`; a list is for embeddings", param="input"
            )
        return build(cast("Options", options), prompt=texts, messages=messages, stream=False, deadline=deadline)
    if kind == "rerank":
        if messages is not None:
            raise TypeError("unexpected keyword messages; a reranker takes a query and `documents`")
        rest = {name: value for name, value in options.items() if name != "documents"}
        return ranking.build(texts, options.get("documents"), cast("RerankOptions", rest), deadline)
    if kind == "vision":
        if texts is not None or messages is not None or "images" not in options:
            raise TypeError("what images show is asked with `images`, and neither a text nor messages")
        rest = {name: value for name, value in options.items() if name != "images"}
        return seeing.build(options["images"], cast("ClassifyOptions", rest), deadline)
    fields: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    unknown = fields.keys() - EmbedOptions.__annotations__.keys()
    if unknown or messages is not None:
        raise TypeError(
            f"unexpected keyword {', '.join(sorted(unknown)) or 'messages'}; "
            f"for embeddings there is {', '.join(EmbedOptions.__annotations__)}"
        )
    try:
        payload = codec.encode({**fields, "input": texts, "deadline_ms": max(1, round(deadline * 1000))})
    except (TypeError, UnicodeEncodeError, msgspec.EncodeError) as error:
        raise BadRequestError(f"The request cannot be written as JSON: {error}") from None
    codec.decode_embedding(payload)
    return payload


def checked_key(key: str | None) -> str | None:
    """`key` itself. Raises BadRequestError for what a worker would refuse."""
    if key is not None and not (isinstance(key, str) and headers.is_key(key)):
        raise BadRequestError(
            f"idempotency_key: 1 to {headers.KEY_LIMIT} printable ASCII characters, got {str(key)[:32]!r}…",
            param="idempotency_key",
        )
    return key
