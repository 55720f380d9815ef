"""What does the log keep of a job that was answered, and what of it counts?"""

import json
import time

from golek_wire.errors import STATUS, InferenceServiceError
from golek_wire.subjects import Kind
from golek_wire.trace import trace_id
from golek_worker.attempt import Attempt, Outcome
from golek_worker.conducting import minutes
from golek_worker.executor import Answer
from golek_worker.store.requests import RequestRow


def row(attempt: Attempt, outcome: Outcome, kind: Kind) -> RequestRow:
    """What the log keeps of an answered job."""
    lease, job, work, first = attempt.lease, attempt.job, attempt.work, attempt.first_text_at
    answer = outcome if isinstance(outcome, Answer) else None
    measured = answer.measured if answer is not None else None
    dur_ms = (attempt.ended_at - lease.leased_at) * 1000
    ttft_ms = answer.ttft_ms(dur_ms) if answer is not None else None
    if answer is not None and answer.first_ms is not None:
        ttft_ms = answer.first_ms
    elif first is not None:
        ttft_ms = (first - lease.leased_at) * 1000
    error = outcome if isinstance(outcome, InferenceServiceError) else None
    return RequestRow(
        ts=time.time(),
        req_id=job.req_id,
        job_id=job.job_id,
        kind=kind,
        principal=job.principal,
        status="ok" if error is None else error.code,
        raw_input=work.raw_input if work is not None else lease.payload.decode(errors="replace"),
        formatted_input=work.prompt if work is not None else None,
        output=answer.text if answer is not None else None,
        tokens_in=attempt.tokens_in,
        tokens_out=attempt.tokens_out,
        finish_reason=answer.finish_reason if answer is not None else None,
        dur_ms=round(dur_ms, 3),
        ttft_ms=None if ttft_ms is None else round(ttft_ms, 3),
        queue_ms=lease.queue_ms,
        attempt=lease.num_delivered,
        stream=job.stream,
        seed=job.seed,
        error=None if error is None else error.message,
        adapter=work.adapter if work is not None else None,
        texts=work.texts if work is not None else None,
        tokens_cached=None if measured is None else measured.tokens_cached,
        waited_ms=None if measured is None else measured.waited_ms,
        prefill_ms=None if measured is None else measured.prefill_ms,
        decode_ms=None if measured is None else measured.decode_ms,
        trace_id=(trace_id(job.trace) or None) if job.trace else None,
        asked=job.asked_model or None,
        target=_target(outcome),
        cost_usd=attempt.cost_usd,
        cache=answer.cache if answer is not None else None,
        parent=job.parent or None,
        costs=_costs(attempt, outcome),
        step=job.step or None,
        orchestration=_orchestration(outcome),
    )


def is_ours(outcome: Outcome) -> bool:
    """Whether it is an error that its caller can do nothing about: of the fleet, or of a provider."""
    if isinstance(outcome, Answer):
        return False
    status = STATUS[outcome.code].nats
    return status >= 500 or (status == 429 and bool(outcome.details.get("provider")))


def computed(attempt: Attempt) -> tuple[int, int]:
    """The tokens that were read and written for it; a part of a list that was kept counts with what is read."""
    if attempt.saved >= attempt.tokens_in + attempt.tokens_out:
        return 0, 0
    return max(0, attempt.tokens_in - attempt.saved), attempt.tokens_out


def _costs(attempt: Attempt, outcome: Outcome) -> str | None:
    """What clouds took, by target, as JSON. Who took over a run from the job that began it has no list of its own."""
    if attempt.cost_usd is None:
        return None
    own = attempt.work.costs if attempt.work is not None else {}
    return json.dumps(dict(own) or {_target(outcome) or "": attempt.cost_usd})


def _orchestration(outcome: Outcome) -> str | None:
    """How several models answered, or came to no answer."""
    said = outcome.orchestration if isinstance(outcome, Answer) else outcome.details.get("orchestration")
    return minutes.without_texts(said) if said else None


def _target(outcome: Outcome) -> str | None:
    """Who answered, or was asked last, where a router chose."""
    if isinstance(outcome, Answer):
        return outcome.target
    route = outcome.details.get("route")
    return str(route["target"]) if isinstance(route, dict) and route.get("target") else None
