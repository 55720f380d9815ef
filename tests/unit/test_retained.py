"""For how long is an answer kept, and which request is it a repeat of? By table."""

import hashlib

import pytest

from golek_wire import subjects
from golek_wire.errors import BadRequestError
from golek_worker.admission.retained import retained
from golek_worker.job import Job, from_headers, to_headers

INBOX = "_INBOX.abc.def"


def job(reply: str = INBOX, *, stream: bool = False) -> Job:
    return Job(subjects.job_id(INBOX), "r", reply, stream, "anonymous", 42, 120_000, INBOX, {})


@pytest.mark.parametrize(
    ("reply", "headers", "submitted", "keep_s"),
    [
        (INBOX, None, False, 0),
        (INBOX, {"Golek-Keep": "60"}, False, 60),
        ("", None, False, 3600),
        ("", {"Golek-Keep": "60"}, False, 60),
        (INBOX, None, True, 86400),
        (INBOX, {"Golek-Keep": "60"}, True, 86400),
        (INBOX, {"Idempotency-Key": "k", "Golek-Keep": "60"}, False, 86400),
    ],
)
def test_how_long_an_answer_is_kept(reply: str, headers: dict[str, str] | None, submitted: bool, keep_s: int) -> None:
    """As long as was asked; an hour for who has no inbox, a day for what is submitted or has a key."""
    kept = retained(job(reply), b"{}", headers, "inference", "tiny", submitted=submitted)
    assert kept.keep_s == keep_s
    assert from_headers(to_headers(kept)) == kept


@pytest.mark.parametrize("header", ["Idempotency-Key", "Nats-Msg-Id"])
def test_a_key_names_the_job(header: str) -> None:
    """All requests with it have one message id and one job id; the body's hash tells them apart."""
    kept = retained(job(), b"body", {header: "k"}, "inference", "tiny", submitted=False)
    assert kept.msg_id == subjects.message_id("anonymous", "inference", "tiny", "k")
    assert kept.job_id == subjects.job_id(kept.msg_id)
    assert kept.reply == INBOX
    assert kept.input_sha256 == hashlib.sha256(b"body").hexdigest()
    assert from_headers(to_headers(kept)) == kept
    other = retained(job(), b"body", {header: "k"}, "embedding", "tiny", submitted=True)
    assert other.job_id != kept.job_id


def test_a_submitted_job_has_no_inbox_and_no_broom() -> None:
    """It lies in the queue until the stream's own limit, so that whoever finds it too late says so."""
    kept = retained(job(), b"{}", None, "inference", "tiny", submitted=True)
    assert (kept.reply, kept.job_id, kept.msg_id) == ("", subjects.job_id(INBOX), INBOX)
    assert "Nats-TTL" not in to_headers(kept)
    assert to_headers(job())["Nats-TTL"] == "180s"


def test_a_submitted_stream_is_refused() -> None:
    """There is nobody to stream to."""
    with pytest.raises(BadRequestError) as refusal:
        retained(job(stream=True), b"{}", None, "inference", "tiny", submitted=True)
    assert refusal.value.details["param"] == "stream"


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        ({"Golek-Keep": "0"}, "86400"),
        ({"Golek-Keep": "86401"}, "86400"),
        ({"Golek-Keep": "٣"}, "86400"),
        ({"Golek-Keep": "1" * 5000}, "86400"),
        ({"Idempotency-Key": ""}, "256"),
        ({"Idempotency-Key": "x" * 257}, "257"),
        ({"Idempotency-Key": "a\tb"}, "256"),
        ({"Nats-Msg-Id": "é"}, "256"),
    ],
)
def test_wrong_headers_are_refused_by_name(headers: dict[str, str], limit: str) -> None:
    """Field, value and limit are named."""
    (name,) = headers
    with pytest.raises(BadRequestError, match=limit) as refusal:
        retained(job(), b"{}", headers, "inference", "tiny", submitted=False)
    assert refusal.value.details["param"] == name
