"""What changed since somebody last looked?

Tables of records that remember with which version each of them changed as people see it, and which are gone. A version
is a tick of the picture.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from msgspec.structs import replace

from golek_monitor.events import EventLog
from golek_monitor.records import FleetChanges, GatewayRow, ReplicaRow, Service
from golek_wire.signals import Aggregate, Alert

Row = TypeVar("Row")

REMEMBERED: Final = 600
"""For so many versions, eight minutes, it is known what is gone."""


class Table(Generic[Row]):
    """Rows by key, as of the last `update`."""

    def __init__(self, aged: Callable[[Row, Row], Row]) -> None:
        """`aged`: the second row with the ages of the first, which count for nothing."""
        self._aged = aged
        self.rows: dict[str, Row] = {}
        self._changed: dict[str, int] = {}
        self._gone: dict[str, int] = {}

    def update(self, rows: Mapping[str, Row], version: int) -> None:
        """These are all rows, of this version."""
        before = self.rows
        for key, row in rows.items():
            old = before.get(key)
            if old is None or self._aged(old, row) != old:
                self._changed[key] = version
        for key in before.keys() - rows.keys():
            self._changed.pop(key, None)
            self._gone[key] = version
        if self._gone:
            self._gone = {key: at for key, at in self._gone.items() if key not in rows and at > version - REMEMBERED}
        self.rows = dict(rows)

    def since(self, version: int) -> list[Row]:
        """Those that changed after this version, in their order."""
        return [row for key, row in self.rows.items() if self._changed[key] > version]

    def gone_since(self, version: int) -> list[str]:
        """The keys of those that went after it."""
        return [key for key, at in self._gone.items() if at > version]


class Tables:
    """All that is told in rows. Ages that grow are no change."""

    def __init__(self) -> None:
        self.replicas: Table[ReplicaRow] = Table(lambda old, new: replace(new, last_seen_s=old.last_seen_s))
        self.services: Table[Service] = Table(
            lambda old, new: replace(new, uptime=old.uptime, uptime_seconds=old.uptime_seconds)
        )
        self.gateways: Table[GatewayRow] = Table(lambda old, new: replace(new, last_seen_s=old.last_seen_s))
        self.alerts: Table[Alert] = Table(lambda _, new: new)
        self._events_at: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)

    def settled(self, version: int, last_event: int) -> None:
        """With this version the event log came to this number."""
        self._events_at.append((version, last_event))

    def since(self, version: int, overview: Aggregate, log: EventLog, *, unheard_since: str) -> FleetChanges:
        """What changed after this version; the rest is as it is. `unheard_since` is empty while the bus is heard."""
        return FleetChanges(
            overview=overview,
            connected=not unheard_since,
            unheard_since=unheard_since,
            services=self.services.since(version),
            replicas=self.replicas.since(version),
            gateways=self.gateways.since(version),
            alerts=self.alerts.since(version),
            events=log.read(next((seq for at, seq in reversed(self._events_at) if at <= version), 0)),
            gone_services=self.services.gone_since(version),
            gone_replicas=self.replicas.gone_since(version),
            gone_gateways=self.gateways.gone_since(version),
        )
