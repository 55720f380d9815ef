"""How did a request's time pass?

Arithmetic on what its log says: which phases there were, one after the other, and when it was accepted.
"""

from typing import Literal

from golek_monitor.logs.records import Attempt, Phase, Texts
from golek_program.logs.rows import Row, stamp
from golek_wire.logs import LoggedRequest

PhaseName = Literal["queue", "prepare", "slot", "prefill", "steps", "decode", "run", "finish"]
LEAST_MS = 0.05
"""A rest that is shorter is rounding."""


def attempt(row: Row, texts: Texts | None = None) -> Attempt:
    """A request with its phases."""
    request = row.request
    return Attempt(
        request=request,
        phases=phases(request),
        accepted=stamp(row.accepted_at),
        total_ms=round((request.queue_ms or 0.0) + request.dur_ms, 3),
        texts=texts,
    )


def phases(request: LoggedRequest) -> list[Phase]:
    """The parts of a request's time in their order; together they are its `queue_ms` and `dur_ms`.

    1. the wait in the queue, with earlier attempts in it where there were some
    2. the engine measured it: what lies before and behind its times is the worker's
    3. only the first token's time is known; of several models' answer it passed with the steps before
    4. nothing is
    """
    parts: list[tuple[PhaseName, float]] = [("queue", request.queue_ms or 0.0)]  # 1
    waited, prefill, decode = request.waited_ms, request.prefill_ms, request.decode_ms
    if prefill is not None or decode is not None:  # 2
        inside = [max(0.0, part or 0.0) for part in (waited, prefill, decode)]
        known = request.ttft_ms if request.ttft_ms is not None else inside[0] + inside[1]
        before = max(0.0, min(known, request.dur_ms) - inside[0] - inside[1])
        after = max(0.0, request.dur_ms - before - sum(inside))
        parts += [("prepare", before), ("slot", inside[0]), ("prefill", inside[1]), ("decode", inside[2])]
        parts.append(("finish", after))
    elif request.ttft_ms is not None:  # 3
        before_text: PhaseName = "prefill" if request.mode is None else "steps"
        parts += [(before_text, request.ttft_ms), ("decode", max(0.0, request.dur_ms - request.ttft_ms))]
    else:  # 4
        parts.append(("run", request.dur_ms))
    return _in_order(parts)


def _in_order(parts: list[tuple[PhaseName, float]]) -> list[Phase]:
    placed, at = [], 0.0
    for name, ms in parts:
        if ms >= LEAST_MS:
            placed.append(Phase(name, round(at, 3), round(ms, 3)))
            at += ms
    return placed
