"""How is the end of a run kept, and told again to somebody who did not begin it?

As bytes for caches; as the pieces that a stream hears; without what it took when it was made.
"""

from typing import Final

import msgspec

from golek_wire.replies import (
    Choice,
    Delta,
    EmbeddingReply,
    InferenceReply,
    Reply,
    RerankReply,
    ToolCallDelta,
)
from golek_wire.subjects import Kind
from golek_wire.vision import VisionReply
from golek_worker.cache.responses import KEPT_ENDS
from golek_worker.choices import Several
from golek_worker.engine.base import Classified, Embedded, Finished, Made, Piece, Ranked, Replied

Known = dict[int, tuple[int, list[float]]]
"""By a text's place in a list: its tokens and its vector."""

_encode = msgspec.msgpack.Encoder().encode
_own = msgspec.msgpack.Decoder(Finished | Several | Embedded | Ranked)
_vector = msgspec.msgpack.Decoder(tuple[int, list[float]])
_REPLIES: Final[dict[Kind, msgspec.msgpack.Decoder[Reply]]] = {
    "inference": msgspec.msgpack.Decoder(InferenceReply),
    "embedding": msgspec.msgpack.Decoder(EmbeddingReply),
    "rerank": msgspec.msgpack.Decoder(RerankReply),
    "vision": msgspec.msgpack.Decoder(VisionReply),
}
_OWN, _OF_OTHERS = b"o", b"r"
"""The first byte of a kept end: an engine's of this worker, or the reply of whom a router asked."""
AGAIN: Final = "it was answered before, or for an equal request"
"""The reason in the route of an answer for which nobody was asked."""


def encoded(end: Made) -> bytes:
    """As caches keep it."""
    end = unmeasured(end)
    if isinstance(end, Replied):
        return _OF_OTHERS + _encode(end.reply)
    return _OWN + _encode(msgspec.structs.replace(end, job_id=""))


def decoded(value: bytes, kind: Kind) -> Made:
    """What a cache kept. Raises msgspec.DecodeError for what is none of it."""
    if value[:1] == _OF_OTHERS:
        return Replied(_REPLIES[kind].decode(value[1:]))
    end: Made = _own.decode(value[1:])
    return end


def encoded_vector(tokens: int, vector: list[float]) -> bytes:
    """The vector of one text, and how many tokens that has."""
    return _encode((tokens, vector))


def decoded_vector(value: bytes) -> tuple[int, list[float]]:
    """The same again. Raises msgspec.DecodeError."""
    return _vector.decode(value)


def is_whole(end: Made) -> bool:
    """Whether it ended as kept answers may."""
    if isinstance(end, Replied):
        reply = end.reply
        reasons = [choice.finish_reason for choice in reply.all_choices] if isinstance(reply, InferenceReply) else []
    elif isinstance(end, Several):
        reasons = [choice.finish_reason for choice in end.choices]
    else:
        reasons = [end.finish_reason] if isinstance(end, Finished) else []
    return all(reason in KEPT_ENDS for reason in reasons)


def pieces(end: Made) -> list[Piece]:
    """What a stream hears of an answer that is there already."""
    match end:
        case Replied(InferenceReply() as reply):
            return [piece for choice in reply.all_choices for piece in _of_choice(choice)]
        case Several():
            return [piece for choice in end.choices for piece in _of_choice(choice)]
        case Finished():
            return _of_choice(
                Choice(
                    0, end.text, end.finish_reason, end.tokens_out, end.reasoning_content, end.tool_calls, end.logprobs
                )
            )
        case _:
            return []


def unmeasured(end: Made) -> Made:
    """The answer without the time and the money that it took when it was made."""
    if isinstance(end, Finished):
        return msgspec.structs.replace(end, waited_ms=0.0, prefill_ms=0.0, decode_ms=0.0)
    if isinstance(end, Replied):
        reply, route = priced(end.reply, None), end.reply.route
        if route:
            route = msgspec.structs.replace(route, reason=AGAIN, chain=[], queue_ms=0.0)
        reply = msgspec.structs.replace(reply, route=route)
        if isinstance(reply, InferenceReply) and reply.orchestration is not None:
            how = msgspec.structs.replace(reply.orchestration, steps=[])
            reply = msgspec.structs.replace(reply, orchestration=how)
        return Replied(reply)
    return end


def priced(reply: Reply, cost_usd: float | None) -> Reply:
    """The reply with what it cost; None where nothing had a price."""
    absent = None if isinstance(reply, InferenceReply) else msgspec.UNSET
    return msgspec.structs.replace(reply, cost_usd=absent if cost_usd is None else cost_usd)


def weight(end: Made) -> int:
    """About how much memory it takes, in characters or numbers."""
    match end:
        case Embedded():
            return sum(map(len, end.vectors)) * 4
        case Ranked():
            return len(end.scores)
        case Classified():
            return sum(map(len, end.scores))
        case Several():
            return sum(len(choice.text) + 64 * len(choice.logprobs or ()) for choice in end.choices)
        case Finished():
            return len(end.text) + len(end.reasoning_content or "") + 64 * len(end.logprobs or ())
        case Replied():
            return len(_encode(end.reply))


def merged(computed: Embedded, known: Known, count: int) -> Embedded:
    """The vectors of all texts, those that were computed and those that were known, in their order."""
    fresh = iter(zip(computed.vectors, computed.tokens or [0] * len(computed.vectors), strict=True))
    vectors, tokens = [], []
    for place in range(count):
        found = known.get(place)
        vector, own = next(fresh) if found is None else (found[1], found[0])
        vectors.append(vector)
        tokens.append(own)
    tokens_in = computed.tokens_in + sum(own for own, _ in known.values())
    return Embedded(computed.job_id, vectors, tokens_in, tokens)


def _of_choice(choice: Choice) -> list[Piece]:
    found: list[Piece] = []
    index = choice.index
    if choice.reasoning_content:
        found.append(Delta(reasoning_content=choice.reasoning_content, index=index))
    if choice.logprobs:
        found.append(Delta(choice.text, logprobs=choice.logprobs, index=index))
    elif choice.text:
        found.append(Delta(choice.text, index=index) if index else choice.text)
    if choice.tool_calls:
        calls = [
            ToolCallDelta(place, call.id, call.function.name, call.function.arguments)
            for place, call in enumerate(choice.tool_calls)
        ]
        found.append(Delta(tool_calls=calls, index=index))
    return found
