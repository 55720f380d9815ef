"""How is the fleet at one moment, written for who asks over HTTP?

A frame is made once for all who ask within a moment, and each row of it is encoded once: for lists, for one row alone,
and for what changed since the frame before.
"""

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from golek_monitor.picture import Picture
from golek_monitor.records import FleetChanges, FleetNow, GatewayRow, ReplicaRow, Service
from golek_wire import codec
from golek_wire.signals import Alert

FRESH_S: Final = 1.0
"""A frame is told again for so long."""

Row = TypeVar("Row", Service, ReplicaRow, GatewayRow)


class Frame:
    """The fleet as it was when this was made."""

    def __init__(self, now: FleetNow, number: int = 0) -> None:
        self.now = now
        self.number = number
        """Of the frames that were made."""
        self.services_by_name = {one.model_name: one for one in now.services}
        self.replicas_by_id = {one.worker_id: one for one in now.replicas}
        self.gateways_by_id = {one.gateway_id: one for one in now.gateways}

    @functools.cached_property
    def services(self) -> bytes:
        """All services."""
        return codec.encode(self.now.services)

    @functools.cached_property
    def replicas(self) -> bytes:
        """All replicas."""
        return codec.encode(self.now.replicas)

    @functools.cached_property
    def gateways(self) -> bytes:
        """All gateways."""
        return codec.encode(self.now.gateways)

    @functools.cached_property
    def whole(self) -> bytes:
        """The `FleetNow`."""
        rows = {"services": self.services, "replicas": self.replicas, "gateways": self.gateways}
        fields = {name: getattr(self.now, name) for name in FleetNow.__struct_fields__}
        return codec.encode(fields | {name: Raw(written) for name, written in rows.items()})

    def since(self, before: "Frame") -> FleetChanges:
        """What changed since the frame `before`; a row whose age alone went on is not told again."""
        known = max((event.seq for event in before.now.events), default=0)
        return FleetChanges(
            self.now.overview,
            self.now.connected,
            _changed(self._still_services, before._still_services, self.services_by_name),
            _changed(self._still_replicas, before._still_replicas, self.replicas_by_id),
            _changed(self._still_gateways, before._still_gateways, self.gateways_by_id),
            self._new_alerts(before),
            [one for one in self.now.events if one.seq > known],
            _gone(before.services_by_name, self.services_by_name),
            _gone(before.replicas_by_id, self.replicas_by_id),
            _gone(before.gateways_by_id, self.gateways_by_id),
        )

    def _new_alerts(self, before: "Frame") -> list[Alert]:
        known = {(one.id, one.since): one for one in before.now.alerts}
        return [one for one in self.now.alerts if known.get((one.id, one.since)) != one]

    @functools.cached_property
    def _still_services(self) -> dict[str, Service]:
        return _still(self.services_by_name, uptime=0, uptime_seconds=0.0)

    @functools.cached_property
    def _still_replicas(self) -> dict[str, ReplicaRow]:
        return _still(self.replicas_by_id, last_seen_s=0.0)

    @functools.cached_property
    def _still_gateways(self) -> dict[str, GatewayRow]:
        return _still(self.gateways_by_id, last_seen_s=0.0)


class Frames:
    """The newest frame of a picture, made anew when it is too old."""

    def __init__(self, picture: Picture, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._picture = picture
        self._clock = clock
        self._newest: Frame | None = None
        self._made_at = 0.0

    def newest(self) -> Frame:
        """One that is not older than FRESH_S."""
        if self._newest is None or self._clock() - self._made_at > FRESH_S:
            return self.step()
        return self._newest

    def step(self) -> Frame:
        """A new one."""
        number = self._newest.number + 1 if self._newest is not None else 0
        self._newest, self._made_at = Frame(self._picture.now(), number), self._clock()
        return self._newest


def is_empty(changes: FleetChanges) -> bool:
    """Whether nothing changed but the moment."""
    return not any(
        getattr(changes, name) for name in FleetChanges.__struct_fields__ if name not in ("overview", "connected")
    )


def _still(rows: Mapping[str, Row], **ages: Any) -> dict[str, Row]:
    """`rows` without what goes on by itself."""
    return {name: msgspec.structs.replace(row, **ages) for name, row in rows.items()}


def _changed(still: Mapping[str, Row], before: Mapping[str, Row], rows: Mapping[str, Row]) -> list[Row]:
    return [rows[name] for name, row in still.items() if before.get(name) != row]


def _gone(before: Iterable[str], now: Mapping[str, object]) -> list[str]:
    return [name for name in before if name not in now]
