"""What does the monitor know of the fleet?

Messages go in, with the moment they came; records come out. It asks nobody: `observer` hears the bus, feeds it and lets
it tick, and the terminal, the page, REST, figures and alerts read it. Records are as of the last tick; where none was
lately, as of now.
"""

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from golek_client.fleet import LEFT, FleetView, Presence, Replica
from golek_monitor import advisories, alerts, rates, rows, rules, summary
from golek_monitor.alerts import Alerts
from golek_monitor.changes import Tables
from golek_monitor.events import EventLevel, EventLog, Happening
from golek_monitor.gateways import Gateways
from golek_monitor.heard_time import HeardTime
from golek_monitor.hearsay import Hearsay
from golek_monitor.history import Histories
from golek_monitor.letters import Letters
from golek_monitor.measures import Measures
from golek_monitor.models import Models
from golek_monitor.notices import Notices
from golek_monitor.rates import Rate
from golek_monitor.records import Event, FleetChanges, FleetNow, GatewayRow, History, ReplicaRow, Service
from golek_monitor.rows import Beside
from golek_monitor.rules import Limits
from golek_wire.moments import stamp
from golek_wire.signals import Aggregate, Alert, GatewayReport, Health, LoadReport, ModelRecord
from golek_wire.subjects import model_token

KEEP_S: Final = 900.0
"""So long a replica that left or is gone is still shown."""
FRESH_S: Final = 1.5
"""A tick that is so long ago does not count."""
FORGET_S: Final = 10.0


