"""May a request become a job? The gate's checks, by table."""

import json
from typing import Any

import pytest

from golek_wire import codec
from golek_wire.errors import BadRequestError, InferenceServiceError, PayloadTooLargeError
from golek_wire.subjects import job_id
from golek_worker.admission import gate
from golek_worker.job import Job, from_headers, to_headers

LIMITS = gate.Limits(max_payload=1024 * 1024, default_deadline_ms=120_000)
INBOX = "_INBOX.abc.def"


def admit(body: dict[str, Any] | bytes, headers: dict[str, str] | None = None, reply: str = INBOX) -> Job:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return gate.check(payload, headers, reply, LIMITS, random_seed=lambda: 42, new_inbox=lambda: "_INBOX.made.up")


def admit_embedding(body: dict[str, Any] | bytes, headers: dict[str, str] | None = None, reply: str = INBOX) -> Job:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return gate.check_whole(codec.decode_embedding, payload, headers, reply, LIMITS, new_inbox=lambda: "_INBOX.made.up")


def test_a_plain_request_becomes_a_job_with_defaults() -> None:
    """What the caller left open is decided here: seed, deadline, principal."""
    job = admit({"req_id": "r", "input": "hi"})
    assert job == Job(job_id(INBOX), "r", INBOX, False, "anonymous", 42, 120_000, INBOX, {})


def test_a_request_without_an_inbox_runs_under_an_id_of_its_own() -> None:
    """A plain publish has nobody to answer; its job still has an id and a message id."""
    job = admit({"input": "hi"}, reply="")
    assert (job.reply, job.msg_id, job.job_id) == ("", "_INBOX.made.up", job_id("_INBOX.made.up"))


@pytest.mark.parametrize(
    ("body", "seed"),
    [({"seed": 7}, 7), ({"params": {"seed": 8}}, 8), ({"seed": 7, "params": {"seed": 8}}, 7), ({}, 42)],
)
def test_the_callers_seed_wins_over_a_random_one(body: dict[str, Any], seed: int) -> None:
    """`seed` beside the input wins over the one in `params`, and both over a random one."""
    assert admit({"input": "hi"} | body).seed == seed


@pytest.mark.parametrize(
    ("body", "headers", "budget_ms"),
    [
        ({}, None, 120_000),
        ({}, {"Golek-Deadline": "5000"}, 5000),
        ({"deadline_ms": 300}, {"Golek-Deadline": "5000"}, 300),
    ],
)
def test_the_payloads_deadline_wins_over_the_headers(
    body: dict[str, Any], headers: dict[str, str] | None, budget_ms: int
) -> None:
    """Payload, then header, then the default."""
    assert admit({"input": "hi"} | body, headers).budget_ms == budget_ms


@pytest.mark.parametrize("text", ["0", "-1", "soon", "86400001", "9" * 40, "٣", ""])
def test_a_deadline_header_that_is_no_number_of_milliseconds_is_refused(text: str) -> None:
    """The refusal names the header and its limits."""
    with pytest.raises(BadRequestError, match=r"Golek-Deadline.*86400000"):
        admit({"input": "hi"}, {"Golek-Deadline": text})


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        (b"x" * (1024 * 1024 - 16 * 1024 + 1), PayloadTooLargeError, None),
        ({"input": "a", "messages": []}, BadRequestError, "input"),
        ({"messages": []}, BadRequestError, "messages"),
        ({"messages": [{"role": "wizard"}]}, BadRequestError, "messages[0].role"),
        ({"input": "a", "raw": True, "tools": [{}]}, BadRequestError, "tools"),
        ({"input": "a", "priority": 4}, BadRequestError, "priority"),
        ({"input": "a", "deadline_ms": 0}, BadRequestError, "deadline_ms"),
        ({"input": "a", "seed": -1}, BadRequestError, "seed"),
        ({"input": "a", "req_id": "a\nb"}, BadRequestError, "req_id"),
        ({"input": "a", "params": {"stop": ["x"] * 17}}, BadRequestError, "params.stop"),
        ({"input": "a", "resume": {"text": ""}}, BadRequestError, "resume.text"),
        *[
            ({"input": "a", "reply_to": subject}, BadRequestError, "reply_to")
            for subject in ("_INBOX.x", "$JS.API.x", "inference.request.m", "models.x.health", "a b", "a.>", "", "a..b")
        ],
    ],
)
def test_what_is_wrong_is_refused_by_name(
    body: dict[str, Any] | bytes, kind: type[InferenceServiceError], param: str | None
) -> None:
    """Each check names the field it is about."""
    with pytest.raises(kind) as refused:
        admit(body)
    assert type(refused.value) is kind
    assert refused.value.details.get("param") == param


def test_inbound_golek_headers_are_not_believed() -> None:
    """A caller cannot set principal, job or reply of a job."""
    forged = {"Golek-Principal": "root", "Golek-Job": "x", "Golek-Reply": "y", "traceparent": "00-1", "tracestate": "a"}
    job = admit({"input": "hi"}, forged)
    assert (job.principal, job.job_id, job.reply) == ("anonymous", job_id(INBOX), INBOX)
    assert job.trace == {"traceparent": "00-1", "tracestate": "a"}


