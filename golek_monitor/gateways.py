"""Which gateways are there? By their own reports; times come in with them."""

from collections.abc import Iterator
from typing import Final

from golek_client.fleet import WORKER_ID_LIMIT
from golek_monitor.rows import GATEWAY_SILENT_S
from golek_wire.signals import GatewayReport

KEPT: Final = 1000
"""More are not known: names come from the bus."""


class Gateways:
    """The last report of each, by id."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[GatewayReport, float]] = {}

    def report(self, report: GatewayReport, now: float) -> bool:
        """One reported, now; whether it has a name, and room."""
        if len(report.gateway_id) > WORKER_ID_LIMIT:
            return False
        if report.gateway_id not in self._reports and len(self._reports) >= KEPT:
            return False
        self._reports[report.gateway_id] = (report, now)
        return True

    def known(self, now: float) -> Iterator[tuple[GatewayReport, float]]:
        """Each with when it was heard, by id; those that said that they take no requests only while that is news."""
        for _, (report, heard_at) in sorted(self._reports.items()):
            if report.ready or now - heard_at <= GATEWAY_SILENT_S:
                yield report, heard_at

    def forget(self, now: float, keep_s: float) -> None:
        """Let go of those that were not heard for `keep_s`."""
        self._reports = {key: one for key, one in self._reports.items() if now - one[1] <= keep_s}
