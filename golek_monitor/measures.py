"""What do the counters and clocks of processes say?

What load reports bring beside the state of a worker: traffic, how far its request log is behind, what its clock shows;
and what was measured of it, the time of a ping. Pure: times come in with the reports.
"""

from collections import deque
from datetime import datetime
from typing import Final

from golek_client.fleet import Replica
from golek_monitor import rates
from golek_monitor.rates import Rate, Rates, Recently
from golek_monitor.rows import Beside
from golek_wire.signals import GatewayReport, LoadReport, Traffic

SKEWS: Final = 6
"""Of so many reports the least difference counts: late ones differ more."""


class Measures:
    """Of all workers and gateways, by id."""

    def __init__(self) -> None:
        self._workers = Rates()
        self._gateways = Rates()
        self._ended: Recently[str] = Recently()
        self._failed: Recently[str] = Recently()
        self._refused: Recently[tuple[str, int]] = Recently()
        """By principal and status."""
        self._log_lags: dict[str, float] = {}
        self._skews: dict[str, deque[float]] = {}
        self._pings: dict[str, float] = {}

    def report(self, report: LoadReport, now: float, wall: float) -> None:
        """A worker reported, now; at this time of day by our clock, in seconds since 1970."""
        worker_id = report.worker_id
        self._clocked(worker_id, report.timestamp, wall)
        if report.log_lag_s is not None:
            self._log_lags[worker_id] = report.log_lag_s
        else:
            self._log_lags.pop(worker_id, None)
        if (counted := report.traffic) is None:
            return
        before = self._workers.counted(worker_id, report.incarnation, counted, now)
        if before is not None and counted.requests != before.requests:
            ended = counted.requests - before.requests - (counted.refused - before.refused)
            self._ended.add(report.model_name, ended, now)
            self._failed.add(report.model_name, counted.errors - before.errors, now)
        self._refusals(before, counted, now)

    def gateway(self, report: GatewayReport, now: float) -> None:
        """A gateway reported, now."""
        before = self._gateways.counted(report.gateway_id, report.incarnation, report.traffic, now)
        self._refusals(before, report.traffic, now)

    def deaf(self) -> None:
        """Nothing could be heard for a while: what was counted meanwhile is no rate, nor somebody's spike."""
        self._workers.deaf()
        self._gateways.deaf()

    def pinged(self, worker_id: str, ms: float) -> None:
        """It answered within so many milliseconds."""
        self._pings[worker_id] = round(ms, 1)

    def of_gateway(self, gateway_id: str, now: float) -> Rate | None:
        """Its rates, as far as they are known."""
        return self._gateways.of(gateway_id, now)

    def beside(self, one: Replica, is_silent: bool, pending: int, now: float) -> Beside:
        """What is known of a worker beside its state. `is_silent`: it is overdue, and nobody asked after it."""
        return Beside(
            "silent" if is_silent and one.presence == "here" else one.presence,
            pending,
            self._workers.of(one.worker_id, now),
            self._pings.get(one.worker_id),
            self._log_lags.get(one.worker_id),
            _skew(self._skews.get(one.worker_id)),
            self._workers.cost_usd(one.worker_id),
        )

    def ended(self, now: float) -> dict[str, tuple[int, int]]:
        """By model, how many requests ended in the last minute, and how many of them failed; refused ones left out."""
        failed = self._failed.totals(now)
        return {model: (count, failed.get(model, 0)) for model, count in self._ended.totals(now).items()}

    def refusals(self, now: float) -> dict[tuple[str, int], int]:
        """By principal and status, how often in the last minute.

        A gateway counts those that it made before a model was asked, a worker its own: none is counted twice.
        """
        return self._refused.totals(now)

    def forget(self, known: set[str], now: float) -> None:
        """Let go of workers that are not `known`, and of what is long ago."""
        for about in (self._log_lags, self._skews, self._pings):
            for worker_id in [worker_id for worker_id in about if worker_id not in known]:
                about.pop(worker_id)
        self._workers.forget(now)
        self._gateways.forget(now)

    def _clocked(self, worker_id: str, said: str, wall: float) -> None:
        try:
            skew = datetime.fromisoformat(said).timestamp() - wall
        except (ValueError, OverflowError):  # no moment, or one outside of time
            return
        self._skews.setdefault(worker_id, deque(maxlen=SKEWS)).append(skew)

    def _refusals(self, before: Traffic | None, counted: Traffic, now: float) -> None:
        for key, count in rates.refused_since(before, counted).items():
            self._refused.add(key, count, now)


def _skew(seen: deque[float] | None) -> float | None:
    """The least difference that reports showed; none where they came both early and late."""
    if not seen:
        return None
    lowest, highest = min(seen), max(seen)
    return round(lowest if lowest > 0 else min(highest, 0.0), 2) + 0.0  # a rounded -0.001 would be -0
