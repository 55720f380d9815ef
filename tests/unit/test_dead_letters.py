"""What stands in a dead letter, and what a letter's request becomes when it is asked again."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import pytest

from golek_client import letters
from golek_client.bus_client import Delivery
from golek_wire.errors import BadRequestError
from golek_wire.replies import EmbeddingReply, InferenceReply
from golek_wire.signals import DeadLetter
from golek_worker.bus.dead_letters import Sender, compose
from golek_worker.bus.lease import Lease
from golek_worker.bus.strikes import Strikes
from golek_worker.job import Job, to_headers

PAYLOAD = b'{"input": "boom"}'
DIGEST = hashlib.sha256(PAYLOAD).hexdigest()
LETTER = DeadLetter("j", "r", "qwen2.5", "w", "", 3, "00", [], payload='{"input": "boom", "params": {"top_k": 1}}')


def letter_of(audit: Literal["full", "hash", "none"], payload: bytes = PAYLOAD, **fields: Any) -> DeadLetter:
    """The letter of a job that was delivered three times."""
    job = Job("j", "r", "_INBOX.a", False, "anonymous", 7, 60_000, "_INBOX.a", {}, **fields)
    message = Delivery("s", "$JS.ACK.GOLEK_JOBS_m.c.3.12.13.1700000000000000000.0", payload, to_headers(job))
    lease = Lease(None, message, 1.7e9)  # type: ignore[arg-type] - it ends nowhere here
    sender = Sender("m", "inference", "inference.request.m", "w", audit)
    return compose(sender, lease, Strikes(3, 2), ["abort"], datetime(2026, 1, 2, tzinfo=UTC))


def test_a_letter_tells_what_is_needed_to_run_its_job_again() -> None:
    """Request, seed, kind, where it was asked, and the command."""
    letter = letter_of("full")
    assert (letter.payload, letter.withheld, letter.seed, letter.input_sha256) == (PAYLOAD.decode(), "", 7, DIGEST)
    assert (letter.kind, letter.subject, letter.replay) == ("inference", "inference.request.m", "golek dlq retry j")
    assert (letter.crashes, letter.log_tail, letter.at) == (3, ["abort"], "2026-01-02T00:00:00.000+00:00")


def test_a_body_that_lay_in_the_object_store_is_kept_as_any_other() -> None:
    """The attempt has read it by then; only its size may keep it from the letter."""
    assert letter_of("full", body=f"o1/{DIGEST}") == letter_of("full")


@pytest.mark.parametrize(
    ("letter", "digest", "why"),
    [
        (letter_of("hash"), DIGEST, "GOLEK_AUDIT_BODY=hash keeps no requests"),
        (letter_of("none"), "", "GOLEK_AUDIT_BODY=none keeps no requests"),
    ],
)
def test_a_letter_without_a_request_says_why(letter: DeadLetter, digest: str, why: str) -> None:
    """The audit setting is honoured."""
    assert letter.payload is None
    assert letter.withheld.startswith(why)
    assert letter.input_sha256 == digest
    with pytest.raises(BadRequestError, match=f"has no request to run again: {why}"):
        letters.question(letter, 10)


@pytest.mark.parametrize(
    ("changes", "subject", "reply"),
    [
        ({}, "inference.request.qwen2.5", InferenceReply),
        ({"subject": "inference.request.qwen2_5"}, "inference.request.qwen2.5", InferenceReply),
        ({"subject": "inference.request.mine"}, "inference.request.mine", InferenceReply),
        ({"kind": "embedding"}, "embedding.request.qwen2.5", EmbeddingReply),
    ],
)
def test_a_letter_is_asked_where_it_was_asked(changes: dict[str, Any], subject: str, reply: type) -> None:
    """At the usual place of its kind, or at the one place that its worker had."""
    asked = letters.question(msgspec.structs.replace(LETTER, **changes), 10)
    assert (asked.target.subject, asked.reply) == (subject, reply)


def test_a_retry_asks_the_same_with_the_same_seed() -> None:
    """Only the deadline is new; vectors have no seed."""
    same = {"input": "boom", "params": {"top_k": 1}, "deadline_ms": 1500}
    letter = msgspec.structs.replace(LETTER, seed=9)
    assert json.loads(letters.question(letter, 1.5).payload) == same | {"seed": 9}
    embedding = msgspec.structs.replace(letter, kind="embedding")
    assert json.loads(letters.question(embedding, 1.5).payload) == same


@pytest.mark.parametrize("payload", ["[]", "{", '"x"'])
def test_a_letter_that_cannot_be_read_is_refused(payload: str) -> None:
    """A request that is no object is named, not sent."""
    with pytest.raises(BadRequestError, match="the request of job j cannot be read"):
        letters.question(msgspec.structs.replace(LETTER, payload=payload), 1)