class Picture:
    """The fleet as this monitor sees it. `clock` never goes back, `wall` is the time of day; both in seconds.

    `broker` is the address of the bus as people may see it.
    """

    def __init__(
        self,
        monitor_id: str = "",
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        broker: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._id = monitor_id or f"monitor-{uuid.uuid4().hex[:8]}"
        self._limits = limits
        self._clock = clock
        self._wall = wall
        self.heard_clock = HeardTime(clock)
        """Seconds on a clock that stands while nothing can be heard: moments of `view` are on it."""
        self.view = FleetView()
        self.version = 0
        """Counts ticks; what `changes` is asked with."""
        self.on_alert: Callable[[Alert], None] = lambda _: None
        """Called with each alert that fires or is resolved, while the picture ticks."""
        self.broker = broker
        self.started_at = wall()
        self._lost_at: float | None = None
        self._was_heard = True
        self._ticked_at: float | None = None
        self._tidied_at = clock()
        self._models = Models()
        self._letters = Letters()
        self._log = EventLog(lambda: stamp(wall()))
        self._alerts = Alerts(self._id, lambda: stamp(wall()))
        self._hearsay = Hearsay(self._id)
        self._histories = Histories()
        self._measures = Measures()
        self._gateways = Gateways()
        self._notices = Notices()
        self._tables = Tables()
        self._rate: Rate | None = None
        """Of all workers."""
        self._overview: Aggregate | None = None

    @property
    def monitor_id(self) -> str:
        """Who tells this."""
        return self._id

    # -- what is heard -----------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the bus is heard at the moment."""
        return self._lost_at is None

    @connected.setter
    def connected(self, heard: bool) -> None:
        if heard == self.connected:
            return
        if heard:
            self._lost_at = None
            self.heard_clock.go()
            self._measures.deaf()
            said = "the bus is heard again" if self._was_heard else "the bus is heard"
            self.note("bus.back", "info", said)
        else:
            self._lost_at = self._clock()
            self.heard_clock.stop()
            self._was_heard = self.version > 0  # else it was not lost: it had not been heard yet
            if self._was_heard:
                self.note("bus.lost", "error", "the bus is not heard any more")

    @property
    def unheard_since(self) -> str:
        """Since when the bus is not heard, RFC 3339; empty while it is."""
        return "" if self._lost_at is None else stamp(self._wall() - (self._clock() - self._lost_at))

    def heartbeat(self, health: Health) -> None:
        """A worker said how it is."""
        self.view.heartbeat(health, self.heard_clock())
        if self.view.replica(health.worker_id) is not None:
            self._models.heartbeat(health)

    def report(self, report: LoadReport) -> None:
        """A worker said how busy it is."""
        now = self.heard_clock()
        self.view.report(report, now)
        if self.view.replica(report.worker_id) is not None:
            self._measures.report(report, now, self._wall())

    def gateway(self, report: GatewayReport) -> None:
        """A gateway said how busy it is."""
        now = self.heard_clock()
        if self._gateways.report(report, now):
            self._measures.gateway(report, now)

    def missed(self, worker_id: str, presence: Presence) -> None:
        """A worker that is overdue was asked after."""
        self.view.missed(worker_id, presence)

    def pinged(self, worker_id: str, ms: float) -> None:
        """It answered within so many milliseconds."""
        self._measures.pinged(worker_id, ms)

    def know(self, records: Collection[ModelRecord]) -> None:
        """These are all the records of models."""
        self.view.know(records, self.heard_clock())

    def first_seen(self, seen: Mapping[str, float]) -> None:
        """When models were first seen, as the broker has it: seconds since 1970 by name."""
        self._models.seen(seen)

    def seen_by_us(self) -> dict[str, float]:
        """When models were first seen, as far as this monitor knows."""
        self._refresh()
        return dict(self._models.first_seen)

    def letters(self, by_token: Mapping[str, int]) -> None:
        """So many dead letters are kept, by token of their model."""
        self._letters.kept(by_token, self.heard_clock())

    def letter(self, token: str) -> None:
        """A dead letter of a model came."""
        self._letters.came(token, self.heard_clock())

    def advisory(self, subject: str, data: bytes) -> None:
        """The server said what became of a stream."""
        if (happening := advisories.told(subject, data)) is not None:
            self._log.add(happening)

    def alert_said(self, alert: Alert) -> None:
        """A monitor said that an alert fires, or is resolved."""
        self._hearsay.alert(alert, self.heard_clock())

    def aggregate_said(self, said: Aggregate) -> None:
        """A monitor said how the fleet is."""
        self._hearsay.aggregate(said, self.heard_clock())

    def note(
        self, code: str, level: EventLevel, message: str, model_name: str = "", worker_id: str = "", *,
        alone: bool = False,
    ) -> None:  # fmt: skip
        """Something happened that belongs into the event log; it is there with the next tick, in a line of its own
        where it stands `alone`.
        """
        self._log.add(Happening(code, level, message, model=model_name, worker_id=worker_id, alone=alone))

    # -- each second -------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """A second went by: see what changed, judge it, write it down."""
        self._ticked_at = self._clock()
        self.version += 1
        self._look(self.version)
        tables = self._tables
        gateways = list(tables.gateways.rows.values())
        for happening in self._notices.see(self.view.everyone(), tables.replicas.rows, gateways):
            self._log.add(happening)
        self._judge()
        self._hearsay.pass_by(self.heard_clock(), stamp(self._wall()))
        self._overview = self._sum_up()
        self._remember(self._overview)
        self._log.settle(self._clock())
        tables.alerts.update({alert.id: alert for alert in self.alerts()}, self.version)
        tables.settled(self.version, self._log.last_seq)
        if self._clock() - self._tidied_at >= FORGET_S:
            self._tidy()

    # -- what is told ------------------------------------------------------------------------------------------

    def now(self) -> FleetNow:
        """Everything at once."""
        return FleetNow(
            self.overview(), self.services(), self.replicas(), self.gateways(), self.alerts(), self.events(),
            self.connected, self._id, self.broker, self.unheard_since,
        )  # fmt: skip

    def changes(self, since: int) -> FleetChanges:
        """What changed after the tick that left `version` at `since`; ages that grow are no change.

        Who was away for more than REMEMBERED ticks asks for `now` instead: what went before is forgotten.
        """
        overview = self.overview()
        return self._tables.since(since, overview, self._log, unheard_since=self.unheard_since)

    def services(self) -> list[Service]:
        """Every model that is served or expected, by name."""
        self._refresh()
        return list(self._tables.services.rows.values())

    def service(self, name: str) -> Service | None:
        """One of them."""
        self._refresh()
        return self._tables.services.rows.get(name)

    def replicas(self) -> list[ReplicaRow]:
        """Every worker, by id; those that left or are gone for KEEP_S, too."""
        self._refresh()
        return list(self._tables.replicas.rows.values())

    def gateways(self) -> list[GatewayRow]:
        """Every process that serves HTTP, by id."""
        self._refresh()
        return list(self._tables.gateways.rows.values())

    def alerts(self) -> list[Alert]:
        """Those that fire, the newest first, then those that were resolved lately; with what other monitors say and
        this one does not see itself.
        """
        return alerts.told_of(self._firing(), [*self._alerts.resolved(), *self._hearsay.resolved()])

    def go_on_with(self, kept: Collection[Alert]) -> None:
        """These fired when a monitor spoke last. They do until they are seen to be over, or could not hold any more."""
        known = [alert for alert in kept if alert.kind != "bus_lost" and alert.state == "firing"]
        self._alerts.adopt(known, self._clock(), lambda alert: rules.hold_s(alert, self._wall()))

    def own_alerts(self) -> list[Alert]:
        """Those that fire by what this monitor sees itself."""
        return self._alerts.firing()

    def events(self, after: int = 0, limit: int = 200) -> list[Event]:
        """What happened, the newest first; `after` is the `seq` of the last one that is known."""
        return self._log.read(after, limit)

    def history(self, model: str = "", seconds: float = 300.0) -> History:
        """The figures of the last `seconds`, of one model or of the fleet."""
        return self._histories.read(model, seconds)

    def overview(self) -> Aggregate:
        """The fleet as a whole."""
        self._refresh()
        return self._overview if self._overview is not None and self._is_fresh else self._sum_up()

    # ----------------------------------------------------------------------------------------------------------

    @property
    def _is_fresh(self) -> bool:
        return self._ticked_at is not None and self._clock() - self._ticked_at <= FRESH_S

    def _refresh(self) -> None:
        if not self._is_fresh:  # what is seen between two ticks counts as changed with the next
            self._look(self.version + 1 if self.version else 0)

    def _look(self, version: int) -> None:
        """Make the records, with this version."""
        now, wall = self.heard_clock(), self._wall()
        models = self.view.models(now, datetime.fromtimestamp(wall, UTC))
        pending = {model.name: model.pending for model in models}
        everyone = self.view.everyone()
        beside = {one.worker_id: self._beside(one, pending.get(one.model, 0), now) for one in everyone}
        of_models: dict[str, list[Replica]] = {}
        for one in everyone:
            of_models.setdefault(one.model, []).append(one)
        left = set(self.view.left())
        replicas = {
            one.worker_id: rows.replica_row(one, beside[one.worker_id], self._at(one.heard_at), wall)
            for one in everyone
        }
        self._rate = rates.joined([one.rate for one in beside.values() if one.rate is not None])
        self._tables.replicas.update(replicas, version)
        self._tables.services.update(
            {
                model.name: rows.service(
                    model,
                    [replicas[one.worker_id] for one in model.replicas],
                    [  # also of those that left: what they did lately was the model's
                        rate for one in of_models.get(model.name, []) if (rate := beside[one.worker_id].rate)
                    ],
                    self._models.past(model, of_models.get(model.name, []), left, wall),
                    self._letters.of(model_token(model.name)),
                    wall,
                )
                for model in models
            },
            version,
        )
        self._tables.gateways.update(
            {
                one.gateway_id: rows.gateway_row(
                    one, self._measures.of_gateway(one.gateway_id, now), now - heard_at, self._at(heard_at), wall
                )
                for one, heard_at in self._gateways.known(now)
            },
            version,
        )

    def _beside(self, one: Replica, pending: int, now: float) -> Beside:
        is_silent = one.status not in LEFT and self.view.is_silent(one, now)
        return self._measures.beside(one, is_silent, pending, now)

    def _judge(self) -> None:
        """What is wrong, and which of it counts. What is known of a fleet that is not heard is not judged."""
        now = self._clock()
        if self._lost_at is not None:
            kept = [one for one in self._alerts.troubles() if one.kind != "bus_lost"]
            seen, found = None, [*kept, rules.bus_lost(now - self._lost_at)]
        else:
            seen = self._seen()
            found = list(rules.troubles(seen, self._limits))
            rows_known = self._tables.replicas.rows
            self._alerts.let_go(lambda one: one.kind in rules.WORKER_KINDS and one.worker_id in rows_known)
        for alert in self._alerts.judge(found, now, lambda over: rules.ended(over, seen or rules.Seen([], []))):
            self._log.add(alerts.told(alert))
            self.on_alert(alert)

    def _firing(self) -> list[Alert]:
        own = self._alerts.firing()
        seen = {alert.id for alert in own}
        return [*own, *(alert for alert in self._hearsay.firing() if alert.id not in seen)]

    def _seen(self) -> rules.Seen:
        now = self.heard_clock()
        names = {model_token(name): name for name in self._tables.services.rows}
        return rules.Seen(
            replicas=list(self._tables.replicas.rows.values()),
            services=list(self._tables.services.rows.values()),
            log_problems={
                one.worker_id: one.health.log_problem
                for one in self.view.everyone()
                if one.health is not None and one.health.log_problem
            },
            ended=self._measures.ended(now),
            new_letters={names.get(token, token): count for token, count in self._letters.new(now).items()},
            refusals=self._measures.refusals(now),
        )

    def _remember(self, overview: Aggregate) -> None:
        """Keep the figures of this second."""
        if not self.connected:
            return
        wall, services = self._wall(), list(self._tables.services.rows.values())
        self._histories.put("", wall, summary.figures_of_fleet(overview, services, self._rate))
        for one in services:
            self._histories.put(one.model_name, wall, summary.figures_of_model(one))

    def _sum_up(self) -> Aggregate:
        whole = summary.aggregate(
            list(self._tables.services.rows.values()),
            list(self._tables.replicas.rows.values()),
            list(self._tables.gateways.rows.values()),
            self._firing(),
            self._letters.total,
            stamp(self._wall()),
        )
        return replace(whole, monitor_id=self._id, seq=self.version, monitor_started_at=stamp(self.started_at))

    def _tidy(self) -> None:
        """Let go of what is not shown any more."""
        self._tidied_at, now = self._clock(), self.heard_clock()
        self.view.forget(now, KEEP_S)
        self._measures.forget({one.worker_id for one in self.view.everyone()}, now)
        self._gateways.forget(now, KEEP_S)
        self._histories.forget(self._wall())
        services = self._tables.services.rows
        self._models.forget(services.keys())

    def _at(self, moment: float) -> float:
        """A moment of the heard clock as time of day."""
        return self._wall() - (self._clock() - self.heard_clock.ordinary(moment))
