"""Which jobs crashed their engine each time they ran, and what shall become of them?"""

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from golek_monitor.plain import plain
from golek_monitor.tui.columns import Column
from golek_monitor.tui.facts import facts
from golek_monitor.tui.messages import LettersAsked, LetterWanted, Verb, Wanted
from golek_monitor.tui.overlay import Overlay
from golek_monitor.tui.table import Table
from golek_monitor.tui.view import View
from golek_monitor.tui.words import said
from golek_wire.signals import DeadLetter

LETTERS: Final[tuple[Column[DeadLetter], ...]] = (
    Column(
        key="at", title="When", width=19, rank=2, order=lambda one: one.at, falls=True,
        cell=lambda one: said(one.at[:19].replace("T", " ")),
    ),
    Column(
        key="model", title="Model", width=14, most=28, rank=1, order=lambda one: one.model.lower(),
        cell=lambda one: said(one.model, "strong"),
    ),
    Column(
        key="crashes", title="Crashes", width=7, rank=3, order=lambda one: one.crashes, falls=True, right=True,
        cell=lambda one: said(str(one.crashes)),
    ),
    Column(
        key="retry", title="Retry", width=5, rank=4, order=lambda one: one.payload is None,
        cell=lambda one: said("yes") if one.payload is not None else said("no", "dim"),
    ),
    Column(key="job", title="Job", width=26, rank=0, order=lambda one: one.job_id, cell=lambda one: said(one.job_id)),
    Column(
        key="req", title="Request", width=12, most=40, rank=5, order=lambda one: one.req_id,
        cell=lambda one: said(one.req_id),
    ),
    Column(
        key="worker", title="Worker", width=16, most=32, rank=6, order=lambda one: one.worker_id, ends=True,
        cell=lambda one: said(one.worker_id),
    ),
)  # fmt: skip


class Letters(View):
    """The dead letters."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("R", "want('retry')", "Retry"),
        Binding("x", "want('drop')", "Drop"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.table: Table[DeadLetter] = Table(
            LETTERS, lambda one: one.job_id, sort="at", id="letters-table", empty="Not read yet."
        )

    def target(self) -> Widget:
        return self.table

    def ask(self) -> None:
        self.post_message(LettersAsked())

    def compose(self) -> ComposeResult:
        yield self.table
        yield Static("", classes="note", markup=False)

    def show(self, letters: Sequence[DeadLetter]) -> None:
        """These are kept now."""
        self.table.empty = "No job is dead: none crashed its engine three times in the last seven days."
        self.table.show(letters)
        self.note(f"{len(letters)} letters · Enter shows one · seven days end each")

    def note(self, text: str, *, bad: bool = False) -> None:
        """A line below: how many there are, or why they could not be read."""
        line = self.query_one(".note", Static)
        line.set_class(bad, "bad")
        line.update(plain(text))

    def action_want(self, verb: Verb) -> None:
        """Ask whether the chosen one shall be retried or dropped."""
        if (letter := self.table.chosen) is not None:
            self.post_message(Wanted(verb, model=letter.model, job_id=letter.job_id))

    def on_table_opened(self, event: Table.Opened) -> None:
        """Show the chosen one."""
        event.stop()
        if (letter := self.table.chosen) is not None:
            self.post_message(LetterWanted(letter))


class Letter(ModalScreen[None], Overlay[None]):
    """One dead letter: whose, why, and the last lines of the engine that died."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss", "Close"),
        Binding("R", "want('retry')", "Retry"),
        Binding("x", "want('drop')", "Drop"),
    ]

    def __init__(self, letter: DeadLetter, *, show_prompts: bool = False) -> None:
        super().__init__()
        self._letter = letter
        self._show_prompts = show_prompts

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="dialog", classes="large"):
            yield Static(f"Dead letter of job {self._letter.job_id}", id="dialog-title", markup=False)
            yield Static(told(self._letter, show_prompts=self._show_prompts), id="dialog-text", markup=False)
            yield Static("Escape closes · R retries · x drops", id="dialog-keys", markup=False)

    def action_want(self, verb: Verb) -> None:
        """Close, and ask whether it shall be done."""
        self.dismiss()
        self.app.post_message(Wanted(verb, model=self._letter.model, job_id=self._letter.job_id))


def told(letter: DeadLetter, *, show_prompts: bool) -> Content:
    """All that the letter says; the request only where people may see what was asked."""
    if letter.payload is None:
        request = f"not kept: {letter.withheld or 'the audit setting allows none'}"
    elif show_prompts:
        request = letter.payload[:4000]
    else:
        request = f"{len(letter.payload):,} characters, hidden: MONITOR_SHOW_PROMPTS=1 shows them"
    pairs = [
        ("model", letter.model), ("kind", letter.kind), ("request id", letter.req_id), ("worker", letter.worker_id),
        ("when", letter.at), ("crashes", str(letter.crashes)), ("seed", str(letter.seed)),
        ("input SHA", letter.input_sha256), ("request", request), ("by hand", letter.replay),
    ]  # fmt: skip
    tail = "\n".join(plain(line) for line in letter.log_tail) or "it said nothing"
    return Content("\n").join([facts(pairs), Content(""), Content("the engine's last lines:"), Content(tail)])
