"""Which subject, stream and consumer belongs to which model?

One word each, as in docs/glossary.md: a model's *token* is its name made safe for one subject token
('.' splits tokens on NATS, so `nomic-embed-v1.5` has the token `nomic-embed-v1_5`).
"""

import hashlib
import re
from typing import Final, Literal, get_args

QUEUE_GROUP: Final = "golek"
"""One group over literal and wildcard subscriptions delivers each request exactly once."""

Kind = Literal["inference", "embedding", "rerank", "vision"]
"""What is asked of a model: to write text, to turn texts into vectors, to rank documents by a query, or to say what
images show."""
SERVED: Final[tuple[Kind, ...]] = get_args(Kind)
Verb = Literal["load", "unload", "drain"]
"""What an operator orders a model's workers to do."""
VERBS: Final[tuple[Verb, ...]] = ("load", "unload", "drain")
AdapterVerb = Literal["load", "unload", "list"]
ADAPTER_VERBS: Final[tuple[AdapterVerb, ...]] = ("load", "unload", "list")
CacheVerb = Literal["stats", "clear"]
CACHE_VERBS: Final[tuple[CacheVerb, ...]] = ("stats", "clear")
ANY_LANE: Final = "any"
PRIORITIES: Final = {3: "high", 2: "normal", 1: "low"}
"""A request's `priority`, and how it is called in subjects; the most urgent first."""

ALL_CANCELS: Final = "inference.cancel.*"

DLQ_STREAM: Final = "GOLEK_DLQ"
DLQ_SUBJECTS: Final = "golek.dlq.>"
MODELS_BUCKET: Final = "GOLEK_MODELS"
STRIKES_BUCKET: Final = "GOLEK_STRIKES"
RESULTS_BUCKET: Final = "GOLEK_RESULTS"
RESULTS_STREAM: Final = f"KV_{RESULTS_BUCKET}"
OBJECTS_BUCKET: Final = "GOLEK_OBJECTS"
KEYS_BUCKET: Final = "GOLEK_KEYS"
ADAPTERS_BUCKET: Final = "GOLEK_ADAPTERS"
GRAMMARS_BUCKET: Final = "GOLEK_GRAMMARS"
QUOTA_BUCKET: Final = "GOLEK_QUOTA"
SESSIONS_BUCKET: Final = "GOLEK_SESSIONS"
BREAKERS_BUCKET: Final = "GOLEK_BREAKERS"
CACHE_BUCKET: Final = "GOLEK_CACHE"
TOKENS_STREAM: Final = "GOLEK_TOKENS"
TOKENS_SUBJECTS: Final = "golek.tokens.>"
SOCKETS: Final = "golek.sockets"
"""Where gateways tell each other what they send to rooms of Socket.IO (core NATS)."""
TOKENS_KEPT: Final = 8192
"""Messages of one resumable stream; older ones give way."""

ANONYMOUS: Final = "anonymous"
"""The principal where nobody says who asks."""
MODEL_NAME_LIMIT: Final = 128
ADAPTER_NAME_LIMIT: Final = 128
SUBJECT_LIMIT: Final = 512
_MODEL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_:/@+-]*(\.[A-Za-z0-9_:/@+-]+)*")
_ADAPTER_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648, lower case; base64.b32encode takes twice as long
_ID_LENGTH: Final = 26
_BASE32_PAIRS = [first + second for first in _BASE32 for second in _BASE32]
_SHIFTS = tuple(range(120, -1, -10))
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_INBOX_PREFIXES = ("_INBOX.", "_R_.")
_OWN_FAMILIES = (
    "$", "_INBOX", "_R_", "golek.", "inference.", "embedding.", "rerank.", "vision.", "models.", "monitoring.",
    "grammars.", "sessions.", "hosts.",
)  # fmt: skip
_PLAIN_SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")


