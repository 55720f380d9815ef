"""What is the terminal made of, and who acts on what happens in it?

`Monitor` reads a picture once a second and shows the part that is looked at. It asks the fleet for nothing by itself:
what takes the bus goes through a `Desk`.
"""

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.filter import LineFilter
from textual.widgets import Footer, Static, TabbedContent, TabPane

from golek_monitor.picture import Picture
from golek_monitor.tui import themes
from golek_monitor.tui.asciiart import Ascii
from golek_monitor.tui.fleet import Fleet
from golek_monitor.tui.messages import Look
from golek_monitor.tui.overview import Overview

LOOK_S = 1.0
SMALLEST = (80, 24)


class Monitor(App[int]):
    """The fleet in a terminal."""

    TITLE = "golek monitor"
    CSS_PATH = "golek.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "turn_theme", "Dark/light", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(
        self,
        picture: Picture,
        *,
        url: str = "",
        theme: str = "dark",
        ascii_only: bool = False,
        no_color: bool = False,
        every_s: float = LOOK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url` is the broker's address as people may see it; with `every_s` 0 it looks only when told to."""
        super().__init__(ansi_color=True if no_color else None)
        self.animation_level = "none"
        self.picture = picture
        self._url = url
        self._every_s = every_s
        self._clock = clock
        self._away_since: float | None = None
        self._ascii = [Ascii()] if ascii_only else []
        self.register_theme(themes.DARK)
        self.register_theme(themes.LIGHT)
        self.theme = theme
        self.frame_ms = 0.0
        """How long the last look took, without drawing."""

    def compose(self) -> ComposeResult:
        yield Overview(self._url)
        with TabbedContent(id="tabs"), TabPane("1 Fleet", id="fleet"):
            yield Fleet()
        yield Static("", id="small", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Look at once, then every second."""
        self.post_message(Look())
        if self._every_s:
            self.set_interval(self._every_s, lambda: self.post_message(Look()))
        self.query_one(Fleet).table.focus()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Last of all, the characters become those that the terminal has."""
        return [*super().get_line_filters(), *self._ascii]

    def on_look(self) -> None:
        """Read the picture."""
        began = time.perf_counter()
        self._show()
        self.frame_ms = (time.perf_counter() - began) * 1000

    def on_resize(self, event: Resize) -> None:
        """Below the least size there is only a sentence."""
        width, height = event.size
        small = width < SMALLEST[0] or height < SMALLEST[1]
        self.screen.set_class(small, "too-small")
        self.query_one("#small", Static).update(
            f"This terminal has {width} by {height} characters; the monitor needs {SMALLEST[0]} by {SMALLEST[1]}."
            " Make it larger, or ask `golek monitor status`. q quits."
        )
        self.post_message(Look())

    def action_turn_theme(self) -> None:
        """Dark or light."""
        self.theme = "light" if self.theme == "dark" else "dark"

    def _show(self) -> None:
        picture = self.picture
        if picture.connected:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = self._clock()
        away_s = None if self._away_since is None else self._clock() - self._away_since
        self.query_one(Overview).show(picture.overview(), away_s=away_s)
        self.screen.set_class(away_s is not None, "stale")
        self.query_one(Fleet).show(picture.replicas())
