"""What do other monitors say needs attention?

Of several monitors one speaks. What it says fires is shown by those that listen, and by who looks for a moment only, as
far as they do not see it themselves. It counts until it is resolved, or until no monitor was heard for a while. Pure.
"""

from collections import deque
from typing import Final

from msgspec.structs import replace

from golek_monitor.alerts import CAUSES_KEPT, RESOLVED_KEPT, RESOLVED_S
from golek_wire.signals import Aggregate, Alert

SILENT_S: Final = 30.0
"""When no monitor was heard for so long, what the last one said counts for nothing."""


class Hearsay:
    """The alerts of others, as the monitor of this id hears them."""

    def __init__(self, monitor_id: str) -> None:
        self._own = monitor_id
        self._firing: dict[str, Alert] = {}
        self._resolved: deque[tuple[float, Alert]] = deque(maxlen=RESOLVED_KEPT)
        self._heard_at = 0.0
        """When another monitor spoke last."""

    def alert(self, said: Alert, now: float) -> None:
        """A monitor said this, now."""
        if said.monitor_id == self._own:
            return
        self._heard_at = now
        if said.state == "resolved":
            if self._firing.pop(said.id, None) is not None:
                self._resolved.append((now, said))
        elif said.id in self._firing or len(self._firing) < CAUSES_KEPT:
            self._firing[said.id] = said

    def aggregate(self, said: Aggregate, now: float) -> None:
        """A monitor told how the fleet is: it is there. One of which nothing fires takes back what others said."""
        if said.monitor_id == self._own:
            return
        self._heard_at = now
        if not said.alerts:
            self._end(said.timestamp, now, "the monitor that speaks does not say so any more")

    def pass_by(self, now: float, stamp: str) -> None:
        """Time goes by; `stamp` is the time of day."""
        if now - self._heard_at > SILENT_S:
            self._end(stamp, now, f"no monitor said so for {SILENT_S:.0f} s")
        while self._resolved and now - self._resolved[0][0] > RESOLVED_S:
            self._resolved.popleft()

    def firing(self) -> list[Alert]:
        """Those that count."""
        return list(self._firing.values())

    def resolved(self) -> list[Alert]:
        """Those that counted lately, the newest first."""
        return [alert for _, alert in reversed(self._resolved)]

    def _end(self, stamp: str, now: float, why: str) -> None:
        for alert in self._firing.values():
            over = replace(alert, state="resolved", message=why, timestamp=stamp, resolved_at=stamp)
            self._resolved.append((now, over))
        self._firing.clear()
