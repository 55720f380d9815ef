"""Under which key is an answer kept?

A hash of all that decides on it. What stands in the request counts unless it is known not to matter (`UNDECIDING`), so
that a field that is added later divides answers and does not mix them. Who asks always counts. Pure.
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from golek_wire.requests import InferenceRequest, Request
from golek_worker.cache.base import Asked, CacheKey

FORM: Final = 1
"""Of keys and values; another one where older values could not be read."""
UNDECIDING: Final = frozenset(
    {"req_id", "stream", "deadline_ms", "priority", "reply_to", "metadata", "resumable", "cache"}
)
"""Fields of a request that say how it is answered, not what."""
_encode = msgspec.msgpack.Encoder().encode


def key(asked: Asked) -> CacheKey:
    """Where the whole answer is kept."""
    parts = ("answer", asked.principal, asked.kind, asked.model, asked.deployment, asked.adapter, asked.prompt,
             asked.grammar, asked.allowed, canonical(asked.request))  # fmt: skip
    return CacheKey(asked.model, _hash(parts))


def vector_key(asked: Asked, text: str) -> CacheKey:
    """Where the vector of one text is kept, at its full width: how much of it a caller wants is no part of it."""
    return CacheKey(asked.model, _hash(("vector", asked.principal, asked.model, asked.deployment, text)))


def canonical(request: Request) -> bytes:
    """What of the request decides on its answer: equal for requests that get the same one.

    Objects are taken as they were written: in what a template makes of a tool the order of its fields is seen.
    """
    form = type(request)
    fields = _plain(form)
    if isinstance(request, InferenceRequest):
        params = request.params if request.params.seed is None else msgspec.structs.replace(request.params, seed=None)
        fields = {**fields, "seed": None if is_greedy(request) else seed(request), "params": params}
    return _encode((form.__name__, msgspec.structs.replace(request, **fields)))


@functools.cache
def _plain(form: type[Request]) -> dict[str, Any]:
    """What the fields that decide nothing are taken to be: as if they were left out."""
    return {one.name: one.default for one in msgspec.structs.fields(form) if one.name in UNDECIDING}


def seed(request: InferenceRequest) -> int | None:
    """The caller's, from where it may stand."""
    return request.seed if request.seed is not None else request.params.seed


def is_greedy(request: InferenceRequest) -> bool:
    """Whether the likeliest token is taken each time, whatever the seed is."""
    return request.params.temperature == 0


def _hash(parts: Sequence[str | bytes]) -> str:
    """Of an encoding that tells where each part ends."""
    return hashlib.sha256(_encode((FORM, *parts))).hexdigest()
