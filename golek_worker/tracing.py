"""What do traces tell of a job that a worker leased?

How long it waited in the queue, and each attempt with what it consists of: the wait for a slot, prefill and decode as
the engine measured them, the result that was kept, the reply. Prompts and answers are not told, nor are the messages of
errors, which may quote them.
"""

import time
from typing import Final

from golek_program.spans import Attributes, Span, Tracing, Value
from golek_wire import semconv, subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.requests import Params
from golek_worker.attempt import Attempt, Outcome
from golek_worker.bus.lease import Lease
from golek_worker.choices import Several
from golek_worker.engine.base import Finished
from golek_worker.executor import Answer

REQUEUED: Final = "REQUEUED"
"""The attempt ended without an answer, and the job goes back to the queue."""


class Traces:
    """Makes the spans of one worker's jobs."""

    def __init__(self, tracing: Tracing, model: str, worker_id: str) -> None:
        self._tracing = tracing
        self._stream = subjects.job_stream(subjects.model_token(model))
        self._about: Attributes = {
            semconv.PROVIDER: semconv.GOLEK,
            semconv.REQUEST_MODEL: model,
            semconv.WORKER_ID: worker_id,
            semconv.MESSAGING_SYSTEM: semconv.NATS,
            semconv.MESSAGING_DESTINATION: self._stream,
        }

    def begin(self, lease: Lease) -> "JobTrace | None":
        """A job was leased; None for one whose trace the sampler leaves out."""
        job, clock = lease.job, Clock()
        leased_ns = clock.at(lease.leased_at)
        span = self._tracing.begin(f"process {self._stream}", "consumer", job.trace, begun_ns=leased_ns)
        if not span.is_recorded:
            return None
        about: dict[str, Value] = {
            **self._about,
            semconv.MESSAGING_OPERATION: "process",
            semconv.MESSAGING_OPERATION_TYPE: "process",
            semconv.MESSAGING_MESSAGE: job.job_id,
            semconv.JOB_ID: job.job_id,
            semconv.KEY_ID: job.principal,
            semconv.ATTEMPT: lease.num_delivered,
        }
        if job.req_id:
            about[semconv.REQ_ID] = job.req_id
        if job.step:
            about[semconv.STEP] = job.step
        span.say(about)
        stored_ns = leased_ns - int(lease.waited_s * 1e9)
        if lease.num_delivered > 1:
            return JobTrace(span, clock)  # what came between two attempts is not known
        span.beside(semconv.QUEUE, stored_ns, leased_ns, self._queued(lease))
        return JobTrace(span, clock)

    def _queued(self, lease: Lease) -> Attributes:
        return {
            semconv.MESSAGING_SYSTEM: semconv.NATS,
            semconv.MESSAGING_DESTINATION: self._stream,
            semconv.JOB_ID: lease.job.job_id,
            semconv.SEQUENCE: lease.seq,
        }


class Clock:
    """Reads the monotonic clock, by which a worker measures, as nanoseconds since 1970."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def at(self, seconds: float) -> int:
        return int(seconds * 1e9) + self._offset


class JobTrace:
    """One attempt at a job."""

    def __init__(self, span: Span, clock: Clock) -> None:
        self.span = span
        self._clock = clock
        self._lap_ns = time.time_ns()

    def lap(self, done: str = "") -> None:
        """A step of ours begins; `done` names the one that is over with that."""
        now = time.time_ns()
        if done:
            self.span.part(done, self._lap_ns, now)
        self._lap_ns = now

    def end(self, attempt: Attempt, outcome: Outcome | None) -> None:
        """The attempt is over; without an outcome the job runs again."""
        span, work = self.span, attempt.work
        if work is not None:
            span.say(_asked(work.operation, work.params, stream=attempt.job.stream))
        if isinstance(outcome, Answer):
            self._tell(attempt, outcome)
            span.end(at_ns=self._lap_ns)
            return
        if attempt.first_text_at is not None:
            span.happened(semconv.FIRST_TOKEN, self._clock.at(attempt.first_text_at))
        if attempt.tokens_in:
            span.say({semconv.INPUT_TOKENS: attempt.tokens_in, semconv.OUTPUT_TOKENS: attempt.tokens_out})
        span.end(outcome.code if isinstance(outcome, InferenceServiceError) else REQUEUED)

    def _tell(self, attempt: Attempt, answer: Answer) -> None:
        """What the answer cost."""
        span, measured = self.span, answer.measured
        about: dict[str, Value] = {semconv.RESPONSE_ID: attempt.job.job_id, semconv.INPUT_TOKENS: answer.tokens_in}
        if answer.finish_reason is not None:
            about |= {semconv.OUTPUT_TOKENS: answer.tokens_out, semconv.FINISH_REASONS: _reasons(answer)}
        if measured is not None:
            about[semconv.CACHED_TOKENS] = measured.tokens_cached
            first_s = self._engine(attempt, measured)
            about[semconv.FIRST_CHUNK_S] = max(0.0, first_s - attempt.lease.leased_at)
        span.say(about)
        for choice in measured.choices if isinstance(measured, Several) else ():
            said = {"index": choice.index, "finish_reason": choice.finish_reason, "tokens_out": choice.tokens_out}
            span.happened(semconv.TEXT, self._clock.at(attempt.ended_at), said)

    def _engine(self, attempt: Attempt, measured: Finished) -> float:
        """What the engine measured, counted back from its end; when the first token came, on the monotonic clock."""
        decoding = attempt.ended_at - measured.decode_ms / 1000
        reading = decoding - measured.prefill_ms / 1000
        waiting = reading - measured.waited_ms / 1000
        for name, begun, ended in (
            (semconv.SLOT, waiting, reading),
            (semconv.PREFILL, reading, decoding),
            (semconv.DECODE, decoding, attempt.ended_at),
        ):
            # Rounding and the way between two processes must not put a part before its whole.
            self.span.part(name, self._clock.at(max(begun, attempt.lease.leased_at)), self._clock.at(ended))
        self.span.happened(semconv.FIRST_TOKEN, self._clock.at(decoding))
        return decoding


def _reasons(answer: Answer) -> list[str]:
    if isinstance(answer.measured, Several):
        return [choice.finish_reason for choice in answer.measured.choices]
    return [answer.finish_reason or ""]


def _asked(operation: str, params: Params | None, *, stream: bool) -> Attributes:
    """What was asked for."""
    about: dict[str, Value] = {semconv.OPERATION: operation}
    if params is not None:
        about |= {semconv.REQUEST_TEMPERATURE: params.temperature, semconv.REQUEST_STREAM: stream}
        about |= {semconv.REQUEST_TOP_P: params.top_p, semconv.REQUEST_CHOICES: params.n}
        if params.max_tokens is not None:
            about[semconv.REQUEST_MAX_TOKENS] = params.max_tokens
    return about
