"""What follows an error of a target: tables."""

import pytest

from golek_wire.errors import (
    STATUS,
    BadRequestError,
    ContextBudgetExceededError,
    DeadlineExceededError,
    EngineFailedError,
    ForbiddenError,
    InferenceServiceError,
    JobCancelledError,
    ModelLoadingError,
    NoWorkersError,
    OverLimitError,
    ProviderFailedError,
    ProviderRefusedError,
    QueueFullError,
    RateLimitedError,
    RouteLoopError,
    StreamInterruptedError,
)
from golek_worker.router import fallback
from golek_worker.router.fallback import Again

FAILED = ProviderFailedError("502", provider="openai")
PAUSE = RateLimitedError("429", retry_after_ms=800, provider="openai")
LONG_PAUSE = RateLimitedError("429", retry_after_ms=20_000, provider="openai")
KEY = ProviderRefusedError("401", provider="openai", status=401)
ADDRESS = ProviderRefusedError("sends its callers elsewhere", provider="openai", status=301)
CONTEXT = ContextBudgetExceededError(9000, 8192)
CALLER = BadRequestError("params.max_tokens: must be at least 1")
ITS_OWN_RULE = BadRequestError("messages: at most 100", provider="openai")


@pytest.mark.parametrize(
    ("error", "allowed"),
    [
        (FAILED, True), (PAUSE, True), (KEY, True), (ADDRESS, True), (CONTEXT, True), (ITS_OWN_RULE, True),
        (QueueFullError(), True), (NoWorkersError(), True), (ModelLoadingError(), True), (EngineFailedError(), True),
        (StreamInterruptedError(), True),
        (CALLER, False), (JobCancelledError(), False), (DeadlineExceededError(), False), (OverLimitError(), False),
        (RouteLoopError(), False), (ForbiddenError(), False),
    ],
    ids=lambda value: value.code if isinstance(value, InferenceServiceError) else "",
)  # fmt: skip
def test_who_may_be_asked_after_an_error(error: InferenceServiceError, allowed: bool) -> None:
    """What another target may do better goes on to it; the caller's own doing does not."""
    assert fallback.allows_next(error) is allowed


@pytest.mark.parametrize(
    ("error", "silent_s", "fault"),
    [
        (FAILED, 0.0, "failure"), (EngineFailedError(), 0.0, "failure"), (KEY, 0.0, "failure"),
        (ADDRESS, 0.0, "failure"),
        (PAUSE, 0.0, "limit"),
        (CALLER, 0.0, "none"), (CONTEXT, 0.0, "none"),
        (QueueFullError(), 0.0, "unknown"), (JobCancelledError(), 60.0, "unknown"),
        (DeadlineExceededError(), 0.3, "unknown"), (DeadlineExceededError(), 12.0, "failure"),
    ],
)  # fmt: skip
def test_whose_fault_an_error_is(error: InferenceServiceError, silent_s: float, fault: str) -> None:
    """Only what a target does wrong counts against it."""
    assert fallback.fault(error, silent_s) == fault


@pytest.mark.parametrize(
    ("error", "tries", "left_s", "others", "has_text", "then"),
    [
        (CALLER, 1, 60.0, True, False, "stop"),
        (FAILED, 1, 60.0, True, False, "next"),  # at once: who is well answers sooner
        (FAILED, 1, 60.0, False, False, Again(0.15)),
        (FAILED, 2, 60.0, False, False, Again(0.3)),
        (FAILED, 3, 60.0, False, False, "stop"),
        (FAILED, 1, 0.2, False, False, "stop"),  # no time for it
        (FAILED, 1, 60.0, False, True, "stop"),  # never after the first word
        (FAILED, 1, 60.0, True, True, "next"),
        (PAUSE, 1, 60.0, True, False, "next"),
        (PAUSE, 1, 60.0, False, False, Again(0.8)),
        (LONG_PAUSE, 1, 60.0, True, False, "next"),
        (LONG_PAUSE, 1, 60.0, False, False, Again(20.0)),
        (LONG_PAUSE, 1, 19.0, False, False, "stop"),  # longer than there is time
        (QueueFullError(), 1, 60.0, True, False, "next"),
        (QueueFullError(), 1, 60.0, False, False, "stop"),
        (KEY, 1, 60.0, True, False, "next"),
        (CONTEXT, 1, 60.0, True, False, "next"),
    ],
)
def test_what_to_do_next(
    error: InferenceServiceError, tries: int, left_s: float, others: bool, has_text: bool, then: object
) -> None:
    """The same target, the next one, or the caller's error."""
    done = fallback.after(error, tries=tries, left_s=left_s, others=others, has_text=has_text, draw=0.5)
    if isinstance(then, Again):
        assert isinstance(done, Again)
        assert done.after_s == pytest.approx(then.after_s)
    else:
        assert done == then


@pytest.mark.parametrize(
    ("usual_s", "left_s", "others", "within_s"),
    [(0.0, 120.0, True, 15.0), (10.0, 120.0, True, 40.0), (10.0, 30.0, True, 15.0), (0.0, 120.0, False, 120.0)],
)
def test_how_long_a_target_may_take_to_begin(usual_s: float, left_s: float, others: bool, within_s: float) -> None:
    """By what it usually takes, and so that the next one has time; who has no other waits until the end."""
    assert fallback.begin_within_s(usual_s=usual_s, left_s=left_s, others=others) == within_s


def test_the_last_word_is_the_most_useful_one() -> None:
    """The caller's own mistake first, then what may pass; of equals the target that was meant."""
    full = QueueFullError("golek-tiny")
    assert fallback.last_word([KEY, full, FAILED]) is full
    assert fallback.last_word([full, CALLER]) is CALLER
    assert fallback.last_word([KEY, CONTEXT]) is KEY


def test_every_code_has_a_rule() -> None:
    """A new error is thought about here, too."""
    known = (
        fallback.ENDS | fallback.CALLERS | fallback.ELSEWHERE | fallback.ITS_FAULT | fallback.UNKNOWN
        | {"RATE_LIMITED", "PROVIDER_REFUSED", "NOT_FOUND", "MODEL_NOT_FOUND"}
    )  # fmt: skip
    assert set(STATUS) == known
