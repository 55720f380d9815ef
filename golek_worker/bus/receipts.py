"""What is told to those who leave a job?

A receipt: the job's id, and its place in the queue. One look at the queue serves all who wait for theirs.
"""

import asyncio
import time

import structlog
from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_client.connection import publish
from golek_wire import codec
from golek_wire.errors import BusUnavailableError, InferenceServiceError
from golek_wire.replies import Receipt
from golek_worker.bus.jetstream import JetStreamError
from golek_worker.bus.queue import Queue
from golek_worker.job import Job

log = structlog.get_logger("receipts")

RETRY_S = 0.25
PATIENCE_S = 10.0
"""The job is stored; who does not get a receipt for so long asks again with the same inbox."""


class _Waiting(Struct, frozen=True):
    job: Job
    seq: int
    inbox: str
    until: float


class Receipts:
    """Answers those whose submitted job was stored."""

    def __init__(self, client: BusClient, queue: Queue) -> None:
        self._client = client
        self._queue = queue
        self._waiting: list[_Waiting] = []
        self._came = asyncio.Event()

    def owe(self, job: Job, seq: int, inbox: str) -> None:
        """Send the receipt of `job`, stored as `seq`, to `inbox`, soon."""
        self._waiting.append(_Waiting(job, seq, inbox, time.monotonic() + PATIENCE_S))
        self._came.set()

    async def run(self) -> None:
        """Send what is owed, for as long as the worker lives."""
        while True:
            await self._came.wait()
            self._came.clear()
            waiting, self._waiting = self._waiting, []
            try:
                await self._queue.look(older_than_s=0)
                for one in waiting:
                    await self._send(one)
            except (BusUnavailableError, JetStreamError) as error:
                now = time.monotonic()
                patient = [one for one in waiting if now < one.until]
                log.warning("receipts.late", problem=str(error), waiting=len(patient))
                await asyncio.sleep(RETRY_S)
                self._waiting = patient + self._waiting
                self._came.set()

    async def answered(self, job: Job, inbox: str) -> None:
        """The receipt of a job that has its result already: it has no place in the queue."""
        await publish(self._client, inbox, codec.encode(Receipt(job.req_id, job.job_id, 0, 0, job.principal)))

    async def _send(self, one: _Waiting) -> None:
        job = one.job
        # A job that a worker has already was next when it was stored.
        place = max(1, self._queue.position(one.seq, job.priority))
        receipt = codec.encode(Receipt(job.req_id, job.job_id, one.seq, place, job.principal))
        try:
            await publish(self._client, one.inbox, receipt)
        except BusUnavailableError:
            raise
        except InferenceServiceError as error:
            log.warning("receipt.unsent", job_id=job.job_id, problem=str(error))