def is_model_name(name: str) -> bool:
    """True when `name` can stand literally in a subject: no blanks, wildcards or empty tokens."""
    return len(name) <= MODEL_NAME_LIMIT and _MODEL_NAME.fullmatch(name) is not None


def is_adapter_name(name: str) -> bool:
    """True when `name` can stand in a bucket's key: no blanks, wildcards or empty parts between dots."""
    return len(name) <= ADAPTER_NAME_LIMIT and _ADAPTER_NAME.fullmatch(name) is not None


def model_token(name: str) -> str:
    """`name` as one subject token: every character outside `[A-Za-z0-9_-]` becomes `_`."""
    return _UNSAFE.sub("_", name)


def spellings(name: str) -> tuple[str, ...]:
    """The literal name and its token, once when they are the same: a model is served on both."""
    token = model_token(name)
    return (name,) if token == name else (name, token)


def request(name: str, kind: str = "inference") -> str:
    """Where clients ask (core NATS)."""
    return f"{kind}.request.{name}"


def submit(name: str, kind: str = "inference") -> str:
    """Where clients leave a job without waiting for its answer (core NATS)."""
    return f"{kind}.submit.{name}"


def submit_at(request_subject: str) -> str:
    """Where jobs are left for the model that takes requests on `request_subject`."""
    return request_subject.replace(".request.", ".submit.", 1)


def kind_of(subject: str) -> Kind:
    """What is asked at a subject where requests are taken, or jobs are left."""
    family = subject.partition(".")[0]
    return next((kind for kind in SERVED if kind == family), "inference")


def is_submit(subject: str) -> bool:
    """Whether a request's subject is one where jobs are left."""
    return subject.partition(".")[2].startswith("submit.")


def job(token: str, kind: str = "inference", priority: str = "normal", lane: str = ANY_LANE) -> str:
    """Where an ingress stores an accepted request (JetStream)."""
    return f"{kind}.job.{token}.{priority}.{lane}"


def stored(token: str, kind: str, priority: str, lane: str = ANY_LANE) -> str:
    """Where the server says, in a fleet that queues by priority, that it stored such a job (core NATS, no payload).

    Of a job on a replica's lane whoever stored it says so, in every fleet.
    """
    told = f"golek.stored.{token}.{kind}.{priority}"
    return told if lane == ANY_LANE else f"{told}.{lane}"


def lane(worker_id: str) -> str:
    """The lane of one replica: jobs that are meant for it, if it can take them."""
    return model_token(worker_id)


def lanes_called(token: str) -> str:
    """Where a router asks the replicas of a model which of them take jobs on their lanes (core NATS)."""
    return f"golek.lanes.{token}"


def job_stream(token: str) -> str:
    """The work-queue stream of one model."""
    return f"GOLEK_JOBS_{token}"


def job_stream_subjects(token: str) -> list[str]:
    """What the model's stream stores: the jobs of all four kinds."""
    return [f"{kind}.job.{token}.>" for kind in SERVED]


def consumer(token: str, kind: str = "inference", priority: str = "normal", lane: str = ANY_LANE) -> str:
    """The durable pull consumer of one kind, priority and lane."""
    name = f"{kind}-{token}-{priority}"
    return name if lane == ANY_LANE else f"{name}-{lane}"


def cancel(job_id: str) -> str:
    """Where a cancel of one job is published."""
    return f"inference.cancel.{job_id}"


def health(name: str) -> str:
    """Where a model's health is asked."""
    return f"models.{name}.health"


def order(name: str, verb: Verb) -> str:
    """Where operators tell all replicas of a model what to do."""
    return f"models.{name}.{verb}"


def log(name: str) -> str:
    """Where every replica of a model is asked what its request log says (core NATS)."""
    return f"models.{name}.log"


def adapters(name: str, verb: AdapterVerb) -> str:
    """Where every replica of a model is told to load or unload a LoRA adapter, or asked which it has (core NATS)."""
    return f"models.{name}.adapters.{verb}"


