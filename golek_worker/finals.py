"""How does the outcome of a job reach those who asked?

It is kept, where that was asked for, and sent as the one final message. After an outage that is sent until somebody
listens: callers may come back later than we did.
"""

import asyncio
import time
from typing import Final

from golek_client.bus_client import BusClient
from golek_client.connection import flush
from golek_wire.errors import BusUnavailableError, InferenceServiceError
from golek_worker.attempt import Attempt, Outcome
from golek_worker.bus.replies import error_body, error_headers, error_message, final_messages, send_error, send_final
from golek_worker.bus.results import Results
from golek_worker.bus.tokens import TokenLogs
from golek_worker.executor import Answer

CAREFUL_S: Final = 5.0
"""For so long after an outage a final message is sent again while nobody listens at the caller's inbox."""
INSIST_S: Final = 0.1


class Finals:
    """The final messages of one worker's jobs."""

    def __init__(self, client: BusClient, results: Results, tokens: TokenLogs, worker_id: str) -> None:
        self._client = client
        self._results = results
        self._tokens = tokens
        self._worker_id = worker_id
        self._careful_until = 0.0

    @property
    def is_careful(self) -> bool:
        """Whether callers may still be on their way back after an outage."""
        return time.monotonic() < self._careful_until

    def reconnected(self) -> None:
        """The connection stands again."""
        self._careful_until = time.monotonic() + CAREFUL_S

    async def keep(self, attempt: Attempt, outcome: Outcome) -> None:
        """Keep the final message for those who ask for it later.

        Raises BusUnavailableError when it is the only answer, cannot be stored, and there is time to run again.
        """
        job, work = attempt.job, attempt.work
        if isinstance(outcome, InferenceServiceError):
            body, about = error_body(job.req_id, outcome, self._client.max_payload), error_headers(outcome)
        else:
            body, about = outcome.body, {}
        if job.reply or (work is not None and work.reply_to):
            await self._results.keep(job, body, about)
            return
        try:
            await self._results.keep_surely(job, body, about)
        except BusUnavailableError as unstored:
            if time.monotonic() < attempt.lease.deadline:
                raise
            self._results.lose(unstored)

    async def send(self, attempt: Attempt, outcome: Outcome) -> None:
        """Send it, once unless callers may be on their way back."""
        if not self.is_careful:
            await self._once(attempt, outcome, "")
            return
        # After an outage the caller may come back later than we did: send until somebody listens.
        while True:
            attempt.bounced = False
            await self._once(attempt, outcome, attempt.probe)
            await flush(self._client)
            if not attempt.bounced or not self.is_careful:
                return
            await asyncio.sleep(INSIST_S)

    async def end_log(self, attempt: Attempt, outcome: Outcome) -> None:
        """The final message, to those who read the stream later."""
        job, worker = attempt.job, self._worker_id
        if isinstance(outcome, Answer):
            attempts = attempt.lease.num_delivered
            final = list(final_messages(self._client.max_payload, job, outcome.body, attempts, worker))
        else:
            final = [error_message(job.req_id, outcome, stream=True, worker=worker, limit=self._client.max_payload)]
        await self._tokens.end(job, final)

    async def _once(self, attempt: Attempt, outcome: Outcome, probe: str) -> None:
        job, work = attempt.job, attempt.work
        also_to = work.reply_to if work is not None and not job.parent else None
        if isinstance(outcome, Answer):
            delivery = attempt.lease.num_delivered
            await send_final(
                self._client, job, outcome.body, delivery,
                worker=self._worker_id, also_to=also_to, probe=probe,
            )  # fmt: skip
        else:
            await send_error(
                self._client, job.reply, job.req_id, outcome,
                stream=job.stream, worker=self._worker_id, also_to=also_to, probe=probe,
            )  # fmt: skip
