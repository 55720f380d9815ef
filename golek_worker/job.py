"""What is a job, and how does it travel from ingress to worker?

A job is one admitted request. Its payload is stored byte for byte; everything the ingress decided lies in headers from
a fixed list, so that a worker parses nothing twice and trusts nothing a caller wrote.
"""

from collections.abc import Mapping

from msgspec import Struct

from golek_wire import headers as h
from golek_wire.errors import DeadlineExceededError
from golek_wire.keys import WINDOWS, Budget, Key
from golek_wire.subjects import ANONYMOUS, SERVED, Kind

BROOM_S = 60
"""The server sweeps a job this long after its deadline: the broom, not the judge, since nobody could answer then.

One without an inbox lies until the stream's `max_age`: who asks for its result tomorrow should find why there is none.
"""
RESUMABLE = "resumable"
"""As `Golek-Stream` says it."""


class Charge(Struct, frozen=True):
    """What a request may cost the holder of a key with limits."""

    key: Key
    tokens: int
    """An estimate, of those read and those written together."""


class Job(Struct, frozen=True):
    """One admitted request, without its payload."""

    job_id: str
    req_id: str
    reply: str
    """The caller's inbox; empty when nobody waits."""
    stream: bool
    principal: str
    seed: int
    budget_ms: int
    """Time left at acceptance; the deadline is the stored message's timestamp plus this."""
    msg_id: str
    """JetStream drops a second message of the same id."""
    trace: dict[str, str]
    """traceparent and tracestate, as they came."""
    priority: int = 2
    """1 low, 2 normal, 3 high. Not carried: the subject says which."""
    keep_s: int = 0
    """For how many seconds the final message is kept in `GOLEK_RESULTS`; 0 is not at all."""
    parts: bool = False
    """Whether the caller joins a final message that comes in parts."""
    body: str = ""
    """`<name>/<SHA-256>` of the object in `GOLEK_OBJECTS` that holds the payload; empty when the message does."""
    resumable: bool = False
    """Whether what is streamed is kept as well, to be read again."""
    input_sha256: str = ""
    """Of the payload, in hex; empty without an idempotency key."""
    hold: str = ""
    """The window of the ledger in which its cost is reserved; empty where nobody counts it."""
    asked: str = ""
    """In a router's stream: `<kind> <model>` that were asked for. In a model's own: the kind, where that is not the
    stream's. Else empty."""
    parent: str = ""
    """The job that this is a step of."""
    step: str = ""
    """What it is for among the steps of several models: `<name>/<round>`."""
    hops: int = 0
    """Through how many routers it came."""
    allowed: str = ""
    """In a router's stream: the models that its key is for, with commas; empty for all."""
    money: str = ""
    """What its key may spend in clouds, as `Golek-Money` says it; empty where that is not limited."""
    taken: bool = False
    """Whether a router took it out of the queue of the model that was asked. Not carried."""
    cache: str = ""
    """What its key says of caches; empty for nothing."""
    charge: Charge | None = None
    """What has to be reserved before it is stored. Not carried: the ledger holds it then."""

    @property
    def asked_kind(self) -> Kind | None:
        """What was asked for; None where the stream says it."""
        if not self.asked:
            return None
        kind = self.asked.partition(" ")[0]
        return next((known for known in SERVED if known == kind), None)

    @property
    def asked_model(self) -> str:
        """Whom the caller asked; empty where the stream says it."""
        return self.asked.partition(" ")[2]

    @property
    def allowed_models(self) -> frozenset[str] | None:
        """The models that its key is for; None for all."""
        return frozenset(self.allowed.split(",")) if self.allowed else None


def money(budget: Budget | None) -> str:
    """What a key may spend in clouds, as a job carries it; empty for other budgets."""
    return f"{budget.amount}/{budget.window}" if budget is not None and budget.unit == "usd" else ""


def money_budget(job: Job) -> Budget | None:
    """The budget in money of the job's key; None without one. Raises ValueError when no ingress wrote it."""
    amount, _, window = job.money.partition("/")
    if not job.money:
        return None
    if window not in WINDOWS:
        raise ValueError(f"{h.MONEY}: {job.money[:64]!r} is not <millionths of a dollar>/<window>")
    return Budget(int(amount), "usd", window)


def deadline_error(job: Job) -> DeadlineExceededError:
    """The 408 of this job."""
    return DeadlineExceededError(f"No answer within {job.budget_ms} ms", deadline_ms=job.budget_ms)


def to_headers(job: Job) -> dict[str, str]:
    """The headers of the job's message; what is absent has its usual value, because each header costs its time."""
    headers = {
        h.MSG_ID: job.msg_id,
        h.JOB: job.job_id,
        h.SEED: str(job.seed),
        h.BUDGET_MS: str(job.budget_ms),
    }
    if job.reply:
        headers[h.REPLY] = job.reply
        headers[h.TTL] = f"{job.budget_ms // 1000 + BROOM_S}s"
    if job.req_id:
        headers[h.REQ_ID] = job.req_id
    if job.stream:
        headers[h.STREAM] = RESUMABLE if job.resumable else "1"
    if job.principal != ANONYMOUS:
        headers[h.PRINCIPAL] = job.principal
    if job.keep_s:
        headers[h.KEEP] = str(job.keep_s)
    if job.parts:
        headers[h.PARTS] = "1"
    if job.body:
        headers[h.OBJECT] = job.body
    if job.trace:
        headers.update(job.trace)
    _add_seldom(headers, job)
    return headers


def _add_seldom(headers: dict[str, str], job: Job) -> None:
    if job.input_sha256:
        headers[h.INPUT] = job.input_sha256
    if job.hold:
        headers[h.HOLD] = job.hold
    if job.asked:
        headers[h.ASKED] = job.asked
    if job.parent:
        headers[h.PARENT] = job.parent
    if job.step:
        headers[h.STEP] = job.step
    if job.hops:
        headers[h.HOPS] = str(job.hops)
    if job.allowed:
        headers[h.ALLOWED] = job.allowed
    if job.money:
        headers[h.MONEY] = job.money
    if job.cache:
        headers[h.CACHE] = job.cache


def from_headers(headers: Mapping[str, str]) -> Job:
    """The job in a message's headers. Raises KeyError or ValueError when an ingress did not write them."""
    return Job(
        job_id=headers[h.JOB],
        req_id=headers.get(h.REQ_ID, ""),
        reply=headers.get(h.REPLY, ""),
        stream=h.STREAM in headers,
        resumable=headers.get(h.STREAM) == RESUMABLE,
        principal=headers.get(h.PRINCIPAL, ANONYMOUS),
        seed=int(headers[h.SEED]),
        budget_ms=int(headers[h.BUDGET_MS]),
        msg_id=headers[h.MSG_ID],
        trace=trace_of(headers),
        keep_s=int(headers.get(h.KEEP, "0")),
        parts=h.PARTS in headers,
        body=headers.get(h.OBJECT, ""),
        input_sha256=headers.get(h.INPUT, ""),
        hold=headers.get(h.HOLD, ""),
        asked=headers.get(h.ASKED, ""),
        parent=headers.get(h.PARENT, ""),
        step=headers.get(h.STEP, ""),
        hops=int(headers.get(h.HOPS, "0")),
        allowed=headers.get(h.ALLOWED, ""),
        money=headers.get(h.MONEY, ""),
        cache=headers.get(h.CACHE, ""),
    )


def trace_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The trace context (W3C) in `headers`."""
    if h.TRACEPARENT not in headers:
        return {}
    return {key: headers[key] for key in (h.TRACEPARENT, h.TRACESTATE) if key in headers}