def caches(name: str, verb: CacheVerb) -> str:
    """Where every replica of a model is asked what it keeps of answers, or told to forget it (core NATS)."""
    return f"models.{name}.cache.{verb}"


def all_caches() -> list[str]:
    """Where a router hears what is asked of the caches of all names; a name has three dots at most."""
    return [f"models.{'.'.join(['*'] * tokens)}.cache.{verb}" for tokens in range(1, 5) for verb in CACHE_VERBS]


def grammars(verb: str) -> str:
    """Where named grammars are listed, read, stored and removed: `list`, `get`, `put`, `delete`."""
    return f"grammars.{verb}"


def sessions(verb: str) -> str:
    """Where a caller's conversations are read and removed: `get`, `delete`."""
    return f"sessions.{verb}"


def session(principal: str, session_id: str) -> str:
    """The key in `GOLEK_SESSIONS` under which a caller's conversation is kept: an id may hold what a key may not."""
    return f"{principal}.{job_id(session_id)}"


def stored_session(key: str) -> str:
    """The subject of that key."""
    return f"$KV.{SESSIONS_BUCKET}.{key}"


def cached(model: str, digest: str) -> str:
    """The subject under which an answer of a model is kept in `GOLEK_CACHE`; with the digest `*` all of them."""
    return f"$KV.{CACHE_BUCKET}.{model_token(model)}.{digest}"


def session_peers(verb: str) -> str:
    """Where workers that keep conversations in their memory ask each other: `get`, `delete` (core NATS)."""
    return f"golek.session.{verb}"


def hosts(verb: str, host: str = "") -> str:
    """Where the supervisors of machines are asked (core NATS).

    `start` a model that no worker serves: one of them hears it and passes it on to who can; with `host` that one alone.
    `list` what each could start: all answer.
    """
    return f"hosts.{verb}.{host}" if host else f"hosts.{verb}"


def tokens(job_id: str) -> str:
    """Where the chunks of a resumable stream are kept (JetStream)."""
    return f"golek.tokens.{job_id}"


def reading(job_id: str) -> str:
    """Where the server repeats what it kept of a resumable stream: whoever reads that stream listens here."""
    return f"golek.reading.{job_id}"


def breaker(target: str) -> str:
    """Where routers write, and hear, how a target is (a key of `GOLEK_BREAKERS`)."""
    return f"$KV.{BREAKERS_BUCKET}.{model_token(target)}"


def help_for(token: str) -> str:
    """Where routers say to a model's workers that they would take what its queue has no room for (core NATS)."""
    return f"golek.help.{token}"


def help_wanted(token: str) -> str:
    """Where a worker that starts asks whether a router would (core NATS)."""
    return f"golek.helpers.{token}"


ORCHESTRATES: Final = "golek.orchestrates"
"""Where routers say to all workers that several models may answer a request together (core NATS)."""


def stored_grammar(name: str) -> str:
    """Where the server repeats what it stored of a named grammar (core NATS)."""
    return f"golek.grammar.{name}"


def heartbeat(token: str) -> str:
    """Where a worker says every 30 s that it lives."""
    return f"models.{token}.heartbeat"


def load_report(token: str) -> str:
    """Where a worker reports queue and slots, every second under load."""
    return f"monitoring.inference.{token}"


SIGNALS_ASKED: Final = "monitoring.ask"
"""Who has just begun to watch says so here: every worker that takes requests beats and reports at once."""


