"""How are a prompt's tokens counted without an answer?

As a request that writes nothing: what counts is what would have been read, with the chat template, tools and all. The
numbers of the tokens are not told: they mean nothing outside the engine.
"""

from typing import Literal

import msgspec
from msgspec import Struct, structs

from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.openai.chat import Model
from golek_wire.openai.turns import ChatMessage, conversation
from golek_wire.requests import InferenceRequest, Params


class TokenizeRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /tokenize: a text as it stands, in the words of vLLM or of llama.cpp, or a conversation."""

    prompt: str | None = None
    content: str | None = None
    messages: list[ChatMessage] | None = None
    model: Model | None = None


class Counted(Struct, frozen=True):
    """The answer to POST /tokenize."""

    count: int
    model: str


class InputTokens(Struct, frozen=True):
    """The answer to POST /v1/chat/completions/input_tokens."""

    input_tokens: int
    model: str
    object: Literal["chat.completion.input_tokens"] = "chat.completion.input_tokens"


_decoder = msgspec.json.Decoder(TokenizeRequest)


def read(payload: bytes) -> TokenizeRequest:
    """The request in `payload`. Raises BadRequestError naming the field that is wrong."""
    request = codec.decode_by(payload, _decoder, '{"content": "What is NATS?"}')
    if (text(request) is None) == (request.messages is None):
        raise BadRequestError(
            "prompt: a text in `prompt` or `content`, or a conversation in `messages`", param="prompt"
        )
    return request


def text(request: TokenizeRequest) -> str | None:
    """The text that is counted, where it is no conversation."""
    return request.prompt if request.prompt is not None else request.content


def to_wire(request: TokenizeRequest, deadline_ms: int) -> InferenceRequest:
    """`request` on the bus. Raises BadRequestError naming the part that is no text."""
    if request.messages is None:
        return InferenceRequest(input=text(request), raw=True, params=Params(max_tokens=0), deadline_ms=deadline_ms)
    return InferenceRequest(
        messages=conversation(request.messages), params=Params(max_tokens=0), deadline_ms=deadline_ms
    )


def counting(request: InferenceRequest) -> InferenceRequest:
    """`request` such that only its prompt is counted."""
    return structs.replace(
        request, params=Params(max_tokens=0), stream=False, response_format=None, resumable=False, resume=None
    )
