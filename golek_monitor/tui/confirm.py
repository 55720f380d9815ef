"""Shall this order be given?"""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from golek_monitor.tui import orders
from golek_monitor.tui.messages import Wanted
from golek_monitor.tui.overlay import Overlay


class Confirm(ModalScreen[bool], Overlay[bool]):
    """Says what will happen, and waits for yes or no. No is what Enter means until somebody says otherwise."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
        Binding("left,right", "app.focus_next", "Other", show=False),
    ]

    def __init__(self, wanted: Wanted) -> None:
        super().__init__()
        self._wanted = wanted

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(orders.title(self._wanted), id="dialog-title", markup=False)
            yield Static(orders.consequence(self._wanted), id="dialog-text", markup=False)
            with Horizontal(id="dialog-buttons"):
                yield Button("No (n)", id="no", compact=True)
                yield Button(f"{orders.TITLES[self._wanted.verb]} (y)", id="yes", variant="error", compact=True)

    def on_mount(self) -> None:
        """Nothing happens by an Enter too many."""
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """With the mouse, or Enter."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """With a key."""
        self.dismiss(answer)
