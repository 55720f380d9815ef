"""What becomes of a stream whose text is interrupted?

Its job is lost, or another attempt wrote another text: the same question is asked again as a new job, with the text
that was handed out, and the engine goes on behind it. Pure: the clock is passed in.
"""

from typing import Any, Final

import msgspec

from golek_wire import codec
from golek_wire.errors import (
    BusUnavailableError,
    DeadlineExceededError,
    EngineFailedError,
    InferenceServiceError,
    JobCancelledError,
    NonRetriableError,
    RetriableError,
    StreamInterruptedError,
)
from golek_wire.requests import Resume

RESUMES: Final = 5
"""A stream is asked for again at most so often."""
BACKOFF_S: Final = 0.1
"""Before the next question when the last one brought no text; doubled each time."""


class Resuming:
    """How often one stream was asked for again, and whether it may be once more."""

    def __init__(self, until: float, first: str) -> None:
        """`until` is the stream's deadline on the clock of `now` below, `first` the text that it began with."""
        self._until = until
        self._first = first
        self._asked = 0
        self._in_vain = 0

    def wait_after(
        self, error: InferenceServiceError, text: str, *, grew: bool, now: float, obstacle: str | None = None
    ) -> float:
        """Seconds to wait before the question is asked again, for what follows `text`; `grew` by the job that failed.

        1. What no other job would cure is raised as it is. 2. An answer with more than text in it (`obstacle`), a
        resumed job that cannot run, 3. too many of them, and 4. too little time raise StreamInterruptedError with
        `details.text_so_far`. 5. A job that brought text is followed at once, others after the time that the error asks
        for, or a growing one.
        """
        if not self._is_curable(error, text):  # 1
            raise error
        if obstacle is not None:  # 2
            raise self._interrupted(f"cannot be gone on with: {obstacle}", text) from error
        if isinstance(error, NonRetriableError) and not isinstance(error, JobCancelledError):  # 2
            raise self._interrupted(f"cannot be gone on with ({error.code}: {error.message})", text) from error
        if self._asked == RESUMES:  # 3
            raise self._interrupted(f"failed each time ({error.code}: {error.message})", text) from error
        wait_s = 0.0 if grew else self._backoff_s(error)
        if now + wait_s >= self._until:  # 4
            raise self._interrupted(f"has no time left ({error.code}: {error.message})", text) from error
        self._asked += 1
        self._in_vain = 0 if grew else self._in_vain + 1
        return wait_s  # 5

    def _is_curable(self, error: InferenceServiceError, text: str) -> bool:
        """True for the loss of a job; for a job that resumes also when it was refused."""
        if isinstance(error, StreamInterruptedError):
            return True
        if isinstance(error, JobCancelledError):
            return "caller_gone" in error.details  # the worker lost sight of us; nobody wanted it to end
        if isinstance(error, DeadlineExceededError):
            return False
        if isinstance(error, BusUnavailableError):
            return self._asked > 0 and "may_run" in error.details  # a worker's word; without it this client was closed
        return self._asked > 0 or (isinstance(error, EngineFailedError) and text != self._first)

    def _backoff_s(self, error: InferenceServiceError) -> float:
        """Seconds; a refusal tells itself when to come again."""
        refused = isinstance(error, RetriableError) and not isinstance(
            error, StreamInterruptedError | EngineFailedError
        )
        asked_for_s = error.retry_after_ms / 1000 if isinstance(error, RetriableError) and refused else 0.0
        return max(asked_for_s, BACKOFF_S * 2.0**self._in_vain)

    def _interrupted(self, reason: str, text: str) -> StreamInterruptedError:
        times = f"; it was asked for again {self._asked} times" if self._asked else ""
        return StreamInterruptedError(
            f"The stream lost its worker and {reason}{times}; {len(text)} characters had been handed out",
            text_so_far=text,
            resumes=self._asked,
        )


def asked_again(payload: bytes, text: str, left_s: float, job_id: str = "") -> bytes:
    """The request of `payload` for what follows `text` of the job `job_id`, with `left_s` seconds to its deadline."""
    fields: dict[str, Any] = codec.decode(payload, dict[str, Any])
    fields["deadline_ms"] = max(1, round(left_s * 1000))
    if text and text != begun_with(payload):
        fields["resume"] = Resume(text, job_id=job_id if "session_id" in fields else "")
    return codec.encode(fields)


class _Base(msgspec.Struct):
    resume: Resume | None = None


def begun_with(payload: bytes) -> str:
    """The text that the request of `payload` itself goes on from; empty when it begins anew.

    What is wrong with a payload that somebody else wrote is the fleet's to say: here it counts as not being there.
    """
    try:
        resume = codec.decode(payload, _Base).resume
    except msgspec.ValidationError:
        return ""
    return resume.text if resume is not None else ""


class _Wished(msgspec.Struct):
    n: int = 1


class _Wishes(msgspec.Struct):
    params: _Wished = msgspec.field(default_factory=_Wished)


def texts_of(payload: bytes) -> int:
    """How many texts the request of `payload` asks for; 1 where it says no number, as in `begun_with`."""
    if b'"n":' not in payload:
        return 1
    try:
        return codec.decode(payload, _Wishes).params.n
    except msgspec.ValidationError:
        return 1
