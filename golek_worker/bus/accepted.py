"""What becomes of stored jobs that nobody has answered yet?

The ingress that stored them looks after them: streams are told their place, a cancel deletes a job that no worker has,
and at its deadline a job that nobody answered is answered here. Who deletes a job from the stream owes the answer, so
there is one.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_wire.errors import BusUnavailableError, InferenceServiceError, JobCancelledError
from golek_wire.jetstream import MESSAGE_GONE, STREAM_NOT_FOUND
from golek_worker.bus.jetstream import JetStreamError, api
from golek_worker.bus.queue import Queue
from golek_worker.bus.results import Results
from golek_worker.bus.waiting import WaitingStreams
from golek_worker.job import Job, deadline_error

WATCH_S = 1.0
ENDED_AT_ONCE = 64
GRACE_S = 1.0
"""At deadline + this the ingress answers for jobs that nobody answered."""

Answer = Callable[[Job, str, InferenceServiceError], Awaitable[None]]
"""Sends the error that a job ended in to an inbox."""


class _Stored(Struct, frozen=True):
    job: Job
    deadline: float


class AcceptedJobs:
    """The jobs in the stream that one ingress accepted."""

    def __init__(
        self,
        client: BusClient,
        stream: str,
        queue: Queue,
        results: Results,
        answer: Answer,
        loading: Callable[[], float | None],
        unrun: Callable[[Job, float, InferenceServiceError], None] | None = None,
    ) -> None:
        """`loading` is the share of the model's load that is done; streams that wait are told. `unrun` hears of a job
        that ended in the queue, and after how many seconds.
        """
        self._client = client
        self._stream = stream
        self._queue = queue
        self._results = results
        self._answer = answer
        self._unrun = unrun
        self._waiting = WaitingStreams(client, queue, loading)
        self._stored: dict[int, _Stored] = {}
        self._seq_of: dict[str, int] = {}
        self._next_deadline = math.inf
        """No job in `_stored` has an earlier one."""
        self._to_cancel: set[str] = set()
        self._given_up: tuple[float, InferenceServiceError] | None = None
        self._maybe_deleted: set[int] = set()
        """Jobs that were to be deleted when JetStream fell silent."""
        self._next_watch = time.monotonic() + WATCH_S

    def __len__(self) -> int:
        return len(self._stored)

    def add(self, seq: int, job: Job, now: float) -> None:
        """`job` was stored as `seq`, at `now` at the latest: its budget runs from then."""
        deadline = now + job.budget_ms / 1000
        self._stored[seq] = _Stored(job, deadline)
        self._seq_of[job.job_id] = seq
        self._queue.last_seq = seq
        self._next_deadline = min(self._next_deadline, deadline)
        if job.stream and job.reply:
            self._waiting.add(seq, job, now)

    def cancel(self, job_id: str) -> bool:
        """Delete the job soon, if no worker has been given it yet, and answer it 499; False when it is not here."""
        if job_id not in self._seq_of:
            return False
        self._to_cancel.add(job_id)
        return True

    def give_up(self, since: float, error: InferenceServiceError) -> None:
        """Soon end with `error` what was stored from then on, somebody waits for, and no worker has been given."""
        self._given_up = since, error

    async def sweep(self, now: float) -> None:
        """Cancels, deadlines, and once a second a look at what is answered. Raises as `api` does."""
        await self._cancel_waiting()
        await self._end_given_up()
        if now >= self._next_deadline + GRACE_S:
            await self._answer_expired(now)
        if self._stored and now >= self._next_watch:
            self._next_watch = now + WATCH_S
            await self._forget_answered()
            await self._waiting.tell()

    async def _forget_answered(self) -> None:
        """What left the stream is answered. Jobs of other classes may lie before it for long."""
        state = (await api(self._client, f"STREAM.INFO.{self._stream}"))["state"]
        self._queue.last_seq = state["last_seq"]
        for seq, stored in list(self._stored.items()):
            if seq < state["first_seq"] or self._queue.is_done(seq, stored.job.priority):
                self._forget(seq)

    async def _answer_expired(self, now: float) -> None:
        """Answer what nobody answered by its deadline."""
        expired = [(seq, stored.job) for seq, stored in self._stored.items() if now >= stored.deadline + GRACE_S]
        for start in range(0, len(expired), ENDED_AT_ONCE):
            ends = [
                self._end_unanswered(seq, job, deadline_error(job))
                for seq, job in expired[start : start + ENDED_AT_ONCE]
            ]
            # Each to its end: one that deleted its job owes an answer.
            for outcome in await asyncio.gather(*ends, return_exceptions=True):
                if outcome is not None:
                    raise outcome
        self._next_deadline = min((stored.deadline for stored in self._stored.values()), default=math.inf)

    async def _cancel_waiting(self) -> None:
        """One look at the queue serves all cancels that came since the last round."""
        if not self._to_cancel:
            return
        job_ids, self._to_cancel = self._to_cancel, set()
        await self._queue.look(older_than_s=0)
        for seq in [self._seq_of[job_id] for job_id in job_ids if job_id in self._seq_of]:
            job = self._stored[seq].job
            if not self._queue.is_delivered(seq, job.priority):
                await self._end_unanswered(seq, job, JobCancelledError("Cancelled before it ran"))

    async def _end_given_up(self) -> None:
        if self._given_up is None:
            return
        (since, error), self._given_up = self._given_up, None
        await self._queue.look(older_than_s=0)
        for seq, stored in list(self._stored.items()):
            job, stored_at = stored.job, stored.deadline - stored.job.budget_ms / 1000
            if job.reply and stored_at >= since and not self._queue.is_delivered(seq, job.priority):
                await self._end_unanswered(seq, job, error)

    async def _end_unanswered(self, seq: int, job: Job, error: InferenceServiceError) -> None:
        """A delete that succeeds means nobody has answered; "not found" means somebody has, unless an earlier delete
        here had no answer: better two errors than none. Without its stream nobody will.

        Any other outcome leaves the job where it is: the next round asks again.
        """
        try:
            await api(self._client, f"STREAM.MSG.DELETE.{self._stream}", {"seq": seq, "no_erase": True})
        except BusUnavailableError:
            self._maybe_deleted.add(seq)
            raise
        except JetStreamError as refusal:
            if refusal.code in MESSAGE_GONE and seq not in self._maybe_deleted:
                self._forget(seq)
                return
            if refusal.code not in (*MESSAGE_GONE, STREAM_NOT_FOUND):
                raise
        if self._unrun is not None and seq in self._stored:
            self._unrun(job, time.monotonic() - self._stored[seq].deadline + job.budget_ms / 1000, error)
        self._forget(seq)
        if job.keep_s:
            await self._results.keep_error(job, error)
        await self._answer(job, job.reply, error)

    def _forget(self, seq: int) -> None:
        self._waiting.forget(seq)
        self._maybe_deleted.discard(seq)
        stored = self._stored.pop(seq, None)
        if stored is not None:
            self._seq_of.pop(stored.job.job_id, None)
