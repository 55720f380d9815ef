"""How did load and latency go, of the fleet or of one model?"""

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.widgets import Static

from golek_monitor.picture import Picture
from golek_monitor.plain import plain
from golek_monitor.records import History
from golek_monitor.tui import words
from golek_monitor.tui.plot import Line, Plot
from golek_monitor.tui.view import View

WINDOWS: Final = (300.0, 1800.0, 10_800.0)
_CHARTS: Final = (
    ("Load", "load", (Line("active", "active", "primary", "*"), Line("pending", "waiting", "warning", "o"))),
    ("Requests", "requests", (
        Line("requests_per_s", "req/s", "primary", "*", "/s"), Line("errors_per_s", "err/s", "error", "x", "/s"),
    )),
    ("Latency", "latency", (
        Line("response_ms", "answer", "primary", "*", "ms"), Line("ttft_ms", "TTFT", "warning", "o", "ms"),
    )),
    ("Tokens", "tokens", (Line("tokens_per_s", "tok/s", "success", "*", "/s"),)),
)  # fmt: skip


def _window(history: History, seconds: float) -> str:
    """Over which time the figures are, as far as there are some."""
    if len(history.at) < 2:
        return f"the last {words.span(seconds)} · no figures yet, they grow from now on"
    known = history.at[-1] - history.at[0]
    some = f"{words.span(known)}, of " if known < seconds - 2 * history.step_s else ""
    return f"the last {some}{words.span(seconds)}"


class Charts(View):
    """Four charts over the same time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "model(1)", "Model"),
        Binding("M", "model(-1)", "Model before", show=False),
        Binding("a", "all", "Fleet"),
        Binding("left_square_bracket", "window(-1)", "Shorter", key_display="["),
        Binding("right_square_bracket", "window(1)", "Longer", key_display="]"),
    ]
    can_focus = True

    def __init__(self, *, ascii_only: bool = False) -> None:
        super().__init__()
        self._picture: Picture | None = None
        self._ascii_only = ascii_only
        self.model = ""
        self._window = 0
        self._models: Sequence[str] = []

    def compose(self) -> ComposeResult:
        yield Static("", classes="note", markup=False)
        with Grid(id="plots"):
            for title, key, lines in _CHARTS:
                yield Plot(title, lines, id=f"plot-{key}")

    def on_mount(self) -> None:
        """A terminal without those dots gets letters."""
        for plot in self.query(Plot):
            plot.plain_marks = self._ascii_only

    def look(self, picture: Picture) -> None:
        self._picture = picture
        self._draw()

    def _draw(self) -> None:
        """Read the figures and draw them."""
        if self._picture is None:
            return
        self._models = [service.model_name for service in self._picture.services()]
        seconds = WINDOWS[self._window]
        history = self._picture.history(self.model, seconds)
        about = plain(self.model) if self.model else "the whole fleet"
        self.query_one(".note", Static).update(f"{about} · {_window(history, seconds)}")
        for plot in self.query(Plot):
            plot.show(history)

    def show_model(self, model: str) -> None:
        """From now on the charts are of this model; of the fleet, if empty."""
        self.model = model
        self._draw()

    def action_model(self, by: int) -> None:
        """The next model; behind the last, the fleet."""
        if not self._models:
            return
        choices = ["", *self._models]
        now = choices.index(self.model) if self.model in choices else 0
        self.show_model(choices[(now + by) % len(choices)])

    def action_all(self) -> None:
        """The fleet."""
        self.show_model("")

    def action_window(self, by: int) -> None:
        """A longer or shorter time."""
        self._window = max(0, min(len(WINDOWS) - 1, self._window + by))
        self._draw()
