"""What does vLLM measure of itself?

Its interface for this is declared unstable, so it stands here alone.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from golek_worker.engine.base import Gauges


class Meter:
    """The figures of one engine."""

    def __init__(self) -> None:
        self.capacity = 0
        """Tokens that the KV cache holds."""
        self.at = monotonic()
        """When vLLM told of a step last."""
        self._running = self._waiting = 0
        self._usage = 0.0
        self._counts = dict.fromkeys(("prompt_tokens", "prefix_tokens", "prefix_hits", "tokens_out"), 0)
        self._steps = self._rows = 0
        self._busy_s = 0.0

    def logger(self) -> type[StatLoggerBase]:
        """The class that vLLM makes a logger of, for this meter."""
        meter = self

        class Logger(StatLoggerBase):  # type: ignore[misc]  # of a package that is not here when types are checked
            """Tells the meter."""

            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:  # noqa: ARG002 - vLLM's own interface
                cache = vllm_config.cache_config
                meter.capacity = (cache.num_gpu_blocks or 0) * cache.block_size

            def log_engine_initialized(self) -> None:
                """Nothing is written."""

            def record(
                self,
                scheduler_stats: Any = None,
                iteration_stats: Any = None,
                mm_cache_stats: Any = None,  # noqa: ARG002
                engine_idx: int = 0,  # noqa: ARG002
            ) -> None:
                meter.record(scheduler_stats, iteration_stats)

        return Logger

    def record(self, scheduler: Any, iteration: Any) -> None:
        """A step of vLLM's."""
        now = monotonic()
        if self._running:
            self._busy_s += now - self.at
        self.at = now
        if scheduler is not None:
            self._running = scheduler.num_running_reqs
            self._waiting = scheduler.num_waiting_reqs + scheduler.num_skipped_waiting_reqs
            self._usage = scheduler.kv_cache_usage
        if iteration is None:
            return
        rows = iteration.num_generation_tokens
        self._counts["tokens_out"] += rows
        if rows:
            self._steps += 1
            self._rows += rows

    def ended(self, tokens_in: int, cached: int) -> None:
        """A prompt was read to its end, so much of it from the cache."""
        self._counts["prompt_tokens"] += tokens_in
        self._counts["prefix_tokens"] += cached
        self._counts["prefix_hits"] += cached > 0

    def gauges(self) -> Gauges:
        """All of it."""
        return Gauges(
            running=self._running,
            waiting=self._waiting,
            kv_cells=round(self._usage * self.capacity),
            kv_capacity=self.capacity,
            decode_steps=self._steps,
            batch_rows=self._rows,
            busy_s=self._busy_s,
            **self._counts,
        )
