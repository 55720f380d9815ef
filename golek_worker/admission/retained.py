"""For how long is an answer kept, and which request is it a repeat of?

`retained` decides what the gate leaves open once a request is a job: whether its final message is kept, and whether its
id comes from an idempotency key instead of the inbox. Pure.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.errors import BadRequestError
from golek_worker.job import Job

SUBMITTED_KEEP_S = 24 * 3600
IDEMPOTENT_KEEP_S = 24 * 3600
UNHEARD_KEEP_S = 3600
"""Of a request without an inbox, such as a plain `nats pub`."""
MAX_KEEP_S = 24 * 3600
SUBMITTED_DEADLINE_MS = 3600 * 1000
"""Of a submitted job that names none."""


def retained(
    job: Job, payload: bytes, headers: Mapping[str, str] | None, kind: str, model: str, *, submitted: bool
) -> Job:
    """`job` as it is stored. Raises BadRequestError naming the field.

    1. `Golek-Keep` is a number of seconds within bounds
    2. an idempotency key is printable and not too long; it names the job, whose stream is not kept, and the answer is
       kept for a day
    3. a submitted job is not streamed; it has no inbox, and its answer is kept for a day
    4. the answer to a request without an inbox is kept for an hour
    """
    headers = headers or {}
    keep_s = _keep_s(headers)  # 1
    key = idempotency_key(headers)  # 2
    if submitted and job.stream:  # 3
        raise BadRequestError("stream: a submitted job has nobody to stream to; leave it out", param="stream")
    if submitted:
        job = msgspec.structs.replace(job, reply="", keep_s=SUBMITTED_KEEP_S)
    elif not job.reply:  # 4
        job = msgspec.structs.replace(job, keep_s=keep_s or UNHEARD_KEEP_S)
    elif keep_s:
        job = msgspec.structs.replace(job, keep_s=keep_s)
    if key is None:
        return job
    if job.resumable:
        raise BadRequestError(
            f"resumable: a repeat with the same {h.IDEMPOTENCY_KEY} gets the answer anyway; send one of the two",
            param="resumable",
        )
    msg_id = subjects.message_id(job.principal, kind, model, key)
    return msgspec.structs.replace(
        job,
        msg_id=msg_id,
        job_id=subjects.job_id(msg_id),
        keep_s=IDEMPOTENT_KEEP_S,
        input_sha256=hashlib.sha256(payload).hexdigest(),
    )


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """The caller's key; `Nats-Msg-Id` means the same, unless it is an inbox, by which `golek_client` names a request.

    Raises BadRequestError for one that is none.
    """
    name = h.IDEMPOTENCY_KEY if h.IDEMPOTENCY_KEY in headers else h.MSG_ID
    key = headers.get(name)
    if key is None or (name == h.MSG_ID and subjects.is_reply_inbox(key)):
        return None
    if not h.is_key(key):
        raise BadRequestError(
            f"{name}: 1 to {h.KEY_LIMIT} printable ASCII characters; got {len(key)} ({key[:32]!r})", param=name
        )
    return key


def _keep_s(headers: Mapping[str, str]) -> int:
    text = headers.get(h.KEEP)
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:12]) <= MAX_KEEP_S):
        raise BadRequestError(
            f"{h.KEEP}: {text[:32]!r} is not a number of seconds from 1 to {MAX_KEEP_S}", param=h.KEEP
        )
    return int(text)
