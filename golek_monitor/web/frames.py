"""How is the fleet at one moment, written for who asks over HTTP?

A frame is made once for all who ask until the picture ticks, and each list of it is encoded once.
"""

import functools
import time
from collections.abc import Callable
from typing import Final

from msgspec import Raw

from golek_monitor.picture import Picture
from golek_monitor.records import FleetNow
from golek_wire import codec

FRESH_S: Final = 1.0
"""A frame of a picture that does not tick is told again for so long."""


class Frame:
    """The fleet as it was when this was made."""

    def __init__(self, now: FleetNow, version: int = 0) -> None:
        self.now = now
        self.version = version
        """Of the picture."""
        self.services_by_name = {one.model_name: one for one in now.services}
        self.replicas_by_id = {one.worker_id: one for one in now.replicas}

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


class Frames:
    """The newest frame of a picture, made anew when it is too old."""

    def __init__(self, picture: Picture, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._picture = picture
        self._clock = clock
        self._newest: Frame | None = None
        self._made_at = 0.0

    def newest(self) -> Frame:
        """One of this tick that is not older than FRESH_S."""
        newest, version = self._newest, self._picture.version
        if newest is None or newest.version != version or self._clock() - self._made_at > FRESH_S:
            newest = self._newest = Frame(self._picture.now(), version)
            self._made_at = self._clock()
        return newest
