"""How does it work? A page that teaches; its text is help.txt."""

from importlib.resources import files
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from golek_monitor.tui.overlay import Overlay

_KEYS: Final = 13
"""Characters of a line that are the key or the column that it explains."""


class Help(ModalScreen[None], Overlay[None]):
    """The help page; arrows scroll."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,f1", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="dialog", classes="large"):
            yield Static(page(text()), id="dialog-text", markup=False)
        yield Static("arrows scroll · Escape closes", id="dialog-keys", markup=False)

    def on_mount(self) -> None:
        """Arrows scroll at once."""
        self.query_one("#dialog").focus()


def text() -> str:
    """The page: `# ` begins a title, and what stands before the 14th character explains itself behind it."""
    return files("golek_monitor.tui").joinpath("help.txt").read_text(encoding="utf-8")


def page(source: str) -> Content:
    """The page as it is shown."""
    return Content("\n").join([_line(line) for line in source.splitlines()])


def _line(line: str) -> Content:
    if line.startswith("# "):
        return Content.styled(line[2:], "bold $accent")
    if line[_KEYS - 1 : _KEYS] == " " and line[_KEYS - 2 : _KEYS - 1] == " ":
        return Content.styled(line[:_KEYS], "bold") + Content(line[_KEYS:])
    return Content(line)
