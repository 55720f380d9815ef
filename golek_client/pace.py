"""How does one line tell what an engine does and how fast it is?

Only what is known is told: an engine that does not measure itself has no line.
"""

from golek_wire.signals import EngineStats


def line(stats: EngineStats | None) -> str:
    """For people; empty when nothing is known."""
    if stats is None:
        return ""
    parts = [
        _part(stats.tokens_per_s, "{:.0f} tokens/s"),
        _part(stats.ttft_ms_p50, "first token after {:.0f} ms") + _part(stats.ttft_ms_p95, " (95 %: {:.0f} ms)"),
        _part(stats.itl_ms_p50, "{:.1f} ms between tokens"),
        _part(stats.running, "{} running") + _part(stats.waiting, " and {} waiting"),
        _part(stats.batch_occupancy, "{:.0%} of the slots in a step"),
        _part(stats.prefix_hit_rate, "{:.0%} of prompts from the cache"),
        _part(stats.kv_use, "{:.0%} of the cache in use"),
    ]
    told = ", ".join(part for part in parts if part)
    return f"in the last minute: {told}" if told else ""


def _part(value: float | None, text: str) -> str:
    return "" if value is None else text.format(value)
