"""How does it work? A page that teaches; its text is help.md."""

from importlib.resources import files
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Markdown, Static


class Help(ModalScreen[None]):
    """The help page; arrows scroll."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,f1", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="dialog", classes="large"):
            yield Markdown(text(), open_links=False)
            yield Static("Escape closes", id="dialog-keys")

    def on_mount(self) -> None:
        """Arrows scroll at once."""
        self.query_one("#dialog").focus()


def text() -> str:
    """The page, as Markdown."""
    return files("golek_monitor.tui").joinpath("help.md").read_text(encoding="utf-8")
