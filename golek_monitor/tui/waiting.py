"""Who waits in a model's queue, and who runs?"""

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from golek_client.queueing import ModelQueue, QueuedJob
from golek_monitor.picture import Picture
from golek_monitor.plain import plain
from golek_monitor.records import Service
from golek_monitor.tui import words
from golek_monitor.tui.columns import Column
from golek_monitor.tui.messages import QueueAsked, Wanted
from golek_monitor.tui.table import Table
from golek_monitor.tui.view import View
from golek_monitor.tui.words import Cell, said
from golek_wire.subjects import PRIORITIES


def _left(one: QueuedJob) -> Cell:
    """Until its deadline."""
    if one.left_s is None:
        return said(words.UNKNOWN, "dim")
    return said("late", "bad") if one.left_s <= 0 else said(words.span(one.left_s), "warn" if one.left_s < 10 else "")


def _busy(one: Service) -> tuple[int, int]:
    return one.queue_metrics.pending_messages, one.queue_metrics.active_processing


QUEUE: Final[tuple[Column[QueuedJob], ...]] = (
    Column(
        key="position", title="Place", width=7, rank=0, order=lambda one: one.position or 0,
        cell=lambda one: said(f"{one.position:>5}") if one.position else said("▸ runs", "good"),
    ),
    Column(
        key="age", title="Age", width=6, rank=1, right=True, falls=True, order=lambda one: one.age_s,
        cell=lambda one: said(words.age(one.age_s)),
    ),
    Column(
        key="priority", title="Priority", width=8, rank=2, order=lambda one: one.priority, falls=True,
        cell=lambda one: said(PRIORITIES.get(one.priority, str(one.priority))),
    ),
    Column(key="job", title="Job", width=26, rank=3, cell=lambda one: said(one.job_id), order=lambda one: one.job_id),
    Column(
        key="req", title="Request", width=12, most=48, rank=6, cell=lambda one: said(one.req_id),
        order=lambda one: one.req_id,
    ),
    Column(
        key="who", title="Who", width=10, most=24, rank=4, cell=lambda one: said(one.principal),
        order=lambda one: one.principal,
    ),
    Column(
        key="left", title="Left", width=7, rank=5, right=True, order=lambda one: one.left_s, cell=_left,
    ),
    Column(
        key="size", title="Bytes", width=6, rank=7, right=True, falls=True, order=lambda one: one.bytes,
        cell=lambda one: said("ref" if one.by_reference else words.count(one.bytes)),
    ),
)  # fmt: skip
NAMED: Final = 36
"""Characters of a model's name; of a longer one the end."""


class Waiting(View):
    """The queue of one model, read now and then while it is looked at."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "model(1)", "Model"),
        Binding("M", "model(-1)", "Model before", show=False),
        Binding("c", "cancel", "Cancel job"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.model = ""
        self._models: Sequence[str] = []
        self.table: Table[QueuedJob] = Table(QUEUE, lambda one: one.job_id, sort="position", id="queue-table", empty="")

    def look(self, picture: Picture) -> None:
        self.models(picture.services())

    def target(self) -> Widget:
        return self.table

    def ask(self) -> None:
        if self.model:
            self.post_message(QueueAsked(self.model))

    def compose(self) -> ComposeResult:
        yield Static("", classes="note", markup=False)
        yield self.table

    def models(self, services: Sequence[Service]) -> None:
        """These are the models whose queues there are; at first the one with most to do is shown."""
        names = self._models = [one.model_name for one in services]
        if self.model not in names and names:
            self.show_model(max(services, key=_busy).model_name)
        if not names:
            self.note("no model is known yet")

    def show_model(self, model: str) -> None:
        """From now on the queue is this model's."""
        self.model = model
        self.table.empty = ""
        self.table.show([])
        self.note(f"{plain(model)}: reading …")
        self.post_message(QueueAsked(model))

    def show(self, queue: ModelQueue) -> None:
        """This is a model's queue now."""
        if queue.model_name != self.model:
            return
        self.table.empty = "Nobody waits, and nothing runs."
        self.table.show(queue.jobs)
        more = "" if queue.complete else f" · the first {len(queue.jobs)} are shown"
        order = " by priority" if queue.strategy == "priority" else ""
        full = f"of {words.count(queue.capacity)} places" if queue.capacity > 0 else ""
        name = self.model if len(self.model) <= NAMED else f"…{self.model[1 - NAMED :]}"
        self.note(f"{name} · {queue.running} run, {queue.waiting} wait{order} {full}{more}")

    def note(self, text: str, *, bad: bool = False) -> None:
        """A line above: whose queue it is, or why it could not be read."""
        line = self.query_one(".note", Static)
        line.set_class(bad, "bad")
        line.update(plain(text))

    def action_model(self, by: int) -> None:
        """The next model."""
        if self._models:
            now = self._models.index(self.model) if self.model in self._models else 0
            self.show_model(self._models[(now + by) % len(self._models)])

    def action_cancel(self) -> None:
        """Ask whether the chosen job shall be cancelled."""
        if (job := self.table.chosen) is not None:
            self.post_message(Wanted("cancel", model=self.model, job_id=job.job_id))
