"""Which troubles need somebody's attention, and since when?

Rules say each second what is wrong; here it becomes alerts: one per cause, told once when it counts and once when it
does no longer. A limit to begin at and a lower one to end at, and times that either must hold, keep it from flapping.
Pure: the time comes in with the troubles.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Struct

from golek_monitor.events import EventLevel, Happening
from golek_wire.signals import Alert, AlertKind, Severity

RESOLVED_KEPT: Final = 100
RESOLVED_S: Final = 900.0
"""So long an alert that was resolved is still shown."""
REFRESH_S: Final = 5.0
"""So often what is said of an alert that goes on is said anew: in the picture, not on the bus."""
CAUSES_KEPT: Final = 5000
"""More are not told apart: names come from the bus."""


class Trouble(Struct, frozen=True):
    """What is wrong now, by one rule. One that is not named any more is over."""

    id: str
    """The cause."""
    kind: AlertKind
    severity: Severity
    message: str
    over: bool = True
    """Whether it is past the limit from which on it counts; else only past the one below which it ends."""
    hold_s: float = 0.0
    """It counts once it was past its limit for so long."""
    clear_s: float = 0.0
    """It ends once it was not named for so long."""
    value: float | None = None
    limit: float | None = None
    model: str = ""
    worker_id: str = ""
    principal: str = ""


class _Cause:
    """A trouble over time."""

    __slots__ = ("alert", "gone_since", "held_until", "over_since", "refreshed_at", "since", "trouble")

    def __init__(self, trouble: Trouble, now: float, since: str) -> None:
        self.trouble = trouble
        self.over_since = now
        self.since = since
        self.alert: Alert | None = None
        self.gone_since: float | None = None
        self.refreshed_at = now
        self.held_until = 0.0
        """Before this it does not end, unless it is let go: it is not known yet whether it still holds."""


class Alerts:
    """The alerts of one monitor. `stamp` is the time of day as RFC 3339."""

    def __init__(self, monitor_id: str, stamp: Callable[[], str]) -> None:
        self._monitor_id = monitor_id
        self._stamp = stamp
        self._causes: dict[str, _Cause] = {}
        self._resolved: deque[tuple[float, Alert]] = deque(maxlen=RESOLVED_KEPT)

    def judge(self, troubles: Iterable[Trouble], now: float, ended: Callable[[Alert], str]) -> list[Alert]:
        """These are all troubles of the moment. The messages to send: what fires from now on, and what is resolved.

        `ended` is the sentence for a cause that is over.
        """
        named = {trouble.id: trouble for trouble in troubles}
        changed = [alert for trouble in named.values() if (alert := self._go_on(trouble, now)) is not None]
        faded = [self._fade(cause_id, now, ended) for cause_id in list(self._causes) if cause_id not in named]
        changed += [alert for alert in faded if alert is not None]
        while self._resolved and now - self._resolved[0][0] > RESOLVED_S:
            self._resolved.popleft()
        return changed

    def adopt(self, kept: Iterable[Alert], now: float, hold_s: Callable[[Alert], float]) -> None:
        """These fired when a monitor spoke last. They go on until no rule names them and `hold_s` passed."""
        for alert in kept:
            if len(self._causes) >= CAUSES_KEPT:
                return
            cause = self._causes.get(alert.id)
            if cause is None:
                trouble = Trouble(
                    alert.id, alert.kind, alert.severity, alert.message, value=alert.value, limit=alert.limit,
                    model=alert.model, worker_id=alert.worker_id, principal=alert.principal,
                )  # fmt: skip
                cause = self._causes[alert.id] = _Cause(trouble, now, alert.since)
                cause.held_until = now + hold_s(alert)
            own = cause.alert or alert
            cause.alert = msgspec.structs.replace(own, since=alert.since, monitor_id=self._monitor_id)

    def let_go(self, of: Callable[[Trouble], bool]) -> None:
        """Of these causes it is known by now how they are."""
        for cause in self._causes.values():
            if cause.held_until and of(cause.trouble):
                cause.held_until = 0.0

    def troubles(self) -> list[Trouble]:
        """Those that fire, as they were named last."""
        return [cause.trouble for cause in self._causes.values() if cause.alert is not None]

    def firing(self) -> list[Alert]:
        """Those that count, the newest first."""
        found = [cause.alert for cause in self._causes.values() if cause.alert is not None]
        return sorted(found, key=lambda alert: alert.since, reverse=True)

    def resolved(self) -> list[Alert]:
        """Those that were resolved lately, the newest first."""
        return [alert for _, alert in reversed(self._resolved)]

    def _go_on(self, trouble: Trouble, now: float) -> Alert | None:
        """The message to send, if any.

        1. new 2. fires already 3. between its limits 4. waits 5. fires from now on
        """
        cause = self._causes.get(trouble.id)
        if cause is None:  # 1
            if not trouble.over or len(self._causes) >= CAUSES_KEPT:
                return None
            cause = self._causes[trouble.id] = _Cause(trouble, now, self._stamp())
        cause.trouble, cause.gone_since = trouble, None
        if cause.alert is not None:  # 2
            self._refresh(cause, now)
            return None
        if not trouble.over:  # 3
            del self._causes[trouble.id]
            return None
        if now - cause.over_since < trouble.hold_s:  # 4
            return None
        cause.alert = Alert(  # 5
            id=trouble.id, kind=trouble.kind, severity=trouble.severity, state="firing", message=trouble.message,
            since=cause.since, timestamp=self._stamp(), model=trouble.model, worker_id=trouble.worker_id,
            principal=trouble.principal, value=trouble.value, limit=trouble.limit, monitor_id=self._monitor_id,
        )  # fmt: skip
        cause.refreshed_at = now
        return cause.alert

    def _refresh(self, cause: _Cause, now: float) -> None:
        """It is said as it is now: at once where it became worse or better, else now and then."""
        alert, trouble = cause.alert, cause.trouble
        if alert is None or (trouble.message, trouble.value) == (alert.message, alert.value):
            return
        if trouble.severity == alert.severity and now - cause.refreshed_at < REFRESH_S:
            return
        cause.refreshed_at = now
        cause.alert = msgspec.structs.replace(
            alert, severity=trouble.severity, message=trouble.message, value=trouble.value, limit=trouble.limit,
            timestamp=self._stamp(),
        )  # fmt: skip

    def _fade(self, cause_id: str, now: float, ended: Callable[[Alert], str]) -> Alert | None:
        cause = self._causes[cause_id]
        if cause.gone_since is None:
            cause.gone_since = now
        if cause.alert is not None and (now - cause.gone_since < cause.trouble.clear_s or now < cause.held_until):
            return None
        del self._causes[cause_id]
        if cause.alert is None:
            return None
        stamp = self._stamp()
        over = msgspec.structs.replace(
            cause.alert, state="resolved", message=ended(cause.alert), timestamp=stamp, resolved_at=stamp
        )
        self._resolved.append((now, over))
        return over


def told_of(firing: Iterable[Alert], resolved: Iterable[Alert]) -> list[Alert]:
    """Those that fire, then those that were resolved and do not fire again, each id once; the newest first."""
    found = {alert.id: alert for alert in sorted(firing, key=lambda alert: alert.since, reverse=True)}
    for alert in sorted(resolved, key=lambda alert: alert.timestamp, reverse=True):
        found.setdefault(alert.id, alert)
    return list(found.values())


def told(alert: Alert) -> Happening:
    """An alert that fires or is resolved, for the event log."""
    several = "alerts fire" if alert.state == "firing" else "alerts are resolved"
    level: EventLevel = "error" if alert.severity == "critical" else "warning"
    return Happening(
        f"alert.{alert.state}", level if alert.state == "firing" else "info", alert.message, several, alert.model,
        alert.worker_id,
    )  # fmt: skip
