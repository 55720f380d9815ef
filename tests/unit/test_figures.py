"""What is told of an engine's speed: only what is known, over the last minute."""

import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from golek_client import pace
from golek_wire.signals import EngineStats
from golek_worker.engine.base import Gauges
from golek_worker.executor import Answer
from golek_worker.figures import ENDS_KEPT, Figures, percentile


def host(*gauges: tuple[float, Gauges], ready: object = "yes", unloaded: bool = False) -> Any:
    """What `Figures` looks at of a host."""
    return SimpleNamespace(gauges=deque(gauges), ready=ready, unloaded=unloaded)


FIRST = Gauges(0, 0, 0, 100, 0, 50, 10, 1, 200, 10, 40, 1.0, 0.5)
LAST = Gauges(2, 1, 30, 100, 20, 150, 60, 3, 500, 20, 70, 3.0, 2.4)


def test_rates_are_of_what_was_counted_meanwhile() -> None:
    """Counts of a load that is over do not weigh: only differences over the window are told."""
    stats = Figures().of(host((100.0, FIRST), (110.0, LAST)), 4)
    assert stats == EngineStats(
        window_s=10.0, running=2, waiting=1, tokens_per_s=30.0, prompt_tokens_per_s=10.0, batch_occupancy=0.75,
        decode_share=0.95, prefix_hit_rate=0.5, kv_cells=30, kv_kept=20, kv_capacity=100, kv_use=0.3,
    )  # fmt: skip


def test_what_is_not_known_is_absent() -> None:
    """One measurement gives no rate, an idle minute no share; never a nought that nobody measured."""
    stats = Figures().of(host((100.0, LAST)), 4)
    assert stats is not None
    assert (stats.tokens_per_s, stats.decode_share, stats.ttft_ms_p50, stats.window_s) == (None, None, None, None)
    idle = Figures().of(host((100.0, LAST), (101.0, LAST)), 4)
    assert idle is not None
    assert (idle.tokens_per_s, idle.batch_occupancy, idle.prefix_hit_rate) == (0.0, None, None)


def test_an_engine_that_writes_nothing_has_no_speed_of_writing() -> None:
    """One that makes vectors tells how much it reads, and nothing of tokens written, slots and cache."""
    stats = Figures().of(host((100.0, Gauges(1, prompt_tokens=40)), (102.0, Gauges(1, prompt_tokens=100))), 4)
    assert stats == EngineStats(window_s=2.0, running=1, waiting=0, prompt_tokens_per_s=30.0)


def test_without_an_engine_nothing_is_told() -> None:
    """A worker that has not loaded its model or has unloaded it, and an engine that measures nothing."""
    figures = Figures()
    assert figures.of(host(), 4) is None
    figures.keep(time.monotonic(), 5.0, 1.0)
    assert figures.of(host(unloaded=True), 4) is None
    assert figures.of(host(ready=None), 4) is None


def test_percentiles_are_of_the_last_minute() -> None:
    """A text that ended before is not counted, nor its time between tokens where it has none."""
    figures = Figures()
    now = time.monotonic()
    figures.keep(now - 61, 9999.0, 9999.0)
    for i in range(1, 101):
        figures.keep(now, float(i), i / 10 if i % 2 else None)
    stats = figures.of(host(), 4)
    assert stats is not None
    assert (stats.requests, stats.ttft_ms_p50, stats.ttft_ms_p95) == (100, 50.0, 95.0)
    assert (stats.itl_ms_p50, stats.itl_ms_p95) == (4.9, 9.5)


def test_a_report_stays_cheap() -> None:
    """However many texts end, only so many are kept."""
    figures = Figures()
    for i in range(ENDS_KEPT + 50):
        figures.keep(time.monotonic(), float(i), None)
    stats = figures.of(host(), 4)
    assert stats is not None
    assert stats.requests == ENDS_KEPT


@pytest.mark.parametrize(("share", "rank"), [(0.5, 2.0), (0.95, 4.0), (0.25, 1.0)])
def test_percentile_is_one_of_the_numbers(share: float, rank: float) -> None:
    """Nearest rank: nothing is made up between two of them."""
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == rank


def test_an_engine_without_times_has_no_first_token() -> None:
    """Then the time to it is not known, whatever the answer took."""
    assert Answer(b"", 1).ttft_ms(100.0) is None


def test_one_line_for_people() -> None:
    """Only what is known stands in it."""
    assert pace.line(None) == ""
    assert pace.line(EngineStats()) == ""
    told = pace.line(EngineStats(tokens_per_s=811.6, ttft_ms_p50=34.2, ttft_ms_p95=80.0, kv_use=0.12))
    assert told == (
        "in the last minute: 812 tokens/s, first token after 34 ms (95 %: 80 ms), 12 % of the cache in use"
    ).replace("12 %", "12%")
