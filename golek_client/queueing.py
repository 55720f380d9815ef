"""Who is in a model's queue?

Read from the stream itself and from what the server says of its consumers, without a consumer of our own: nothing is
delivered, nobody is kept waiting, and what callers asked does not leave this module. A read costs a bounded number of
messages and bytes, however long the queue is.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

from golek_client.line import Line
from golek_client.stored import LOOKUP_S, UNREADABLE
from golek_wire import codec, headers, moments, subjects
from golek_wire.errors import BadRequestError, BusUnavailableError
from golek_wire.jetstream import STREAM_NOT_FOUND, ApiError

MOST: Final = 100
"""Jobs that are told of."""
BATCH_BYTES: Final = 4 * 2**20
"""Messages come with their payloads, which nobody wants here: so much of one class is read at most."""
URGENCY: Final = tuple(subjects.PRIORITIES.values())
"""Classes of jobs, the most urgent first."""
_NUMBERS: Final = {name: number for number, name in subjects.PRIORITIES.items()}


class QueuedJob(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A job that waits or runs."""

    state: Literal["running", "waiting"]
    """`running`: a worker was given it, and it has not ended: it runs, or waits there for its next attempt."""
    position: int | None = None
    """1 starts next; absent of one that runs."""
    job_id: str
    req_id: str = ""
    kind: str
    principal: str
    priority: int
    """3 high, 2 normal, 1 low."""
    age_s: float
    """Since it was stored, on the server's clock."""
    left_s: float | None = None
    """Until its deadline; negative when that has passed."""
    bytes: int = field(default_factory=int)
    """Of its message; of a body by reference that is little."""
    by_reference: bool = field(default_factory=bool)
    """Whether its body lies in the object store."""
    stream: bool = field(default_factory=bool)
    seq: int
    """Its place in the stream."""


class ModelQueue(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A model's queue as it was at one moment."""

    model_name: str
    waiting: int
    running: int
    """Given to workers and not ended."""
    capacity: int
    """Both together are never more."""
    bytes: int
    """Of all messages together."""
    strategy: str
    """`fifo`, or `priority`."""
    oldest_s: float | None = None
    """Age of the oldest job, that runs or waits; absent without one."""
    timestamp: str
    """The server's, when it was looked at."""
    jobs: list[QueuedJob] = field(default_factory=list[QueuedJob])
    """Those that run, the oldest first, then those that wait, the next one first."""
    complete: bool = field(default_factory=lambda: True)
    """Whether all are there."""


class _Config(Struct, frozen=True):
    max_msgs: int = -1
    metadata: dict[str, str] = field(default_factory=dict[str, str])


class _State(Struct, frozen=True):
    messages: int = 0
    bytes: int = field(default_factory=int)
    first_ts: str = ""


class _StreamInfo(Struct, frozen=True):
    """What is used of JetStream's answer about a stream."""

    config: _Config = _Config()
    state: _State = _State()
    ts: str = ""
    error: ApiError = ApiError()


class _Sequences(Struct, frozen=True):
    stream_seq: int = 0


class Filter(Struct, frozen=True):
    """Which subjects a consumer takes."""

    filter_subject: str = ""


class Class(Struct, frozen=True):
    """One consumer: the jobs of one kind and priority."""

    name: str
    config: Filter = Filter()
    delivered: _Sequences = _Sequences()
    """The newest that a worker was given."""
    ack_floor: _Sequences = _Sequences()
    """All up to this have ended."""
    num_pending: int = 0
    num_ack_pending: int = 0

    @property
    def kind(self) -> str:
        return self.config.filter_subject.partition(".")[0]

    @property
    def priority(self) -> str:
        return self.config.filter_subject.rsplit(".", 2)[-2] if self.config.filter_subject.count(".") >= 4 else ""


class _Consumers(Struct, frozen=True):
    consumers: list[Class] = field(default_factory=list[Class])
    error: ApiError = ApiError()


class Waiting(Struct, frozen=True):
    """A job's message, without its payload."""

    seq: int
    at: str
    about: Mapping[str, str]
    bytes: int


async def read(line: Line, model: str, limit: int = MOST) -> ModelQueue:
    """The queue of `model`, of its jobs at most `limit`. Empty for a model that never had a worker.

    Raises BadRequestError for a limit that is none, BusUnavailableError when JetStream does not answer within 2 s or
    cannot say, ForbiddenError where this login may not look.
    """
    if not 1 <= limit <= MOST:
        raise BadRequestError(f"limit: from 1 to {MOST}, got {limit!r}", param="limit")
    token = subjects.model_token(model)
    stream = subjects.job_stream(token)
    info = await _ask(line, f"STREAM.INFO.{stream}", _StreamInfo)
    if info.error.err_code == STREAM_NOT_FOUND:
        return ModelQueue(
            model_name=model, waiting=0, running=0, capacity=0, bytes=0, strategy="fifo",
            timestamp=moments.stamp(),
        )  # fmt: skip
    listed = await _ask(line, f"CONSUMER.LIST.{stream}", _Consumers)
    for answer in (info, listed):
        if answer.error.err_code:
            raise BusUnavailableError(f"JetStream cannot say what is in {stream}: {answer.error.description}")
    classes = [one for one in listed.consumers if one.priority in URGENCY]
    found = {one.name: await _messages(line, stream, one, limit) for one in classes}
    jobs = in_order(classes, found, info.ts)
    return ModelQueue(
        model_name=model,
        waiting=sum(one.num_pending for one in classes),
        running=sum(one.num_ack_pending for one in classes),
        capacity=info.config.max_msgs,
        bytes=info.state.bytes,
        strategy=info.config.metadata.get("golek_queue_strategy", "fifo"),
        oldest_s=seconds_between(info.state.first_ts, info.ts) if info.state.messages else None,
        timestamp=_milliseconds(info.ts),
        jobs=jobs[:limit],
        complete=len(jobs) <= limit and len(jobs) >= info.state.messages,
    )


def in_order(classes: list[Class], found: Mapping[str, list[Waiting]], now: str) -> list[QueuedJob]:
    """Those that run, the oldest first, then those that wait in the order in which they will start.

    The classes of one kind share workers: its more urgent ones come first, and positions are counted per kind.
    """
    running: list[QueuedJob] = []
    waiting: list[QueuedJob] = []
    ahead: dict[str, int] = {}
    for one in sorted(classes, key=lambda one: (one.kind, URGENCY.index(one.priority))):
        before = ahead.get(one.kind, 0)
        late = [message for message in found[one.name] if message.seq > one.delivered.stream_seq]
        running += [_job(message, one, now) for message in found[one.name] if message.seq <= one.delivered.stream_seq]
        waiting += [_job(message, one, now, before + place) for place, message in enumerate(late, 1)]
        ahead[one.kind] = before + max(one.num_pending, len(late))
    return sorted(running, key=lambda job: job.seq) + sorted(waiting, key=lambda job: (job.position or 0, job.seq))


def _job(message: Waiting, one: Class, now: str, position: int | None = None) -> QueuedJob:
    about = message.about
    budget = about.get(headers.BUDGET_MS, "")
    age_s = seconds_between(message.at, now)
    return QueuedJob(
        state="running" if position is None else "waiting",
        position=position,
        job_id=about.get(headers.JOB, ""),
        req_id=about.get(headers.REQ_ID, ""),
        kind=one.kind,
        principal=about.get(headers.PRINCIPAL, subjects.ANONYMOUS),
        priority=_NUMBERS[one.priority],
        age_s=age_s,
        left_s=round(int(budget) / 1000 - age_s, 3) if budget.isdecimal() and len(budget) < 16 else None,
        bytes=message.bytes,
        by_reference=headers.OBJECT in about,
        stream=headers.STREAM in about,
        seq=message.seq,
    )


def seconds_between(first: str, second: str) -> float:
    """From one of the server's moments to another, never below 0."""
    try:
        passed = datetime.fromisoformat(_microseconds(second)) - datetime.fromisoformat(_microseconds(first))
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, round(passed.total_seconds(), 3))


