"""How does a repeated request get the first one's answer?

A request with an idempotency key has the id of that key, so all its repeats meet at one entry of GOLEK_RESULTS and, in
the job stream's duplicate window, at one message. Each is a task, because it asks before it publishes:

    an answer is there            > it is sent, unless it is an error that a repeat may mend: then the job runs again
    the job is on its way         > the repeat joins it: `accepted`, then its answer when it comes
    nothing, or the job is lost   > it runs

Who runs a job again gives it an id made of what it replaces, so that two who do so at once store one job.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_wire import codec
from golek_wire import headers as h
from golek_wire.errors import (
    BusUnavailableError,
    ErrorReply,
    IdempotencyMismatchError,
    InferenceServiceError,
    InternalError,
    from_reply,
)
from golek_wire.replies import Allowances
from golek_worker.bus.jetstream import BUS_ERRORS, stored_message
from golek_worker.bus.overflow import Put
from golek_worker.bus.receipts import Receipts
from golek_worker.bus.replies import send_accepted, send_error, send_final
from golek_worker.bus.results import Entry, Pending, Results
from golek_worker.job import Job, deadline_error

log = structlog.get_logger("idempotency")

LIMIT = 4096
"""Requests with a key that one ingress looks after at a time; more are refused."""
LOOK_EVERY_S = 5.0
"""A joined job is looked for so often, should the word of its answer be lost."""
SETTLE_S = 0.1
"""A job may leave the queue a moment before its result can be read."""
LOSSES = 8
"""So often a job may be found gone while it is looked for."""
MENDABLE = ("DEADLINE_EXCEEDED", "CANCELLED")
"""Errors that are final for their caller and yet may not come again."""


class Asked(Struct, frozen=True):
    """A request with an idempotency key."""

    job: Job
    payload: bytes
    inbox: str
    """Where its answer goes, or its receipt; empty when nobody waits."""
    accept: bool
    submitted: bool


class Repeats:
    """Looks after requests with a key, a task each."""

    def __init__(
        self,
        client: BusClient,
        stream: str,
        results: Results,
        receipts: Receipts,
        put: Callable[[Job, bytes], Awaitable[Put]],
        refuse: Callable[[Job, str, InferenceServiceError], Awaitable[None]],
        forget: Callable[[str], None],
    ) -> None:
        """`put` stores a job; `refuse` sends the error to an inbox; `forget` deletes the body in the object store that
        a job would have had.
        """
        self._client = client
        self._stream = stream
        self._results = results
        self._receipts = receipts
        self._put = put
        self._refuse_at = refuse
        self._forget = forget
        self._puts: dict[str, asyncio.Future[Put]] = {}
        self._tasks: dict[asyncio.Task[None], Asked] = {}

    def take(self, asked: Asked) -> None:
        """Look after one request. Raises BusUnavailableError when there are too many."""
        if len(self._tasks) >= LIMIT:
            raise BusUnavailableError(f"{LIMIT} requests with a key are looked after already", may_run=False)
        task = asyncio.get_running_loop().create_task(self._serve(asked))
        self._tasks[task] = asked
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def close(self) -> None:
        """Tell those who still wait to ask again: another replica can join them to their job."""
        tasks = dict(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        leaving = BusUnavailableError(
            "this worker leaves; ask again with the same key", retry_after_ms=100, may_run=True
        )
        for task, asked in tasks.items():
            if task.cancelled():
                await self._refuse(asked, leaving)

    async def _serve(self, asked: Asked) -> None:
        job = asked.job
        try:
            await self._settle(asked)
        except InferenceServiceError as error:
            await self._refuse(asked, error)
        except BUS_ERRORS as error:
            await self._refuse(asked, BusUnavailableError(f"the key could not be looked up: {error}", may_run=True))
        except Exception:
            log.exception("request.failed", job_id=job.job_id)
            await self._refuse(asked, InternalError("The request's key could not be looked up"))

    async def _settle(self, asked: Asked) -> None:
        """Answer from the entry, join the job, or run it; see the head of this file."""
        job = asked.job
        until = time.monotonic() + job.budget_ms / 1000
        joined, lost, losses = False, _Lost(), 0
        async with self._results.heard(job) as heard:
            while losses < LOSSES:
                entry = heard.final or await self._results.find(job)
                if entry is not None:
                    _check_same(job, entry.headers)
                    if entry.is_final and (joined or not _is_mendable(entry)):
                        await self._deliver(asked, entry, joined=joined)
                        return
                revision = entry.revision if entry is not None else 0
                run = await self._run(asked, entry, lost.seq if lost.revision == revision else 0)
                if run.gone:
                    # Answered a moment ago, or lost: what lies there then tells.
                    lost, losses = _Lost(revision, run.seq), losses + 1
                    await asyncio.sleep(SETTLE_S)
                    continue
                if not joined:
                    await self._tell(asked, run)
                    joined = True
                if run.ours or asked.submitted:
                    if not run.same_body:
                        self._forget(job.body)
                    return  # the worker answers at our inbox, or nobody waits
                await heard.wait(min(until, time.monotonic() + LOOK_EVERY_S))
                if time.monotonic() >= until:
                    raise deadline_error(job)
        raise BusUnavailableError("the job of this key was lost several times; ask again", may_run=True)

    async def _run(self, asked: Asked, entry: Entry | None, lost: int) -> "_Run":
        """The key's job: the one that its entry names, or a new one where that was `lost` or has ended."""
        job = asked.job
        pending = codec.decode(entry.body, Pending) if entry is not None and not entry.is_final else None
        if pending is not None and pending.seq > lost:
            seq = pending.seq
        else:
            put = await self._put_once(msgspec.structs.replace(job, msg_id=_run_id(job, entry, lost)), asked)
            seq = put.seq
            if not put.duplicate:
                await self._announce(job, seq, entry)
                return _Run(seq, ours=True, same_body=True, allowances=put.allowances)
        stored = await stored_message(self._client, self._stream, {"seq": seq})
        if stored is None or stored.headers.get(h.JOB) != job.job_id:  # of another stream, since it was made anew
            return _Run(seq, gone=True)
        _check_same(job, stored.headers)
        if pending is None:
            await self._announce(job, seq, entry)
        return _Run(
            seq,
            ours=bool(job.reply) and stored.headers.get(h.REPLY) == job.reply,
            same_body=stored.headers.get(h.OBJECT, "") == job.body,
        )

    async def _announce(self, job: Job, seq: int, entry: Entry | None) -> None:
        """Name the job in its key's entry. The job is stored and will be answered, with an entry or without."""
        try:
            await self._results.announce(job, seq, entry.revision if entry is not None else 0)
        except BUS_ERRORS as error:
            log.warning("key.unannounced", job_id=job.job_id, problem=str(error))

    async def _put_once(self, job: Job, asked: Asked) -> Put:
        """Store `job`. Of several who do so at once here, one does; for the others it is a duplicate."""
        flying = self._puts.get(job.msg_id)
        if flying is not None:
            return msgspec.structs.replace(await asyncio.shield(flying), duplicate=True)
        flying = self._puts[job.msg_id] = asyncio.ensure_future(self._put(job, asked.payload))
        try:
            return await flying
        finally:
            del self._puts[job.msg_id]

    async def _tell(self, asked: Asked, run: "_Run") -> None:
        """The receipt of a submitted job; `accepted` to those who asked for it."""
        if asked.submitted and asked.inbox:
            self._receipts.owe(asked.job, run.seq, asked.inbox)
        elif asked.accept and asked.inbox:
            await send_accepted(self._client, asked.job, run.seq, run.allowances)

    async def _deliver(self, asked: Asked, entry: Entry, *, joined: bool) -> None:
        """Send the answer that lies there."""
        job = asked.job
        self._forget(job.body)
        if not asked.inbox:
            return
        if asked.submitted:
            await self._receipts.answered(job, asked.inbox)
            return
        if asked.accept and not joined:
            await send_accepted(self._client, job, 0)
        error = _error_in(entry)
        if error is not None:
            await send_error(self._client, asked.inbox, job.req_id, error, stream=job.stream)
        else:
            await send_final(self._client, job, entry.body, 1)

    async def _refuse(self, asked: Asked, error: InferenceServiceError) -> None:
        with contextlib.suppress(BusUnavailableError):  # the connection is closing
            await self._refuse_at(asked.job, asked.inbox, error)


