"""What has the engine done since it was loaded?

Counters, read about once a second; counting costs less than a microsecond a step.
"""

from time import monotonic

from golek_worker.engine.base import Gauges


class Meter:
    """Counts of one engine."""

    __slots__ = (
        "_busy_s",
        "_busy_since",
        "batch_rows",
        "decode_s",
        "decode_steps",
        "prefix_hits",
        "prefix_tokens",
        "prompt_tokens",
        "tokens_out",
    )

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.prefix_tokens = 0
        self.prefix_hits = 0
        self.tokens_out = 0
        self.decode_steps = 0
        self.batch_rows = 0
        self.decode_s = 0.0
        self._busy_s = 0.0
        self._busy_since: float | None = None

    @property
    def busy_s(self) -> float:
        """Seconds with at least one running sequence, until now."""
        since = self._busy_since
        return self._busy_s + (0.0 if since is None else monotonic() - since)

    def gauges(self, *, running: int, waiting: int, kv_cells: int, kv_capacity: int, kv_kept: int) -> Gauges:
        """All that it counted, beside what the engine holds now."""
        return Gauges(
            running=running,
            waiting=waiting,
            kv_cells=kv_cells,
            kv_capacity=kv_capacity,
            kv_kept=kv_kept,
            prompt_tokens=self.prompt_tokens,
            prefix_tokens=self.prefix_tokens,
            prefix_hits=self.prefix_hits,
            tokens_out=self.tokens_out,
            decode_steps=self.decode_steps,
            batch_rows=self.batch_rows,
            busy_s=self.busy_s,
            decode_s=self.decode_s,
        )

    def begin(self) -> None:
        """A sequence runs; it may not be the first."""
        if self._busy_since is None:
            self._busy_since = monotonic()

    def pause(self) -> None:
        """None runs any more."""
        self._busy_s = self.busy_s
        self._busy_since = None
