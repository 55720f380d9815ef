"""How many requests were there, and how long did they take? Arithmetic on rows."""

from collections import Counter
from collections.abc import Sequence
from sqlite3 import Row

from golek_monitor.logs.records import ModelSummary


def of(model: str, rows: Sequence[Row]) -> ModelSummary:
    """Counts and times of some requests, each a row of `figures`."""
    statuses = Counter(str(row["status"]) for row in rows)
    well = statuses.pop("ok", 0)
    durations = sorted(row["dur_ms"] for row in rows if row["status"] == "ok")
    firsts = sorted(row["ttft_ms"] for row in rows if row["status"] == "ok" and row["ttft_ms"] is not None)
    return ModelSummary(
        model_name=model,
        requests=len(rows),
        errors=len(rows) - well,
        error_share=round((len(rows) - well) / len(rows), 4) if rows else 0.0,
        dur_ms_p50=percentile(durations, 0.5),
        dur_ms_p95=percentile(durations, 0.95),
        ttft_ms_p50=percentile(firsts, 0.5),
        ttft_ms_p95=percentile(firsts, 0.95),
        tokens_in=sum(row["tokens_in"] for row in rows),
        tokens_out=sum(row["tokens_out"] for row in rows),
        statuses=dict(statuses.most_common()),
    )


def none(model: str, problem: str) -> ModelSummary:
    """Of a log that could not be read."""
    return ModelSummary(model_name=model, requests=0, errors=0, error_share=0.0, problem=problem)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest rank; None of nothing."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)