def test_a_trace_too_long_to_carry_is_dropped() -> None:
    """Over 1 KiB the trace context is left out; the request runs."""
    assert admit({"input": "hi"}, {"traceparent": "0", "tracestate": "x" * 1024}).trace == {}


@pytest.mark.parametrize(
    "job",
    [
        Job("j", "", "", False, "anonymous", 0, 1, "m", {}),
        Job("j", "räq", INBOX, True, "somebody", 2**32 - 2, 86_400_000, INBOX, {"traceparent": "00-1"}),
    ],
)
def test_a_job_survives_its_headers(job: Job) -> None:
    """What the ingress writes, the worker reads."""
    headers = to_headers(job)
    assert from_headers(headers) == job
    assert headers.get("Nats-TTL") == (f"{job.budget_ms // 1000 + 60}s" if job.reply else None)


def test_a_request_for_vectors_becomes_a_job() -> None:
    """It is never a stream, whatever an unknown field `stream` holds, and needs no seed."""
    job = admit_embedding({"req_id": "r", "input": ["a", "b"], "stream": True, "model": "m", "user": "u"})
    assert job == Job(job_id(INBOX), "r", INBOX, False, "anonymous", 0, 120_000, INBOX, {})
    assert admit_embedding({"input": "a", "deadline_ms": 300}, {"Golek-Deadline": "5000"}).budget_ms == 300
    assert admit_embedding({"input": "a"}, {"Golek-Deadline": "5000"}).budget_ms == 5000
    assert admit_embedding({"input": "a"}, reply="").msg_id == "_INBOX.made.up"


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        (b"x" * (1024 * 1024 - 16 * 1024 + 1), PayloadTooLargeError, None),
        (b"", BadRequestError, None),
        ({}, BadRequestError, "input"),
        ({"input": ""}, BadRequestError, "input"),
        ({"input": []}, BadRequestError, "input"),
        ({"input": ["a"] * 2049}, BadRequestError, "input"),
        ({"input": ["a", ""]}, BadRequestError, "input[1]"),
        ({"input": ["a", 7]}, BadRequestError, "input[1]"),
        ({"input": "a", "dimensions": 0}, BadRequestError, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, BadRequestError, "encoding_format"),
        ({"input": "a", "reply_to": "embedding.request.m"}, BadRequestError, "reply_to"),
        ({"input": "a", "deadline_ms": 0}, BadRequestError, "deadline_ms"),
        ({"input": "a", "resume": {"text": "b"}}, BadRequestError, "resume"),
    ],
)
def test_what_is_wrong_with_a_request_for_vectors_is_refused_by_name(
    body: dict[str, Any] | bytes, kind: type[InferenceServiceError], param: str | None
) -> None:
    """Each check names the field it is about."""
    with pytest.raises(kind) as refused:
        admit_embedding(body)
    assert type(refused.value) is kind
    assert refused.value.details.get("param") == param


@pytest.mark.parametrize(
    ("size", "max_body", "by_reference", "limit"),
    [
        (1024 * 1024, 0, True, 1008 * 1024),
        (1024 * 1024, 4 * 1024 * 1024, False, 1008 * 1024),
        (4 * 1024 * 1024 + 1, 4 * 1024 * 1024, True, 4 * 1024 * 1024),
        (4 * 1024 * 1024, 4 * 1024 * 1024, True, None),
        (1008 * 1024, 0, False, None),
    ],
)
def test_one_rule_says_how_large_a_body_may_be(size: int, max_body: int, by_reference: bool, limit: int | None) -> None:
    """In its message it leaves room for headers; in the object store it has GOLEK_MAX_BODY, where there is one."""
    limits = gate.Limits(max_payload=1024 * 1024, default_deadline_ms=1000, max_body=max_body)
    if limit is None:
        gate.check_size(size, limits, by_reference=by_reference)
        return
    with pytest.raises(PayloadTooLargeError) as raised:
        gate.check_size(size, limits, by_reference=by_reference)
    assert raised.value.details == {"size": size, "limit": limit}


@pytest.mark.parametrize(
    ("max_body", "said"), [(0, "the workers have GOLEK_OBJECTS=true"), (4 * 1024 * 1024, "as golek_client sends them")]
)
def test_a_body_that_no_message_carries_is_told_the_other_way(max_body: int, said: str) -> None:
    """There is one where the workers read the object store; else the setting that keeps it shut is named."""
    limits = gate.Limits(max_payload=1024 * 1024, default_deadline_ms=1000, max_body=max_body)
    with pytest.raises(PayloadTooLargeError, match=said):
        gate.check_size(1024 * 1024, limits)


def test_what_the_model_cannot_do_is_refused_here() -> None:
    """And not when its turn in the queue has come."""

    def unable(_request: object) -> None:
        raise BadRequestError("no")

    limits = gate.Limits(max_payload=1024 * 1024, default_deadline_ms=1000, able=unable)
    with pytest.raises(BadRequestError, match="no"):
        gate.check(b'{"input": "a"}', None, INBOX, limits, lambda: 1, lambda: INBOX)
    with pytest.raises(BadRequestError, match="no"):
        gate.check_whole(codec.decode_embedding, b'{"input": "a"}', None, INBOX, limits, lambda: INBOX)
