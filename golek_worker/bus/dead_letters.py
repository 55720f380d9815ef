"""How is a poison job buried?

Its copy goes to `golek.dlq.<token>` with what is needed to look into it and to run it once more: the hash of its input,
the engine's last words, the seed, and the request itself where the audit setting keeps bodies. That comes before the
caller's error: a bus that is away makes the job run its way again. A stream that refuses the copy (its disk is full)
does not: the engine would be crashed for a letter.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, Protocol

import msgspec
from nats.aio.client import Client

from golek_wire import codec, subjects
from golek_wire.signals import DeadLetter
from golek_worker.bus.jetstream import JetStreamError, store
from golek_worker.bus.lease import Lease
from golek_worker.bus.strikes import Strikes

LOG_LINES = 50
"""How many of the engine's last lines a letter has."""


class Tell(Protocol):
    """An event in the worker's logs."""

    def __call__(self, code: str, message: str, *, level: str) -> None: ...


class Sender(msgspec.Struct, frozen=True):
    """What a worker's letters have in common."""

    model: str
    kind: str
    subject: str
    """Where its requests are taken."""
    worker_id: str
    audit: Literal["full", "hash", "none"]
    """What may be kept of a request: all, its hash, nothing."""


class DeadLetters:
    """Buries the poison jobs of one worker."""

    def __init__(self, client: Client, sender: Sender, engine_log: Callable[[], list[str]], tell: Tell) -> None:
        self._client = client
        self._sender = sender
        self._engine_log = engine_log
        self._tell = tell

    async def bury(self, lease: Lease, strikes: Strikes) -> None:
        """Copy a poison job to the dead letter queue. Raises BusUnavailableError when nobody says that it is there."""
        job_id = lease.job.job_id
        letter = compose(self._sender, lease, strikes, self._engine_log()[-LOG_LINES:], datetime.now(UTC))
        body = codec.encode(letter)
        if len(body) > self._client.max_payload:
            sizes = f"with the request the letter has {len(body)} bytes, and the bus carries {self._client.max_payload}"
            body = codec.encode(msgspec.structs.replace(letter, payload=None, withheld=sizes))
        try:
            await store(self._client, subjects.dead_letter(subjects.model_token(self._sender.model)), body)
        except JetStreamError as refusal:
            self._tell("job.poison_lost", f"job {job_id} is poison, and no letter of it kept: {refusal}", level="error")
            return
        self._tell("job.poison", f"job {job_id} is in the dead letter queue: golek dlq show {job_id}", level="error")


def compose(sender: Sender, lease: Lease, strikes: Strikes, log_tail: list[str], now: datetime) -> DeadLetter:
    """The letter of one job."""
    job = lease.job
    withheld = ""
    if sender.audit != "full":
        withheld = f"GOLEK_AUDIT_BODY={sender.audit} keeps no requests"
    return DeadLetter(
        job_id=job.job_id,
        req_id=job.req_id,
        model=sender.model,
        worker_id=sender.worker_id,
        at=now.isoformat(timespec="milliseconds"),
        crashes=strikes.crashes,
        input_sha256=hashlib.sha256(lease.payload).hexdigest() if sender.audit != "none" else "",
        log_tail=log_tail,
        payload=None if withheld else lease.payload.decode(errors="replace"),
        kind=sender.kind,
        seed=job.seed,
        replay=f"golek dlq retry {job.job_id}",
        subject=sender.subject,
        withheld=withheld,
    )
