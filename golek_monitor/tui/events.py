"""What needs attention, and what happened?"""

from collections.abc import Sequence
from typing import Final

from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Static

from golek_monitor.picture import Picture
from golek_monitor.plain import plain
from golek_monitor.records import Event
from golek_monitor.tui import words
from golek_monitor.tui.columns import Column
from golek_monitor.tui.table import Table
from golek_monitor.tui.view import View
from golek_monitor.tui.words import Tone, said
from golek_wire.signals import Alert

_LEVELS: Final[dict[str, Tone]] = {"info": "dim", "warning": "warn", "error": "bad"}
ALERTS: Final[tuple[Column[Alert], ...]] = (
    Column(
        key="state", title="State", width=10, rank=1, order=lambda one: one.state != "firing",
        cell=lambda one: said("▲ firing", words.SEVERITY_TONES[one.severity]) if one.state == "firing"
        else said("✓ resolved", "dim"),
    ),
    Column(
        key="severity", title="Severity", width=8, rank=3, order=lambda one: one.severity,
        cell=lambda one: said(one.severity, words.SEVERITY_TONES[one.severity] if one.state == "firing" else "dim"),
    ),
    Column(
        key="since", title="Since", width=8, rank=2, order=lambda one: one.since, falls=True,
        cell=lambda one: said(words.clock(one.since)),
    ),
    Column(
        key="kind", title="Kind", width=14, rank=4, order=lambda one: one.kind, cell=lambda one: said(one.kind),
    ),
    Column(key="message", title="Message", width=30, most=240, rank=0, cell=lambda one: said(one.message)),
)  # fmt: skip
EVENTS: Final[tuple[Column[Event], ...]] = (
    Column(
        key="time", title="Time", width=8, rank=1, order=lambda one: one.seq, falls=True,
        cell=lambda one: said(words.clock(one.timestamp), "dim"),
    ),
    Column(
        key="level", title="Level", width=7, rank=3, order=lambda one: list(_LEVELS).index(one.level), falls=True,
        cell=lambda one: said(one.level, _LEVELS[one.level]),
    ),
    Column(
        key="code", title="Code", width=16, most=24, rank=2, order=lambda one: one.code,
        cell=lambda one: said(one.code),
    ),
    Column(key="message", title="Message", width=30, most=240, rank=0, cell=lambda one: said(one.message)),
)  # fmt: skip


class Events(View):
    """Alerts above, events below, and the whole sentence of the chosen one."""

    def __init__(self) -> None:
        super().__init__()
        self.alerts: Table[Alert] = Table(
            ALERTS, lambda one: f"{one.id} {one.since}", id="alerts", empty="No alert fires, and none did lately."
        )
        self.table: Table[Event] = Table(
            EVENTS, lambda one: str(one.seq), id="events", empty="Nothing has happened since this monitor began."
        )

    def look(self, picture: Picture) -> None:
        self.show(picture.alerts(), picture.events())

    def target(self) -> Widget:
        return self.table

    def compose(self) -> ComposeResult:
        yield self.alerts
        yield self.table
        yield Static("", classes="sentence", markup=False)

    def show(self, alerts: Sequence[Alert], events: Sequence[Event]) -> None:
        """These are the alerts and the events now, each the newest first."""
        self.alerts.styles.height = min(len(alerts), 8) + 2 if alerts else 4
        self.alerts.show(alerts)
        self.table.show(events)
        self._whole()

    def on_table_moved(self) -> None:
        """Its sentence is shown whole."""
        self._whole()

    def on_descendant_focus(self) -> None:
        """The sentence is of the table that has the focus."""
        self._whole()

    def _whole(self) -> None:
        one = self.alerts.chosen if self.alerts.has_focus else self.table.chosen
        where = " ".join(part for part in (getattr(one, "model_name", ""), getattr(one, "worker_id", "")) if part)
        text = f"{one.message} {f'({where})' if where else ''}" if one is not None else ""
        self.query_one(".sentence", Static).update(plain(text))
