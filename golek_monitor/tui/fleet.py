"""Which workers are there, and how is each?"""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input, Static

from golek_monitor.picture import Picture
from golek_monitor.records import ReplicaRow
from golek_monitor.tui import fleet_columns
from golek_monitor.tui.messages import Detail, ModelWanted, Wanted
from golek_monitor.tui.table import Table
from golek_monitor.tui.view import View

NOBODY = "No worker was heard yet. `make start WORKER=echo` starts one; it appears here within a second."
_NO_MATCH = "No worker matches the filter; Escape shows all again."


class Fleet(View):
    """The table of workers, with a filter."""

    HELP = "The fleet: one line per worker."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "unfilter", "Show all", show=False),
        Binding("c", "charts", "Charts of its model", show=False),
        Binding("w", "queue", "Queue of its model", show=False),
        Binding("d", "want('drain')", "Drain", show=False),
        Binding("u", "want('unload')", "Unload", show=False),
        Binding("l", "want('load')", "Load", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._all: Sequence[ReplicaRow] = []
        self._wanted = ""
        self.table: Table[ReplicaRow] = Table(
            fleet_columns.FLEET, lambda row: row.worker_id, sort="status", empty=NOBODY, id="workers"
        )

    def look(self, picture: Picture) -> None:
        self.show(picture.replicas())

    def target(self) -> Widget:
        return self.table

    def compose(self) -> ComposeResult:
        field = Input(placeholder="filter: words of model, replica, engine, status; Escape ends", id="filter")
        field.cursor_blink = False
        field.display = False
        yield field
        yield self.table
        yield Static("", id="fleet-note", markup=False)

    def show(self, rows: Sequence[ReplicaRow]) -> None:
        """These are all the workers now."""
        self._all = rows
        self._filtered()

    @property
    def chosen(self) -> ReplicaRow | None:
        """The worker under the cursor."""
        return self.table.chosen

    def filter(self) -> None:
        """Have a filter typed."""
        field = self.query_one("#filter", Input)
        field.display = True  # at once, as the focus: letters may come right behind the key
        self.screen.set_focus(field)

    def action_unfilter(self) -> None:
        """Show all."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.table.focus()

    def action_charts(self) -> None:
        """Look at the charts of the chosen worker's model."""
        if (row := self.chosen) is not None:
            self.post_message(ModelWanted(row.model_name, "charts"))

    def action_queue(self) -> None:
        """Look at the queue of the chosen worker's model."""
        if (row := self.chosen) is not None:
            self.post_message(ModelWanted(row.model_name, "queue"))

    def action_want(self, verb: str) -> None:
        """Ask whether an order shall be given to the chosen worker."""
        if (row := self.chosen) is not None and verb in ("drain", "load", "unload"):
            self.post_message(Wanted(verb, model=row.model_name, worker_id=row.worker_id, active=row.active))  # type: ignore[arg-type]

    def on_input_changed(self, event: Input.Changed) -> None:
        """The filter works while it is typed."""
        event.stop()
        self._wanted = event.value
        self._filtered()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the table; an empty filter disappears."""
        event.stop()
        if not event.value.strip():
            event.input.display = False
        self.table.focus()

    def on_table_opened(self, event: Table.Opened) -> None:
        """A worker is looked at."""
        event.stop()
        if (row := self.chosen) is not None:
            self.post_message(Detail(row))

    def on_table_moved(self) -> None:
        """Its problem is shown below."""
        self._note()

    def on_table_resorted(self) -> None:
        """The order is named below."""
        self._note()

    def on_resize(self) -> None:
        """So are the columns that have no room."""
        self.call_after_refresh(self._note)

    def _filtered(self) -> None:
        rows = [row for row in self._all if fleet_columns.matches(row, self._wanted)]
        self.table.empty = _NO_MATCH if self._all and not rows else NOBODY
        self.table.show(rows)
        self._note()

    def _note(self) -> None:
        """One line: the chosen worker's problem, else what is shown and how."""
        row, table = self.chosen, self.table
        if row is not None and row.problem:
            text = f"{row.worker_id}: {row.problem}"
        else:
            some = f"{len(table.rows)} of {len(self._all)} workers" if self._wanted else f"{len(self._all)} workers"
            by = table.sorted_by
            order = f" · by {by.title} {'↓' if table.falling else '↑'}" if by else ""
            away = f" · {table.hidden} columns have no room" if table.hidden else ""
            text = f"{some}{order}{away}"
        note = self.query_one("#fleet-note", Static)
        note.set_class(row is not None and bool(row.problem), "bad")
        if str(note.content) != text:
            note.update(text)
