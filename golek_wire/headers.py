"""Which headers travel with a message, and how large is the message with them?

nats-py checks only the payload against the server's `max_payload`; the server counts headers too and answers
an oversize publish by closing the connection. Hence `message_size`.
"""

from collections.abc import Mapping
from typing import Final

ACCEPT: Final = "Golek-Accept"
"""Request: `1` asks for a status message as soon as the job is stored."""
DEADLINE: Final = "Golek-Deadline"
"""Request: milliseconds the caller will wait; the payload's `deadline_ms` wins."""
STATUS: Final = "Golek-Status"
"""Status message: `accepted`, `queued`, `started` for a step of a router, `step` for one of several models that answer
together. First message of a resumable stream's log: `opened`. On an entry of `GOLEK_RESULTS`: `queued` until the final
message is there."""
KEEP: Final = "Golek-Keep"
"""Request and job: seconds for which the final message is kept in `GOLEK_RESULTS` as well."""
PARTS: Final = "Golek-Parts"
"""Request and job: `1` when the caller joins a final message that comes in parts."""
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
"""Request: a repeat with the same key gets the first one's answer."""
OBJECT: Final = "Golek-Object"
"""Request: the object in `GOLEK_OBJECTS` that holds the body; the message itself is empty. Job: with its SHA-256."""
AUTHORIZATION: Final = "Authorization"
"""Request, with GOLEK_NATS_IDENTITY=keys: `Bearer <key>`. Never copied into a job."""
REQUEST_INFO: Final = "Nats-Request-Info"
"""Request, across accounts that share: the server's word on who asks, as JSON with `acc` and `user`."""
PART: Final = "Golek-Part"
"""Final message or result that is larger than the bus carries: `2/5` is the second of five pieces."""
ATTEMPT: Final = "Golek-Attempt"
"""Chunk: which delivery of the job this text comes from, counted from 1."""
FINAL: Final = "Golek-Final"
"""Final message of a stream: `1`."""
WORKER: Final = "Golek-Worker"
"""Final message, error, and first chunk of an attempt: the replica that wrote it."""

JOB: Final = "Golek-Job"
REPLY: Final = "Golek-Reply"
REQ_ID: Final = "Golek-Req-Id"
STREAM: Final = "Golek-Stream"
"""Job: `1` when the caller reads chunks, `resumable` when they are kept as well."""
PRINCIPAL: Final = "Golek-Principal"
SEED: Final = "Golek-Seed"
BUDGET_MS: Final = "Golek-Budget-Ms"
HOLD: Final = "Golek-Hold"
"""Job: the window of the ledger `GOLEK_QUOTA` in which its cost is reserved, under its id."""
INPUT: Final = "Golek-Input"
"""Job with an idempotency key, and its result: SHA-256 of the body, in hex."""

ASKED: Final = "Golek-Asked"
"""Job in a router's stream: `<kind> <model>` that were asked for."""
PARENT: Final = "Golek-Parent"
"""Job: the id of the job that it is a step of; a cancel of that one means it, too."""
STEP: Final = "Golek-Step"
"""Job: what it is for among the steps of several models: `critique/2`, the name and the round."""
HOPS: Final = "Golek-Hops"
"""Job, and request to another fleet: through how many routers it came; absent for none."""
ALLOWED: Final = "Golek-Allowed"
"""Job in a router's stream: the models that its key is for, with commas; absent for all."""
MONEY: Final = "Golek-Money"
"""Job of a key with a budget in money: `<millionths of a dollar>/<window>`."""
HOPS_LIMIT: Final = 4
CACHE: Final = "Golek-Cache"
"""Job: what its key says of caches; absent for nothing. First chunk of a stream: what part a cache had in it."""

MSG_ID: Final = "Nats-Msg-Id"
TTL: Final = "Nats-TTL"
EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
"""Entry of `GOLEK_RESULTS`, and what opens a log: stored only when the newest one of its subject has this sequence; 0
is none."""
KV_OPERATION: Final = "KV-Operation"
"""Entry of a bucket (ADR-8): the key was deleted."""
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"

NATS_STATUS: Final = "Status"
"""Set by the server on control messages: 404, 408, 409, 503, 100."""
NO_RESPONDERS: Final = "503"
"""Its value when nobody listens on a subject that was asked."""
NATS_PENDING: Final = "Nats-Pending-Messages"
NATS_NUM_PENDING: Final = "Nats-Num-Pending"
"""Set by the server on the pieces of a batched read: how many of the asked subject follow …"""
NATS_LAST_SEQUENCE: Final = "Nats-Last-Sequence"
"""… and with the end of the batch: the last one given. On a message that the server repeats: the one before it."""
NATS_SEQUENCE: Final = "Nats-Sequence"
"""On such messages: their own sequence …"""
NATS_TIME: Final = "Nats-Time-Stamp"
"""… and when they were stored."""

KEY_LIMIT: Final = 256
"""Characters of an idempotency key."""
JOB_HEADERS_LIMIT: Final = 4096
"""Bytes of all job headers together."""
TRACE_LIMIT: Final = 1024
"""Bytes of traceparent and tracestate together; longer ones are not carried."""
REQUEST_RESERVE: Final = 16 * 1024
"""A request may be at most the server's `max_payload` minus this, so that its job fits with headers."""

_VERSION_LINE = len(b"NATS/1.0\r\n\r\n")


def headers_size(headers: Mapping[str, str] | None) -> int:
    """Bytes of `headers` as encoded on the wire (NATS/1.0, `key: value` lines)."""
    if not headers:
        return 0
    return _VERSION_LINE + sum(len(k.encode()) + len(v.encode()) + 4 for k, v in headers.items())


def message_size(payload: bytes, headers: Mapping[str, str] | None = None) -> int:
    """Bytes of a message as the server counts them against `max_payload`."""
    return len(payload) + headers_size(headers)


def is_key(text: str) -> bool:
    """Whether `text` may be an idempotency key."""
    return 1 <= len(text) <= KEY_LIMIT and text.isascii() and text.isprintable()