def _microseconds(moment: str) -> str:
    """The server writes as many digits as it needs, up to nine; Python reads six."""
    whole, dot, rest = moment.removesuffix("Z").partition(".")
    return f"{whole}{dot}{rest[:6].ljust(6, '0')}+00:00" if dot else f"{whole}+00:00"


def _milliseconds(moment: str) -> str:
    whole, _, rest = moment.removesuffix("Z").partition(".")
    return f"{whole}.{rest[:3].ljust(3, '0')}Z"


async def _messages(line: Line, stream: str, one: Class, limit: int) -> list[Waiting]:
    """The oldest messages of one class, by a batched direct get (ADR-31). Raises as `read` does."""
    if not one.num_pending and not one.num_ack_pending:
        return []
    query = {
        "seq": one.ack_floor.stream_seq + 1, "next_by_subj": one.config.filter_subject, "batch": limit,
        "max_bytes": BATCH_BYTES,
    }  # fmt: skip
    until = asyncio.get_running_loop().time() + LOOKUP_S
    found: list[Waiting] = []
    with line.mux.open() as inbox:
        inbox.asked = f"$JS.API.DIRECT.GET.{stream}"
        await line.send(inbox.asked, codec.encode(query), inbox.subject)
        while (message := await inbox.get(until)) is not None:
            about = message.headers or {}
            match about.get(headers.NATS_STATUS):
                case None:
                    found.append(_waiting(about, len(message.data)))
                case "204" | "404":
                    return found
                case status:
                    raise BusUnavailableError(f"JetStream cannot say what is in {stream}: status {status}")
    raise BusUnavailableError(f"JetStream did not say within {LOOKUP_S:.0f} s what is in {stream}")


def _waiting(about: Mapping[str, str], size: int) -> Waiting:
    seq = about.get(headers.NATS_SEQUENCE, "")
    return Waiting(int(seq) if seq.isdecimal() and len(seq) < 20 else 0, about.get(headers.NATS_TIME, ""), about, size)


async def _ask(line: Line, call: str, kind: type[Any]) -> Any:
    """JetStream's answer. Raises as `read` does."""
    until = asyncio.get_running_loop().time() + LOOKUP_S
    message = await line.ask_once(f"$JS.API.{call}", b"", until)
    if message is None:
        raise BusUnavailableError(f"JetStream did not answer {call} within {LOOKUP_S:.0f} s")
    if headers.NATS_STATUS in (message.headers or {}):
        raise BusUnavailableError(f"nobody answers {call}: the server runs without JetStream")
    try:
        return msgspec.json.decode(message.data, type=kind)
    except UNREADABLE as error:
        raise BusUnavailableError(f"the answer to {call} is not JetStream's: {error}") from None