class _Lost(Struct, frozen=True):
    """The newest job that is gone while its key's entry still has this revision."""

    revision: int = 0
    seq: int = 0


class _Run(Struct, frozen=True):
    """The job of a key."""

    seq: int
    ours: bool = False
    """It answers at this caller's inbox."""
    gone: bool = False
    same_body: bool = False
    """Its body, if it lies in the object store, is the one that came with this request."""
    allowances: Allowances | None = None
    """What its caller's key may still spend, where it pays for this run."""


def _run_id(job: Job, entry: Entry | None, lost: int) -> str:
    """The message id under which the job runs: that of its key the first time, else made of what it replaces."""
    ended = f".{entry.revision}" if entry is not None and entry.is_final else ""
    return f"{job.msg_id}{ended}{f'-{lost}' if lost else ''}"


def _check_same(job: Job, headers: dict[str, str]) -> None:
    """Raises IdempotencyMismatchError when another body came with this key before."""
    if headers.get(h.INPUT, job.input_sha256) != job.input_sha256:
        raise IdempotencyMismatchError(
            f"{h.IDEMPOTENCY_KEY}: the key came with another body before; give each request a key of its own",
            param=h.IDEMPOTENCY_KEY,
            job_id=job.job_id,
        )


def _error_in(entry: Entry) -> InferenceServiceError | None:
    """The error that the job ended in."""
    return from_reply(codec.decode(entry.body, ErrorReply)) if h.ERROR_CODE in entry.headers else None


def _is_mendable(entry: Entry) -> bool:
    """True for an error that a repeat may not meet again."""
    error = _error_in(entry)
    return error is not None and (error.type == "retriable" or error.code in MENDABLE)
