"""Which requests can several models answer together?

A text each for one conversation: what belongs to one model's own prompt, draw or text is asked of that one alone.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest

SINGLE: Final = "single"
MARK: Final = b'"orchestration'
"""Stands in every request that says how several models answer it: what has it not need not be read for that."""


class _Said(msgspec.Struct):
    """Any values: what is wrong is told later."""

    orchestration_mode: Any = None
    orchestration: Any = None


_decoder = msgspec.json.Decoder(_Said)


def is_asked_in(payload: bytes) -> bool:
    """Whether a request wants several models, or says how they answer, so that it is a router's. It may be wrong."""
    if MARK not in payload:
        return False
    try:
        said = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    mode, wish = said.orchestration_mode, said.orchestration
    return mode != SINGLE and (mode is not None or (wish is not None and not _listens(wish)))


def _listens(wish: Any) -> bool:
    """Whether a wish is to hear of steps, and no more."""
    return isinstance(wish, dict) and wish.keys() <= {"progress"}


def check(request: InferenceRequest) -> None:
    """Raise BadRequestError for one that wants several models and something that only one can give."""
    if (request.orchestration_mode or SINGLE) == SINGLE:
        return
    for field, why in obstacles(request):
        raise BadRequestError(
            f"{field}: {why}; ask without it, or with orchestration_mode {SINGLE!r}", param=field,
            orchestration_mode=request.orchestration_mode,
        )  # fmt: skip


def obstacles(request: InferenceRequest) -> Iterator[tuple[str, str]]:
    """What several models cannot do together: each field, and why."""
    if request.raw:
        yield (
            "raw",
            "models that answer together read turns, not a raw prompt: send `messages`, or `input` without `raw`",
        )
    if request.resume is not None:
        yield "resume", "a text that was cut off is gone on from by one model"
    if request.adapter:
        yield "adapter", "a LoRA adapter is of one model"
    if request.params.n > 1:
        yield "params.n", "models that answer together come to one answer"
    if (request.params.best_of or 1) > 1:
        yield "params.best_of", "models that answer together come to one answer"
