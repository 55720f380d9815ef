"""May this request become a job?

`check` and `check_whole` number their checks; each answers with an error that names the field, the value and the
limit. Pure: the clock is not needed, randomness and limits are passed in.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from golek_wire import codec, subjects
from golek_wire import headers as h
from golek_wire.errors import BadRequestError, PayloadTooLargeError
from golek_wire.requests import EmbeddingRequest, Request, RerankRequest, VisionRequest
from golek_wire.subjects import ANONYMOUS
from golek_worker.job import Job, trace_of

MAX_DEADLINE_MS = 24 * 3600 * 1000
LARGER = f"; larger ones go by reference, as golek_client sends them ({h.OBJECT})"
NONE_LARGER = "; larger ones are taken where the workers have GOLEK_OBJECTS=true"


def _any(_request: Request) -> None:
    """Nothing is known of the model: it may be able to do all."""


class Limits(Struct, frozen=True):
    """What a request is measured against."""

    max_payload: int
    """The server's, in bytes."""
    default_deadline_ms: int
    default_priority: int = 2
    may_redirect: bool = True
    """Whether `reply_to` is obeyed: across accounts nobody could read it."""
    max_body: int = 0
    """Bytes of the largest body in the object store; 0 where none is read."""
    able: Callable[[Request], None] = _any
    """Raises BadRequestError for what cannot be followed, and what the model is known to be unable to do."""


def check(
    payload: bytes,
    headers: Mapping[str, str] | None,
    reply: str,
    limits: Limits,
    random_seed: Callable[[], int],
    new_inbox: Callable[[], str],
    principal: str = ANONYMOUS,
    name: str = "",
) -> Job:
    """Admit one request for a text, or raise the InferenceServiceError that tells the caller why not.

    `principal` asks. `name` is what all copies of the request have in common, where it is not their inbox.

    1. its size: beside the job's headers it fits into a message, or it lies in the object store
    2. it is valid: types, limits, `input` or `messages`
    3. `reply_to` is not a subject of somebody else
    4. where its stream is to be kept, its caller can read it there
    5. its deadline is a number of milliseconds
    6. what its answer must follow can be followed, and the model, once it is loaded, is able to do it
    """
    check_size(len(payload), limits, by_reference=_is_reference(headers))  # 1
    request = codec.decode_request(payload)  # 2
    _check_reply_to(request, limits)  # 3
    if request.resumable and not limits.may_redirect:  # 4
        raise BadRequestError("resumable: this fleet answers in the caller's inbox alone", param="resumable")
    budget_ms = _budget(request, headers, limits)  # 5
    limits.able(request)  # 6
    seed = request.seed if request.seed is not None else request.params.seed
    seed = random_seed() if seed is None else seed
    name = name or reply or new_inbox()
    priority = request.priority or limits.default_priority
    return _job(
        request,
        headers,
        reply,
        principal,
        name,
        stream=request.stream,
        resumable=request.resumable and bool(reply),
        seed=seed,
        budget_ms=budget_ms,
        priority=priority,
    )


def check_whole(
    decode: Callable[[bytes], EmbeddingRequest | RerankRequest | VisionRequest],
    payload: bytes,
    headers: Mapping[str, str] | None,
    reply: str,
    limits: Limits,
    new_inbox: Callable[[], str],
    principal: str = ANONYMOUS,
    name: str = "",
) -> Job:
    """Admit one request whose answer is not written piece by piece (vectors, scores, what images show), or raise as
    `check` does.

    1. its size: beside the job's headers it fits into a message, or it lies in the object store
    2. it is valid, as `decode` says: types, limits, no empty text
    3. `reply_to` is not a subject of somebody else
    4. it does not ask to resume
    5. its deadline is a number of milliseconds
    6. the model, once it is loaded, is able to do it
    """
    check_size(len(payload), limits, by_reference=_is_reference(headers))  # 1
    request = decode(payload)  # 2
    _check_reply_to(request, limits)  # 3
    if request.resume is not None:  # 4
        raise BadRequestError(
            "resume: texts are gone on from, vectors and scores are not; ask for all of them", param="resume"
        )
    budget_ms = _budget(request, headers, limits)  # 5
    limits.able(request)  # 6
    name = name or reply or new_inbox()
    priority = request.priority or limits.default_priority
    return _job(request, headers, reply, principal, name, stream=False, seed=0, budget_ms=budget_ms, priority=priority)


def _job(
    request: Request,
    headers: Mapping[str, str] | None,
    reply: str,
    principal: str,
    name: str,
    *,
    stream: bool,
    resumable: bool = False,
    seed: int,
    budget_ms: int,
    priority: int,
) -> Job:
    return Job(
        job_id=subjects.job_id(name),
        req_id=request.req_id,
        reply=reply,
        stream=stream,
        resumable=resumable,
        principal=principal,
        seed=seed,
        budget_ms=budget_ms,
        msg_id=name,
        trace=_trace(headers) if headers else {},
        parts=headers is not None and headers.get(h.PARTS) == "1",
        priority=priority,
    )


def check_size(size: int, limits: Limits, *, by_reference: bool = False) -> None:
    """Raise PayloadTooLargeError for a body of more bytes than a request may have.

    One in its message leaves room for the job's headers; one in the object store has at most `max_body`.
    """
    limit = limits.max_payload - h.REQUEST_RESERVE
    if by_reference and limits.max_body:
        limit, why = limits.max_body, "into what this worker reads (GOLEK_MAX_BODY)"
    else:
        why = f"through this server (max_payload {limits.max_payload} minus {h.REQUEST_RESERVE} for headers)"
        why += LARGER if limits.max_body else NONE_LARGER
    if size > limit:
        raise PayloadTooLargeError(f"The request has {size} bytes; at most {limit} fit {why}", size=size, limit=limit)


def _is_reference(headers: Mapping[str, str] | None) -> bool:
    return headers is not None and h.OBJECT in headers


def _check_reply_to(request: Request, limits: Limits) -> None:
    if request.reply_to is None:
        return
    if not limits.may_redirect:
        raise BadRequestError("reply_to: this fleet answers in the caller's inbox alone", param="reply_to")
    if not subjects.is_reply_to(request.reply_to):
        raise BadRequestError(
            f"reply_to: {request.reply_to[:64]!r} must be a plain subject outside inboxes, `$…` and Golek's own",
            param="reply_to",
        )


def _budget(request: Request, headers: Mapping[str, str] | None, limits: Limits) -> int:
    """Milliseconds until the deadline: the payload's, else the header's, else the default."""
    if request.deadline_ms is not None:
        return request.deadline_ms
    text = headers.get(h.DEADLINE) if headers else None
    if text is None:
        return limits.default_deadline_ms
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:12]) <= MAX_DEADLINE_MS):
        raise BadRequestError(
            f"{h.DEADLINE}: {text[:32]!r} is not a number of milliseconds from 1 to {MAX_DEADLINE_MS}", param=h.DEADLINE
        )
    return int(text)


def _trace(headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's trace context, dropped when it is too long to carry."""
    trace = trace_of(headers)
    return trace if sum(map(len, trace.values())) <= h.TRACE_LIMIT else {}
