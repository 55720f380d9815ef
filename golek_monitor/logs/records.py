"""What is told of requests that were answered?

From the request logs: SQLite files that workers write, one per model. Times are RFC 3339 with a zone, what is not known
is absent.
"""

from typing import Literal

from msgspec import Struct, field

from golek_wire import logs

LoggedRequest = logs.LoggedRequest
"""A job as it ended, which workers of other machines tell of in the same words."""


class LogFile(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request log that was looked in."""

    model_name: str
    path: str
    machine: str = ""
    """Where it lies; absent for this machine."""
    problem: str | None = None
    """Why nothing of it is told; absent where it was read."""
    oldest: str | None = None
    """When the oldest row ended; absent where nothing is in it, or nobody asked."""


class FoundRequests(Struct, frozen=True, kw_only=True):
    """Answer of `GET /api/requests`: the newest first."""

    requests: list[LoggedRequest]
    next: str | None
    """Give it back as `before` for those that are older; absent when these are all."""
    logs: list[LogFile]
    """Where was looked: the logs of this machine, with `everywhere` those of others, too."""
    machine: str
    """The monitor's."""


class Phase(Struct, frozen=True):
    """A part of a request's time."""

    name: Literal["queue", "prepare", "slot", "prefill", "steps", "decode", "run", "finish"]
    """`queue` is acceptance to lease; `prepare` lease to engine, `slot` the wait inside, `prefill` to the first token,
    `steps` the same where several models answered, one after the other, `decode` to the last token, `finish` what
    remains; `run` all from the lease on, where the engine measured nothing.
    """
    start_ms: float
    """Since the acceptance."""
    ms: float


class Texts(Struct, frozen=True, omit_defaults=True):
    """What was asked and answered, as far as the log keeps it."""

    input: str | None = None
    """As the caller sent it."""
    prompt: str | None = None
    """As the model read it, after the template."""
    output: str | None = None


class Attempt(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One end of a job: usually there is one, and two where the work was done twice."""

    request: LoggedRequest
    phases: list[Phase]
    accepted: str
    """When the job was accepted, by its end and its times."""
    total_ms: float
    """From acceptance to end."""
    texts: Texts | None = None
    """Absent unless MONITOR_SHOW_PROMPTS allows them and the log has them."""


class WorkerEvent(Struct, frozen=True, kw_only=True):
    """Something that happened to a worker around that time."""

    timestamp: str
    offset_ms: float
    """Since the job's acceptance."""
    worker_id: str
    level: str
    code: str
    message: str


class HttpVisit(Struct, frozen=True, kw_only=True):
    """How it was asked over HTTP: a line of the gateway's access log."""

    time: str
    """When it ended."""
    method: str
    path: str
    status: int
    ms: float
    key_id: str = ""
    peer: str = ""
    """The address that the connection came from."""
    code: str = ""
    request_id: str = ""
    job_id: str = ""
    worker: str = ""
    cost_usd: float | None = None
    """What clouds took."""


class Story(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One request's whole story: answer of `GET /api/requests/{id}`."""

    job_id: str
    req_id: str
    model_name: str
    status: str
    """Of the last attempt."""
    attempts: list[Attempt]
    """Oldest first."""
    steps: list[LoggedRequest] = field(default_factory=list[LoggedRequest])
    """Jobs of this machine's models that a router asked for it, in the order in which they ended."""
    events: list[WorkerEvent] = field(default_factory=list[WorkerEvent])
    """Of its model's workers on that machine, from just before to just after; oldest first."""
    visits: list[HttpVisit] = field(default_factory=list[HttpVisit])
    problems: list[LogFile] = field(default_factory=list[LogFile])
    """Logs that could not be read: there might be more."""
    machine: str = ""


class Stories(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What was found under one id: a `story` where it means one job, several `requests` where it is a shared label."""

    story: Story | None = None
    requests: list[LoggedRequest] = field(default_factory=list[LoggedRequest])
    """The newest of each job."""
    visits: list[HttpVisit] = field(default_factory=list[HttpVisit])
    """What the gateway refused, or what has no row yet."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return self.story is None and not self.requests and not self.visits


class ModelSummary(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a model answered in a window of time, by its log."""

    model_name: str
    requests: int
    errors: int
    """Of these: ended in an error, cancelled ones and deadlines included."""
    error_share: float
    dur_ms_p50: float | None = None
    """Of those that were answered."""
    dur_ms_p95: float | None = None
    ttft_ms_p50: float | None = None
    ttft_ms_p95: float | None = None
    tokens_in: int = field(default_factory=int)
    tokens_out: int = field(default_factory=int)
    statuses: dict[str, int] = field(default_factory=dict[str, int])
    """How many ended how, errors only."""
    problem: str | None = None
    """Why nothing is told of it."""


class LogSummary(Struct, frozen=True, kw_only=True):
    """Answer of `GET /api/requests-summary`."""

    since: str
    until: str
    models: list[ModelSummary]
    machine: str
