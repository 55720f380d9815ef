"""How are messages read and written?

JSON through msgspec. Reading a request either gives a valid `InferenceRequest` or raises a `BadRequestError` that names
the field, the value's problem and the limit.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from golek_wire import drawing, images, misplaced, problems, several
from golek_wire.errors import BadRequestError, ErrorReply, from_reply
from golek_wire.requests import (
    METADATA_LIMIT,
    REQ_ID_LIMIT,
    EmbeddingRequest,
    InferenceRequest,
    RerankRequest,
    VisionRequest,
)

T = TypeVar("T")

encode = msgspec.json.Encoder().encode
_embedding_decoder = msgspec.json.Decoder(EmbeddingRequest)
_rerank_decoder = msgspec.json.Decoder(RerankRequest)
_vision_decoder = msgspec.json.Decoder(VisionRequest)
_request_decoder = msgspec.json.Decoder(misplaced.REQUEST)


class _Label(msgspec.Struct):
    """Any values: a wrong one must not hide the other."""

    req_id: Any = ""
    stream: Any = False


_label_decoder = msgspec.json.Decoder(_Label)


def decode_request(payload: bytes) -> InferenceRequest:
    """The request in `payload`.

    Raises BadRequestError naming what is wrong: not JSON, a wrong type, a value out of its limits, or not exactly one
    of `input` and `messages`.
    """
    if not payload.strip():
        raise BadRequestError('The request is empty; send JSON such as {"input": "What is NATS?"}')
    request = _decoded(payload, _request_decoder)
    _check(request)
    return request


def decode_embedding(payload: bytes) -> EmbeddingRequest:
    """The embedding request in `payload`. Raises BadRequestError naming what is wrong, as `decode_request` does."""
    if not payload.strip():
        raise BadRequestError('The request is empty; send JSON such as {"input": "What is NATS?"}')
    request = _decoded(payload, _embedding_decoder)
    misplaced.check_route(payload)
    _check_label(request.req_id)
    check_texts(request.input)
    return request


def decode_rerank(payload: bytes) -> RerankRequest:
    """The rerank request in `payload`. Raises BadRequestError naming what is wrong, as `decode_request` does."""
    if not payload.strip():
        raise BadRequestError('The request is empty; send JSON such as {"query": "What is NATS?", "documents": ["…"]}')
    request = _decoded(payload, _rerank_decoder)
    misplaced.check_route(payload)
    _check_label(request.req_id)
    named = [("query", request.query), *((f"documents[{i}]", text) for i, text in enumerate(request.texts))]
    for param, text in named:
        if not text:
            raise BadRequestError(f"{param}: is empty; a text has at least one character", param=param)
    return request


def decode_vision(payload: bytes) -> VisionRequest:
    """The vision request in `payload`. Raises BadRequestError naming what is wrong, as `decode_request` does."""
    if not payload.strip():
        raise BadRequestError(
            'The request is empty; send JSON such as {"image": "data:image/png;base64,…", "labels": ["cat", "dog"]}'
        )
    request = _decoded(payload, _vision_decoder)
    misplaced.check_route(payload)
    _check_label(request.req_id)
    if (request.image is None) == (request.images is None):
        both = "both are there" if request.images is not None else "neither is there"
        raise BadRequestError(f"image: a request has either `image` or `images`; {both}", param="image")
    for place, source in images.named(request):
        images.address(source, place)
    labels = request.labels or []
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise BadRequestError(f"labels: {twice[:64]!r} is there twice; name each once", param="labels")
    return request


def decode_order(payload: bytes, kind: type[T]) -> T:
    """The order in `payload`; an empty one says nothing more. Raises BadRequestError as `decode_request` does."""
    return decode_body(payload, kind) if payload.strip() else kind()


def check_texts(texts: str | Sequence[str]) -> None:
    """Raises BadRequestError naming the first of `texts` that is empty or no text."""
    for number, text in enumerate([texts] if isinstance(texts, str) else texts):
        param = "input" if isinstance(texts, str) else f"input[{number}]"
        if not isinstance(text, str):
            raise BadRequestError(f"{param}: Expected `str`, got `{type(text).__name__}`", param=param)
        if not text:
            raise BadRequestError(f"{param}: is empty; a text has at least one character", param=param)


def decode_body(payload: bytes, kind: type[T]) -> T:
    """What a caller says on a subject that is not for jobs. Raises BadRequestError naming what is wrong."""
    return _decoded(payload, msgspec.json.Decoder(kind))


def decode_by(payload: bytes, decoder: "msgspec.json.Decoder[T]", example: str) -> T:
    """What `decoder` reads in `payload`. Raises BadRequestError; `example` is shown for an empty one."""
    if not payload.strip():
        raise BadRequestError(f"The request is empty; send JSON such as {example}")
    read = _decoded(payload, decoder)
    misplaced.check_route(payload)
    return read


def decode(payload: bytes, kind: type[T]) -> T:
    """A message of `kind`; raises msgspec.DecodeError."""
    return msgspec.json.decode(payload, type=kind)


def decode_final(payload: bytes, kind: type[T]) -> T:
    """The answer of `kind` in a final message; raises the error that the message tells of instead."""
    final = msgspec.json.decode(payload, type=_Final)
    if final.error is not msgspec.UNSET:
        raise from_reply(decode(payload, ErrorReply))
    return decode(payload, kind)


def label_of(payload: bytes) -> tuple[str, bool]:
    """`req_id` and `stream` of a request that may be wrong otherwise; empty and False when they cannot be told."""
    try:
        label = _label_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", False
    req_id = label.req_id if isinstance(label.req_id, str) and _is_label(label.req_id) else ""
    return req_id, label.stream is True


def _decoded(payload: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise problems.named(error, payload, decoder.type) from None
    except RecursionError:
        raise BadRequestError("The request has objects or lists nested too deep to be read: make it flatter") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"The request is not JSON: {error}") from None


class _Final(msgspec.Struct):
    error: Any = msgspec.UNSET


def _check(request: InferenceRequest) -> None:
    """The rules between fields, and those a type cannot say."""
    _check_label(request.req_id)
    if (request.input is None) == (request.messages is None):
        both = "both are there" if request.messages is not None else "neither is there"
        raise BadRequestError(f"input: a request has either `input` or `messages`; {both}", param="input")
    if request.messages is not None and not request.messages:
        raise BadRequestError("messages: at least one message, got none", param="messages")
    if request.input == "":
        raise BadRequestError("input: is empty; a prompt has at least one character", param="input")
    if request.raw and request.messages is not None:
        raise BadRequestError("raw: goes with `input`; `messages` always pass the chat template", param="raw")
    if request.raw and request.tools:
        raise BadRequestError("tools: are offered by the chat template, which `raw` bypasses", param="tools")
    if request.raw and request.session_id is not None:
        raise BadRequestError(
            "session_id: a raw prompt has no turns to go on from; send `messages`, or leave `raw` out",
            param="session_id",
        )
    _check_turns(request)
    _check_tools(request)
    if request.resumable:
        _check_resumable(request)
    several.check(request)
    drawing.check(request)


def _check_label(req_id: str) -> None:
    if not _is_label(req_id):
        raise BadRequestError(
            f"req_id: at most {REQ_ID_LIMIT} printable characters, no blanks around them; "
            f"got {len(req_id)} ({req_id[:32]!r}…)",
            param="req_id",
        )


def _check_turns(request: InferenceRequest) -> None:
    for number, message in enumerate(request.messages or ()):
        if message.parts is not None:
            images.check(message.parts, f"messages[{number}].parts")
        elif message.content is None and message.role != "assistant":
            raise BadRequestError(f"messages[{number}].content: is missing", param=f"messages[{number}].content")


def _check_resumable(request: InferenceRequest) -> None:
    if not request.stream:
        raise BadRequestError("resumable: only streams are kept; ask with `stream`", param="resumable")
    if request.resume is not None:
        raise BadRequestError(
            "resumable: an answer that goes on with a text is not kept; leave out `resume`", param="resumable"
        )
    size = len(encode(request.metadata))
    if size > METADATA_LIMIT:
        raise BadRequestError(
            f"metadata: at most {METADATA_LIMIT} bytes are kept with a resumable stream; got {size}", param="metadata"
        )


def _check_tools(request: InferenceRequest) -> None:
    for number, tool in enumerate(request.tools or ()):
        function = tool.get("function")
        if not (isinstance(function, dict) and isinstance(function.get("name"), str)):
            raise BadRequestError(
                f'tools[{number}]: is not of the form {{"type": "function", "function": {{"name": …}}}}',
                param=f"tools[{number}]",
            )
    choice = request.tool_choice
    if isinstance(choice, dict):
        function = choice.get("function")
        named = isinstance(function, dict) and isinstance(function.get("name"), str)
        if choice.get("type") != "function" or not named:
            raise BadRequestError(
                'tool_choice: is not of the form {"type": "function", "function": {"name": …}}, nor auto, none or '
                "required",
                param="tool_choice",
            )


def _is_label(text: str) -> bool:
    return len(text) <= REQ_ID_LIMIT and text.isprintable() and text == text.strip()