MONITOR_BUCKET: Final = "GOLEK_MONITOR"
"""When a model was first seen, by token: whoever sees it first writes it down, and all monitors tell the same."""
ALERTS: Final = "monitoring.alerts"
"""Where a monitor says what needs somebody's attention, and that it does no longer."""
AGGREGATE: Final = "monitoring.aggregate"
"""Where a monitor says every second how the fleet is as a whole."""
ADVISORIES: Final = (
    "$JS.EVENT.ADVISORY.STREAM.>", "$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.>",
    "$JS.EVENT.ADVISORY.CONSUMER.QUORUM_LOST.>", "$JS.EVENT.ADVISORY.DOMAIN.>", "$JS.EVENT.ADVISORY.SERVER.>",
)  # fmt: skip
"""Where the server says what happened to streams and consumers. Not all of `$JS.EVENT.ADVISORY.>`: on its `API` the
server repeats every question to JetStream, if somebody listens, and a fleet asks hundreds in a second."""


def gateway_report(gateway_id: str) -> str:
    """Where a gateway says how busy it is, as often as a worker does."""
    return f"monitoring.gateway.{gateway_id}"


def micro(verb: str, incarnation: str = "") -> str:
    """Where NATS micro (ADR-32) asks: `PING`, `INFO` or `STATS` of all workers, or of the one of this incarnation."""
    return f"$SRV.{verb}.golek.{incarnation}" if incarnation else f"$SRV.{verb}.golek"


DEAD_LETTERS: Final = "golek.dlq.*"
"""Where all copies of poison jobs go."""


def dead_letter(token: str) -> str:
    """Where the copy of a poison job goes."""
    return f"golek.dlq.{token}"


def result(principal: str, job_id: str) -> str:
    """The key in `GOLEK_RESULTS` under which a job's final message is kept."""
    return f"{principal}.{job_id}"


def stored_result(principal: str, job_id: str) -> str:
    """The subject of that key: where the final message is published to be kept, and under which it is read."""
    return f"$KV.{RESULTS_BUCKET}.{result(principal, job_id)}"


def answer_claim(stream: str, seq: int) -> str:
    """Where a worker that doubts its lease claims the right to answer this message of a job stream.

    In the bucket `GOLEK_RESULTS`, beside the answers: no principal is named `=claim`, nor `=delivery`.
    """
    return f"$KV.{RESULTS_BUCKET}.=claim.{stream}.{seq}"


def answer_delivery(stream: str, seq: int) -> str:
    """Where a worker says which delivery of this message it runs, when that is not the first."""
    return f"$KV.{RESULTS_BUCKET}.=delivery.{stream}.{seq}"


def message_id(principal: str, kind: str, model: str, idempotency_key: str) -> str:
    """The `Nats-Msg-Id` of all requests with this idempotency key: SHA-256 in hex.

    The id of their one job is made of it as of a reply inbox, by `job_id`.
    """
    return hashlib.sha256("\0".join((principal, kind, model, idempotency_key)).encode()).hexdigest()


def job_id(reply_inbox: str) -> str:
    """The id of the job that answers to `reply_inbox`: 26 lower-case base32 characters of its SHA-256.

    Unguessable as the inbox is, and computed alike by client and ingress.
    """
    bits = int.from_bytes(hashlib.sha256(reply_inbox.encode()).digest()[:17], "big") >> 6  # 26 characters are 130 bits
    return "".join([_BASE32_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])


def is_job_id(text: str) -> bool:
    """True for what `job_id` may give."""
    return len(text) == _ID_LENGTH and set(_BASE32).issuperset(text)


def is_reply_inbox(subject: str) -> bool:
    """True when an answer to a request may be published to `subject`."""
    return subject.startswith(_INBOX_PREFIXES) and is_plain(subject)


def is_reply_to(subject: str) -> bool:
    """True when a payload's `reply_to` may name `subject`: a plain subject outside inboxes and Golek's own."""
    return not subject.startswith(_OWN_FAMILIES) and is_plain(subject)


def is_plain(subject: str) -> bool:
    """True when `subject` can be published to: no wildcards, blanks or empty tokens, and not too long.

    The server closes a connection that sends a longer control line than it allows (4 KiB by default).
    """
    return len(subject) <= SUBJECT_LIMIT and _PLAIN_SUBJECT.fullmatch(subject) is not None
