"""May another target be asked after an error, may the same one again, and is the error the target's fault?

Tables and arithmetic: the chain asks here and acts.
"""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from golek_wire.errors import InferenceServiceError, RetriableError
from golek_worker.router.purse import UNPAID

Fault = Literal["failure", "limit", "none", "unknown"]
"""For the target's breaker: it failed, it asked for a pause, it is well, or nobody knows."""

ITS_FAULT: Final = frozenset((
    "PROVIDER_FAILED", "PROVIDER_REFUSED", "ENGINE_FAILED", "STREAM_INTERRUPTED", "INTERNAL",
))  # fmt: skip
"""Errors that are a target's failures: who refuses the key or the address refuses the next request, too. A timeout is
said as one of these by whoever measured it."""
UNKNOWN: Final = frozenset((
    "CANCELLED", "QUEUE_FULL", "MODEL_BUSY", "MODEL_LOADING", "NO_WORKERS", "BUS_UNAVAILABLE", "TEMPORARY_RESOURCE",
))  # fmt: skip
"""These say nothing of whether a target answers those that it takes."""
SLOW_S: Final = 5.0
"""Who gave no word for so long until the deadline failed; before, the deadline was short."""
ENDS: Final = frozenset((
    "CANCELLED", "DEADLINE_EXCEEDED", "OVER_LIMIT", "ROUTE_LOOP", "IDEMPOTENCY_MISMATCH", "CONFLICT", "UNAUTHORIZED",
    "FORBIDDEN", "POISON_JOB", "COMPRESSION_FAILED", "HANDOFF_STATE_INVALID", "ORCHESTRATION_FAILED",
))  # fmt: skip
"""After these nobody else is asked: the caller's own doing, out of time, over a limit, or nothing that another target
would do better. Each with its HTTP meaning as the fleet says it; a provider's word is `PROVIDER_…`."""
CALLERS: Final = frozenset(("BAD_REQUEST", "UNKNOWN_GRAMMAR", "INVALID_GRAMMAR"))
"""The request is wrong wherever it is asked, unless only this provider says so."""
ELSEWHERE: Final = frozenset(("CONTEXT_BUDGET_EXCEEDED", "PAYLOAD_TOO_LARGE", "ADAPTER_NOT_FOUND"))
"""What one target cannot and another one may: it is asked where it could."""
SAME_AGAIN: Final = frozenset(("PROVIDER_FAILED", "RATE_LIMITED", "ENGINE_FAILED"))
"""Worth another try at the same target, where there is no other. A local queue that is full or a model that loads is
not."""

RETRIES: Final = 2
"""The same target is asked so many times more."""
RETRY_FIRST_S: Final = 0.2
RETRY_LIMIT_S: Final = 5.0
RETRY_LEFT: Final = 0.5
"""A pause before a retry takes at most this part of the time that is left."""

BEGIN_S: Final = 15.0
"""A target that is not known to take longer begins within this time, or the next one is asked."""
BEGIN: Final = 4.0
"""So many times what it usually takes."""
BEGIN_LEFT: Final = 0.5
"""But at most this part of the time that is left: the next one needs some, too."""
VERDICT_S: Final = 10.0


class Again(Struct, frozen=True):
    """Ask the same target again, after a pause."""

    after_s: float


Next = Literal["next", "stop"]
"""Ask the next target, or tell the caller."""


def fault(error: InferenceServiceError, silent_s: float = 0.0) -> Fault:
    """Whose fault an error of a target is that gave no word for `silent_s`."""
    if error.code == "DEADLINE_EXCEEDED":  # the caller's impatience, or a target that hangs
        return "failure" if silent_s >= SLOW_S else "unknown"
    if error.code in UNKNOWN:
        return "unknown"
    if error.code == "RATE_LIMITED":
        return "limit"
    return "failure" if error.code in ITS_FAULT else "none"


def pause_s(error: InferenceServiceError) -> float:
    """How long the target wants to be left alone."""
    return error.retry_after_ms / 1000 if isinstance(error, RetriableError) else 0.0


def allows_next(error: InferenceServiceError) -> bool:
    """Whether another target may be asked after this error of one: also where there is no money for that one."""
    if UNPAID in error.details:
        return True
    if error.code in CALLERS:
        return bool(error.details.get("provider"))  # its own rules, such as the length of a name
    return error.code not in ENDS


def is_doubtful(error: InferenceServiceError) -> bool:
    """Whether the error says that the request is wrong. Behind a text that another target wrote it is not: only this
    one cannot go on there.
    """
    return error.code in CALLERS


def after(
    error: InferenceServiceError, *, tries: int, left_s: float, others: bool, has_text: bool, draw: float
) -> Again | Next:
    """What to do after the `tries`-th try of a target, with `left_s` until the deadline.

    1. An error that ends the request ends it.
    2. Text was handed out: the same target is not asked again, another one that can go on behind it may be.
    3. Somebody else may answer: the next one at once, who is well answers sooner.
    4. The target asks for a pause: it is waited out.
    5. A passing failure: again after a pause that grows, at random, as long as there are tries and time.
    """
    if not allows_next(error) and not (has_text and is_doubtful(error)):
        return "stop"
    onwards: Next = "next" if others else "stop"
    if others or has_text or error.code not in SAME_AGAIN or tries > RETRIES:
        return onwards
    if error.code == "RATE_LIMITED":
        wait_s = pause_s(error)
        return Again(wait_s) if wait_s < left_s else onwards
    wait_s = _backoff_s(tries, draw)
    return Again(wait_s) if wait_s <= RETRY_LEFT * left_s else onwards


def _backoff_s(tries: int, draw: float) -> float:
    """Exponential, with full jitter but never nothing."""
    return min(RETRY_LIMIT_S, RETRY_FIRST_S * 2.0 ** (tries - 1)) * (0.5 + draw / 2)


def begin_within_s(*, usual_s: float, left_s: float, others: bool, wait_s: float = 0.0) -> float:
    """How long a target may take to its first word, `wait_s` of it in a queue, before the next one is asked instead."""
    if not others:
        return left_s
    return min(max(BEGIN_S, BEGIN * usual_s) + wait_s, BEGIN_LEFT * left_s)


def verdict_within_s(left_s: float) -> float:
    """How long a request with no other target waits for the verdict of others at one that has to prove itself."""
    return min(VERDICT_S, BEGIN_LEFT * left_s)


def last_word(errors: Sequence[InferenceServiceError]) -> InferenceServiceError:
    """What the caller hears when all targets failed: an error worth another try later before one that is not, and of
    equals the first, which is the target that was meant.
    """
    ends = [error for error in errors if not allows_next(error)]
    if ends:
        return ends[0]
    return next((error for error in errors if isinstance(error, RetriableError)), errors[0])
