"""When a stream is asked for again, and after how long."""

import pytest

from golek_client.resuming import BACKOFF_S, RESUMES, Resuming, asked_again, begun_with, texts_of
from golek_wire import codec
from golek_wire.errors import (
    BadRequestError,
    BusUnavailableError,
    DeadlineExceededError,
    EngineFailedError,
    InferenceServiceError,
    JobCancelledError,
    NoWorkersError,
    PoisonJobError,
    QueueFullError,
    StreamInterruptedError,
)
from golek_wire.requests import Resume

LOST = StreamInterruptedError("lost")


def after_one(until: float = 100.0) -> Resuming:
    """A stream that was asked for again once."""
    resuming = Resuming(until, "")
    assert resuming.wait_after(LOST, "ab", grew=True, now=0.0) == 0.0
    return resuming


@pytest.mark.parametrize(
    ("error", "text", "cured"),
    [
        (LOST, "ab", True),
        (LOST, "", True),
        (EngineFailedError(), "ab", True),
        (EngineFailedError(), "", False),
        (JobCancelledError("gone", caller_gone=True), "ab", True),
        (JobCancelledError(), "ab", False),
        (QueueFullError(), "ab", False),
        (PoisonJobError(), "ab", False),
        (DeadlineExceededError(), "ab", False),
        (BusUnavailableError(may_run=True), "ab", False),
    ],
)
def test_what_ends_the_first_job(error: InferenceServiceError, text: str, cured: bool) -> None:
    """A lost job is followed by another; any other error is the caller's, as it is."""
    resuming = Resuming(100.0, "")
    if cured:
        assert resuming.wait_after(error, text, grew=bool(text), now=0.0) == (0.0 if text else BACKOFF_S)
    else:
        with pytest.raises(type(error)) as raised:
            resuming.wait_after(error, text, grew=bool(text), now=0.0)
        assert raised.value is error


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (QueueFullError(retry_after_ms=2500), 2.5),
        (NoWorkersError(), 1.0),
        (BusUnavailableError(may_run=True), 1.0),
        (EngineFailedError(), BACKOFF_S),
        (LOST, BACKOFF_S),
    ],
)
def test_a_resumed_job_that_is_refused_for_now_is_asked_for_later(error: InferenceServiceError, wait_s: float) -> None:
    """After the time that the refusal names."""
    assert after_one().wait_after(error, "ab", grew=False, now=1.0) == wait_s


@pytest.mark.parametrize("error", [BadRequestError("no", param="resume.text"), PoisonJobError()])
def test_a_resumed_job_that_cannot_run_interrupts(error: InferenceServiceError) -> None:
    """With the text, and the error as its cause."""
    with pytest.raises(StreamInterruptedError, match=error.code) as raised:
        after_one().wait_after(error, "ab", grew=False, now=1.0)
    assert raised.value.__cause__ is error
    assert raised.value.details["text_so_far"] == "ab"


@pytest.mark.parametrize("error", [DeadlineExceededError(), JobCancelledError(), BusUnavailableError("closed")])
def test_what_the_caller_did_is_raised_as_it_is(error: InferenceServiceError) -> None:
    """Its deadline, its cancel, its client closed: also while a job resumes."""
    with pytest.raises(type(error)) as raised:
        after_one().wait_after(error, "ab", grew=False, now=1.0)
    assert raised.value is error


def test_jobs_without_a_piece_are_asked_for_ever_later() -> None:
    """Doubling, until there were too many; one that brings text is followed at once."""
    resuming = Resuming(100.0, "")
    waits = [resuming.wait_after(LOST, "ab", grew=grew, now=0.0) for grew in (False, False, True, False, False)]
    assert len(waits) == RESUMES
    assert waits == [BACKOFF_S, 2 * BACKOFF_S, 0.0, BACKOFF_S, 2 * BACKOFF_S]
    with pytest.raises(StreamInterruptedError, match="failed each time") as raised:
        resuming.wait_after(LOST, "ab", grew=True, now=0.0)
    assert raised.value.details["resumes"] == RESUMES


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    """The caller learns at once that there is no time left."""
    with pytest.raises(StreamInterruptedError, match="no time left"):
        after_one(until=2.0).wait_after(QueueFullError(retry_after_ms=1500), "ab", grew=False, now=1.0)


def test_the_next_question_is_the_same_but_for_text_and_time() -> None:
    """What the caller asked stays, fields that this client does not know included."""
    payload = codec.encode({"input": "hi", "stream": True, "deadline_ms": 9000, "x-later": [1]})
    again = codec.decode(asked_again(payload, "ab", 4.2), dict[str, object])
    assert again == {
        "input": "hi", "stream": True, "deadline_ms": 4200, "x-later": [1], "resume": {"text": "ab"},
    }  # fmt: skip
    assert "resume" not in codec.decode(asked_again(payload, "", 1.0), dict[str, object])
    own = codec.encode({"input": "hi", "resume": Resume("a", 1)})
    assert (begun_with(payload), begun_with(own)) == ("", "a")
    assert codec.decode(asked_again(own, "a", 1.0), dict[str, object])["resume"] == {"text": "a", "tokens_out": 1}
    assert codec.decode(asked_again(own, "ab", 1.0), dict[str, object])["resume"] == {"text": "ab"}


def test_an_answer_with_more_than_text_is_not_asked_for_again() -> None:
    """What stands in the way is named; an error that no other job would cure is raised as it is."""
    with pytest.raises(StreamInterruptedError, match="calls of tools had begun") as raised:
        Resuming(100.0, "").wait_after(LOST, "ab", grew=True, now=0.0, obstacle="calls of tools had begun")
    assert raised.value.details["text_so_far"] == "ab"
    with pytest.raises(QueueFullError):
        Resuming(100.0, "").wait_after(QueueFullError(), "ab", grew=True, now=0.0, obstacle="calls of tools had begun")


@pytest.mark.parametrize(
    "fields", [{"resume": [0]}, {"resume": {"text": 1}}, {"params": {"n": "2"}}, {"params": [], "n": 1}]
)
def test_what_is_wrong_with_a_payload_is_the_fleets_to_say(fields: dict[str, object]) -> None:
    """A payload that somebody else wrote counts as a plain one here; a worker refuses it, naming the field."""
    payload = codec.encode({"input": "x", **fields})
    assert (begun_with(payload), texts_of(payload)) == ("", 1)
