"""What does a gateway say of itself on the bus?"""

import itertools
import socket
import uuid
from importlib.metadata import version

from golek_wire import moments, subjects
from golek_wire.signals import GatewayReport
from golek_worker.gateway.door import Door
from golek_worker.gateway.metrics import Meters
from golek_worker.gateway.readiness import Ready


class Reporter:
    """Makes the reports of one gateway."""

    def __init__(self, door: Door, meters: Meters, endpoint: str, port: int) -> None:
        """`endpoint` is its address as people write it."""
        self._door = door
        self._meters = meters
        self._endpoint = endpoint
        self._version = version("golek")
        self._incarnation = uuid.uuid4().hex[:12]
        self._count = itertools.count(1)
        self._leaving = False
        self.gateway_id = subjects.model_token(f"gateway-{socket.gethostname()}-{port}")

    @property
    def is_busy(self) -> bool:
        """Whether requests are being answered."""
        return self._meters.open_requests > 0

    @property
    def ended(self) -> int:
        """Requests that have ended."""
        return self._meters.tally.requests

    def leave(self) -> None:
        """From now on it says that it takes no requests: whoever reads that lets go of it."""
        self._leaving = True

    def report(self) -> GatewayReport:
        """How it is and how busy."""
        return GatewayReport(
            gateway_id=self.gateway_id,
            endpoint=self._endpoint,
            timestamp=moments.stamp(),
            seq=next(self._count),
            incarnation=self._incarnation,
            version=self._version,
            ready=not self._leaving and isinstance(self._door.ready(), Ready),
            open_requests=self._meters.open_requests,
            open_streams=self._meters.open_streams,
            traffic=self._meters.tally.told(),
        )
