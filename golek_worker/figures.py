"""How fast is this replica's engine at the moment?

What the engine measures of itself comes about once a second as counters; what it measures of each text comes with the
text's end. Kept is the last minute of both; figures are made of them when somebody asks.
"""

import time
from collections import deque

import msgspec

from golek_wire.signals import EngineStats
from golek_worker.engine.base import Gauges
from golek_worker.engine.host import EngineHost

WINDOW_S = 60.0
ENDS_KEPT = 1000
"""A sorted thousand costs a report 0.2 ms."""


class Figures:
    """The last ends of texts, and what is told of them together with the engine's own gauges."""

    def __init__(self) -> None:
        self._ends: deque[tuple[float, float, float | None]] = deque(maxlen=ENDS_KEPT)
        """When, time to first token and time between tokens in ms."""

    def keep(self, ended_at: float, ttft_ms: float, itl_ms: float | None) -> None:
        """A text has ended at this monotonic time."""
        self._ends.append((ended_at, ttft_ms, itl_ms))

    def of(self, host: EngineHost, slots: int) -> EngineStats | None:
        """What is known of the engine in `host`; None without one, and when nothing is."""
        now = time.monotonic()
        recent = [end for end in self._ends if now - end[0] <= WINDOW_S]
        if host.ready is None or host.unloaded or not (recent or host.gauges):
            return None
        ttfts = sorted(ttft for _, ttft, _ in recent)
        itls = sorted(itl for _, _, itl in recent if itl is not None)
        return msgspec.structs.replace(
            _measured(list(host.gauges), slots),
            requests=len(recent) or None,
            ttft_ms_p50=percentile(ttfts, 0.5),
            ttft_ms_p95=percentile(ttfts, 0.95),
            itl_ms_p50=percentile(itls, 0.5),
            itl_ms_p95=percentile(itls, 0.95),
        )


def percentile(ordered: list[float], share: float) -> float | None:
    """The smallest of `ordered` that `share` of them do not exceed (nearest rank); None of none."""
    if not ordered:
        return None
    rank = max(0, -(-len(ordered) * round(share * 100) // 100) - 1)
    return round(ordered[rank], 2)


def _measured(gauges: list[tuple[float, Gauges]], slots: int) -> EngineStats:
    """What the engine's own gauges, oldest first, say."""
    if not gauges:
        return EngineStats()
    (began, first), (ended, last) = gauges[0], gauges[-1]
    seconds = ended - began
    read = last.prompt_tokens - first.prompt_tokens
    steps = last.decode_steps - first.decode_steps
    return EngineStats(
        window_s=round(seconds, 1) if seconds else None,
        running=last.running,
        waiting=last.waiting,
        tokens_per_s=ratio(last.tokens_out - first.tokens_out, seconds) if last.decode_steps else None,
        prompt_tokens_per_s=ratio(read, seconds),
        batch_occupancy=ratio(last.batch_rows - first.batch_rows, steps * slots),
        decode_share=ratio(last.decode_s - first.decode_s, last.busy_s - first.busy_s),
        prefix_hit_rate=ratio(last.prefix_tokens - first.prefix_tokens, read) if last.kv_capacity else None,
        kv_cells=last.kv_cells if last.kv_capacity else None,
        kv_kept=last.kv_kept if last.kv_capacity else None,
        kv_capacity=last.kv_capacity or None,
        kv_use=ratio(last.kv_cells, last.kv_capacity),
    )


def ratio(part: float, whole: float) -> float | None:
    """`part` ÷ `whole`; None of nothing."""
    return round(part / whole, 4) if whole else None
