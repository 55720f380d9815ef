"""How many tokens is a text, for a model?

Its own tokenizer knows, which its worker is asked for: a request with `max_tokens: 0` is only counted. That is a round
trip, so it is spared where the bytes alone tell that a text fits. What was counted once is remembered.
"""

import hashlib
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog

from golek_wire.errors import ContextBudgetExceededError, InferenceServiceError, JobCancelledError
from golek_wire.requests import InferenceRequest, Params
from golek_worker.orchestration.base import Member
from golek_worker.orchestration.caches import InferenceCache, Kept

log = structlog.get_logger("orchestration")

FRAMING: Final = 3
"""Tokens of a text beside its bytes: what a model wants before and after it, and the blank that some put in front.

Beyond that each token of a byte-level BPE, and of SentencePiece with byte fallback, is at least one byte of the text.
"""
TURN_TOKENS: Final = 64
"""Of the marks that a template writes around a turn, at most."""
TEMPLATE_TOKENS: Final = 2048
"""Of what a template says by itself, such as today's date and how tools are called, at most: the longest published ones
say 5.5 kB of English. Once a model has read a conversation of this kind it is at most what it read then."""
IMAGE_TOKENS: Final = 2048
BYTES_PER_TOKEN: Final = 3
"""Where nobody can count, as of a cloud."""
COUNTED: Final = Params(max_tokens=0)
TTL_S: Final = 3600.0

Count = Callable[[str, InferenceRequest], Awaitable[int | None]]
"""Has a model count a request, whose `max_tokens` is 0: `tokens_in` of its reply. None where that cannot be told, as
of a cloud; may also raise what the step fails with."""


def size(text: str) -> int:
    """Bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def most_tokens(text: str) -> int:
    """No model of those kinds makes more tokens of it."""
    return size(text) + FRAMING if text else 0


def most_tokens_of(request: InferenceRequest, template: int = TEMPLATE_TOKENS) -> int:
    """The same for a conversation, with what a template adds. Images count as the largest that are usual."""
    turns = request.messages or []
    read = size(request.input or "") + template + TURN_TOKENS * (len(turns) + 1)
    for turn in turns:
        read += size(turn.content or "") + size(turn.reasoning_content or "") + 2 * _json_size(turn.tool_calls)
        read += IMAGE_TOKENS * sum(part.get("type") not in ("text", "input_text") for part in turn.parts or [])
    return read + 4 * _json_size(request.tools) + FRAMING  # some templates write tools indented


def guessed(text: str) -> int:
    """About how many, without asking: for what need not be exact."""
    ascii_bytes = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    return math.ceil(ascii_bytes / 2.5) + size(text) - ascii_bytes


def text_request(text: str) -> InferenceRequest:
    """A text alone, to be counted."""
    return InferenceRequest(input=text, raw=True, params=COUNTED)


class Counter:
    """Counts, and remembers."""

    def __init__(self, count: Count, cache: InferenceCache[int], digest_of: Callable[[str], str]) -> None:
        """`digest_of` tells which file a model has loaded; empty where that is not known."""
        self._count = count
        self._cache = cache
        self._digest_of = digest_of

    async def text(self, member: Member, text: str) -> int:
        """Tokens of a text by itself."""
        return await self._counted(member, text_request(text), size(text)) if text else 0

    async def request(self, member: Member, request: InferenceRequest) -> int:
        """Tokens of all that the model would read."""
        wanted = msgspec.structs.replace(
            request, params=COUNTED, stream=False, response_format=None, tool_choice=None, seed=None
        )
        return await self._counted(member, wanted, most_tokens_of(request))

    def most(self, member: Member, request: InferenceRequest) -> int:
        """No more tokens than these; without asking."""
        return most_tokens_of(request, self._cache.get(self._kind(member, request)) or TEMPLATE_TOKENS)

    def learn(self, member: Member, request: InferenceRequest, tokens_in: int) -> None:
        """A model read this request as so many tokens: its template says no more by itself in others of the kind."""
        key = self._kind(member, request)
        if 0 < tokens_in < (self._cache.get(key) or TEMPLATE_TOKENS):
            self._cache.store(key, tokens_in, TTL_S)

    def _kind(self, member: Member, request: InferenceRequest) -> Kept:
        """What a template may make a difference between."""
        roles = {turn.role for turn in request.messages or []}
        kind = f"template {sorted(roles)} {bool(request.tools)}"
        return Kept(member.model, self._digest_of(member.model), kind)

    async def _counted(self, member: Member, request: InferenceRequest, most_bytes: int) -> int:
        key = Kept(member.model, self._digest_of(member.model), _hash(request))
        known = self._cache.get(key)
        if known is None:
            found = await self._asked(member.model, request)
            if found is None:
                return math.ceil(most_bytes / BYTES_PER_TOKEN)
            self._cache.store(key, known := found, TTL_S)
        return known

    async def _asked(self, model: str, request: InferenceRequest) -> int | None:
        try:
            return await self._count(model, request)
        except ContextBudgetExceededError as error:  # it says how many there are
            return error.current_tokens
        except JobCancelledError:
            raise
        except InferenceServiceError as error:
            log.info("orchestration.uncounted", model=model, code=error.code, problem=error.message)
            return None


def _hash(request: InferenceRequest) -> str:
    return hashlib.sha256(msgspec.msgpack.encode(request)).hexdigest()


def _json_size(said: list[dict[str, Any]] | None) -> int:
    return size(json.dumps(said, ensure_ascii=False)) if said else 0
