"""What tests ask of providers."""

from typing import Any, NamedTuple

from golek_wire.replies import Delta, EmbeddingReply, InferenceReply, RerankReply
from golek_wire.requests import InferenceRequest, JsonSchema, Message, Params, Request, ResponseFormat
from golek_worker.providers.base import Call, Piece, Provider

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Tell it",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for name in ("get_weather", "get_time")
]
SCHEMA = ResponseFormat("json_schema", JsonSchema({"type": "object", "properties": {"city": {"type": "string"}}}))
IMAGE: list[dict[str, Any]] = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
]
QUESTION = "What is a lease?"


class Answered(NamedTuple):
    """A text that a provider gave."""

    pieces: list[Piece]
    reply: InferenceReply

    @property
    def text(self) -> str:
        """What a reader of the pieces has, of the first choice."""
        return "".join(
            piece if isinstance(piece, str) else piece.text
            for piece in self.pieces
            if isinstance(piece, str) or piece.index == 0
        )

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """Id, name and arguments of the calls, put together as a reader of the pieces does."""
        found: dict[int, list[str]] = {}
        for piece in self.pieces:
            for call in (isinstance(piece, Delta) and piece.tool_calls) or ():
                parts = found.setdefault(call.index, ["", "", ""])
                parts[0], parts[1] = parts[0] or call.id, parts[1] or call.name
                parts[2] += call.arguments
        assert list(found) == list(range(len(found)))
        return [(one[0], one[1], one[2]) for one in found.values()]

    @property
    def called(self) -> list[tuple[str, str, str]]:
        """The same of the reply."""
        return [(call.id, call.function.name, call.function.arguments) for call in self.reply.tool_calls or ()]


def text(**fields: Any) -> InferenceRequest:
    """A request for a text."""
    return InferenceRequest(**{"input": QUESTION} | fields)


def turns(*messages: Message, **fields: Any) -> InferenceRequest:
    """A conversation."""
    return InferenceRequest(messages=list(messages), **fields)


def call(request: Request, seconds: float = 10.0, *, model: str = "m") -> Call:
    """As the router asks."""
    return Call(model, request, "job-0123456789abcdef", seconds)


async def everything(
    provider: Provider, request: Request, seconds: float = 10.0
) -> list[Piece | InferenceReply | EmbeddingReply | RerankReply]:
    """All that a provider gives."""
    return [one async for one in provider.answer(call(request, seconds))]


async def ask(provider: Provider, request: InferenceRequest, seconds: float = 10.0) -> Answered:
    """A text, with its pieces."""
    *pieces, reply = await everything(provider, request, seconds)
    assert isinstance(reply, InferenceReply)
    given = [piece for piece in pieces if isinstance(piece, (str, Delta))]
    assert len(given) == len(pieces)
    return Answered(given, reply)


def greedy(**fields: Any) -> Params:
    """No dice."""
    return Params(temperature=0.0, **fields)
