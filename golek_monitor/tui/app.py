"""What is the terminal made of, and who acts on what happens in it?

`Monitor` reads a picture once a second and shows the part that is looked at. It asks the fleet for nothing by itself:
what takes the bus goes through a `Desk`.
"""

import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, Final, cast

from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.events import Resize
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widgets import Footer, Input, Static, TabbedContent, TabPane

from golek_monitor.picture import Picture
from golek_monitor.tui import themes
from golek_monitor.tui.asciiart import Ascii
from golek_monitor.tui.charts import Charts
from golek_monitor.tui.confirm import Confirm
from golek_monitor.tui.desk import Desk
from golek_monitor.tui.events import Events
from golek_monitor.tui.fleet import Fleet
from golek_monitor.tui.helping import Help
from golek_monitor.tui.letters import Letter, Letters
from golek_monitor.tui.messages import (
    Detail,
    Done,
    LetterWanted,
    Look,
    ModelWanted,
    Progress,
    QueueAsked,
    Wanted,
)
from golek_monitor.tui.models import Models
from golek_monitor.tui.overlay import Palette
from golek_monitor.tui.overview import Overview
from golek_monitor.tui.told import Told
from golek_monitor.tui.view import View
from golek_monitor.tui.waiting import Waiting
from golek_monitor.tui.worker import Worker
from golek_wire.errors import InferenceServiceError

Work = Callable[[], Coroutine[Any, Any, None]]
LOOK_S: Final = 1.0
ASK_S: Final = 3.0
"""So often what takes the bus is read, while it is looked at."""
SMALLEST: Final = (80, 24)
TABS: Final = (
    ("fleet", "Fleet"), ("charts", "Charts"), ("models", "Models"), ("queue", "Queue"), ("letters", "Dead letters"),
    ("events", "Events"),
)  # fmt: skip


class Monitor(App[int]):
    """The fleet in a terminal."""

    TITLE = "golek monitor"
    CSS_PATH = "golek.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(place), f"tab('{key}')", title, show=False) for place, (key, title) in enumerate(TABS, 1)),
        # Before anybody's queue of keys, so that letters that come right behind it are the filter's.
        Binding("slash", "filter", "Filter", key_display="/", priority=True),
        Binding("question_mark,f1", "help", "Help", key_display="?"),
        Binding("t", "turn_theme", "Dark/light", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(
        self,
        picture: Picture,
        desk: Desk,
        *,
        url: str = "",
        theme: str = "dark",
        ascii_only: bool = False,
        no_color: bool = False,
        show_prompts: bool = False,
        problem: Callable[[], str] = lambda: "",
        every_s: float = LOOK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url` is the broker's address as people may see it, `problem` says why it is not heard, if somebody knows.

        With `every_s` 0 it looks only when told to.
        """
        super().__init__(ansi_color=True if no_color else None)
        self.animation_level = "none"
        self.picture = picture
        self._desk = desk
        self._url = url
        self._every_s = every_s
        self._clock = clock
        self._problem = problem
        self._show_prompts = show_prompts
        self._away_since: float | None = None
        self._ascii_only = ascii_only
        self._last_filters = [Ascii()] if ascii_only else []
        self.register_theme(themes.DARK)
        self.register_theme(themes.LIGHT)
        self.theme = theme
        self.frame_ms = 0.0
        """How long the last look took: reading the picture, and making the lines that changed."""

    def compose(self) -> ComposeResult:
        yield Overview(self._url)
        views: dict[str, View] = {
            "fleet": Fleet(), "charts": Charts(ascii_only=self._ascii_only), "models": Models(),
            "queue": Waiting(), "letters": Letters(), "events": Events(),
        }  # fmt: skip
        with TabbedContent(id="tabs"):
            for place, (key, title) in enumerate(TABS, 1):
                with TabPane(f"{place} {title}", id=key):
                    yield views[key]
        yield Told()
        yield Static("", id="small", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Look at once, then every second."""
        self.post_message(Look())
        if self._every_s:
            self.set_interval(self._every_s, partial(self.post_message, Look()))
            self.set_interval(ASK_S, self._ask)
        self.query_one(Fleet).table.focus()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Last of all, the characters become those that the terminal has."""
        return [*super().get_line_filters(), *self._last_filters]

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:  # noqa: ARG002 - as Textual calls it
        """What the palette finds, by its name."""
        for place, (key, title) in enumerate(TABS, 1):
            yield SystemCommand(f"Show: {title}", f"Key {place}", partial(self.action_tab, key))
        yield SystemCommand("Filter workers", "Key /", self.action_filter)
        for column in self._main.query_one(Fleet).table.columns:
            sort = partial(self._main.query_one(Fleet).table.sort_by, column.key)
            yield SystemCommand(f"Sort workers by {column.title}", "Once more turns it round", sort)
        yield SystemCommand("Dark or light", "Key t", self.action_turn_theme)
        yield SystemCommand("Help", "Key ?", self.action_help)
        yield SystemCommand("Quit", "Key q", self.action_quit)

    # -- what happens ------------------------------------------------------------------------------------------

    def on_look(self) -> None:
        """Read the picture."""
        began = time.perf_counter()
        self._show()
        self.frame_ms = (time.perf_counter() - began) * 1000

    def on_resize(self, event: Resize) -> None:
        """Below the least size there is only a sentence."""
        width, height = event.size
        small = width < SMALLEST[0] or height < SMALLEST[1]
        self._main.set_class(small, "too-small")
        self._main.query_one("#small", Static).update(
            f"This terminal has {width} by {height} characters; the monitor needs {SMALLEST[0]} by {SMALLEST[1]}."
            " Make it larger, or ask `golek monitor status`. q quits."
        )
        self.post_message(Look())

    def on_tabbed_content_tab_activated(self, event: TabbedContent.TabActivated) -> None:
        """Another view is looked at."""
        event.stop()
        self._view().target().focus()
        self._main.query_one(Told).leave()
        self.post_message(Look())
        self._ask()

    async def on_detail(self, event: Detail) -> None:
        """Show a worker on a screen of its own; what is read for it ends with it."""
        screen = Worker(event.row, self.picture.service(event.row.model_name))
        await self.push_screen(screen)
        self._work(screen, partial(self._read_settings, screen), "settings")
        self._ask()

    def on_model_wanted(self, event: ModelWanted) -> None:
        """Show a model's charts or queue."""
        self.action_tab(event.tab)
        if event.tab == "charts":
            self._main.query_one(Charts).show_model(event.model)
        else:
            self._main.query_one(Waiting).show_model(event.model)

    def on_letter_wanted(self, event: LetterWanted) -> None:
        """Show a dead letter."""
        self.push_screen(Letter(event.letter, show_prompts=self._show_prompts))

    def on_letters_asked(self) -> None:
        """Read the dead letters."""
        self._work(self, self._read_letters, "letters")

    def on_queue_asked(self, event: QueueAsked) -> None:
        """Read a queue."""
        self._work(self, partial(self._read_queue, event.model), "queue")

    def on_wanted(self, event: Wanted) -> None:
        """Ask; give the order after a yes."""

        def answered(yes: bool | None) -> None:
            if yes:
                self._work(self, partial(self._give, event), "orders", exclusive=False)

        self.push_screen(Confirm(event), answered)

    def on_progress(self, event: Progress) -> None:
        """Say how an order goes."""
        self._tell(event.text)

    def on_done(self, event: Done) -> None:
        """Say how it ended."""
        self._tell(event.text, failed=event.failed, ended=True)
        self._ask()

    # -- keys --------------------------------------------------------------------------------------------------

    def action_tab(self, key: str) -> None:
        """Look at another view."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self._main.query_one(TabbedContent).active = key

    def action_filter(self) -> None:
        """Filter the workers."""
        self.action_tab("fleet")
        self._main.query_one(Fleet).filter()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A filter is for the table of workers, and a letter like any other in one."""
        if action == "filter":
            on_fleet = len(self.screen_stack) == 1 and bool(self._main.query(TabbedContent)) and self._tab == "fleet"
            return on_fleet and not isinstance(self.focused, Input)
        return super().check_action(action, parameters)

    def action_turn_theme(self) -> None:
        """Dark or light."""
        self.theme = "light" if self.theme == "dark" else "dark"

    def action_command_palette(self) -> None:
        """All commands by name."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def action_help(self) -> None:
        """Teach."""
        if not isinstance(self.screen, Help):
            self.push_screen(Help())

    # ----------------------------------------------------------------------------------------------------------

    @property
    def _main(self) -> Screen[object]:
        return self.screen_stack[0]

    @property
    def _tab(self) -> str:
        return self._main.query_one(TabbedContent).active

    def _view(self) -> View:
        """The one that is looked at."""
        return self._main.query_one(f"#{self._tab}", TabPane).query_one(View)

    def _show(self) -> None:
        """What is so now, in the view that is looked at and above it."""
        picture = self.picture
        if picture.connected:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = self._clock()
        away_s = None if self._away_since is None else self._clock() - self._away_since
        self._main.query_one(Overview).show(picture.overview(), away_s=away_s, problem=self._problem())
        self._view().look(picture)
        for screen in self.screen_stack:
            screen.set_class(away_s is not None, "stale")
            if isinstance(screen, Worker) and screen.is_mounted:
                screen.look(picture)

    def _ask(self) -> None:
        """Read what takes the bus or files, if it is looked at."""
        for screen in self.screen_stack:
            if isinstance(screen, Worker) and screen.is_mounted:
                self._work(screen, partial(self._read_requests, screen), "requests")
                return
        self._view().ask()

    def _work(self, owner: DOMNode, work: Work, group: str, *, exclusive: bool = True) -> None:
        """Have something done that ends with its owner; an exclusive one replaces what its group does.

        It is not called before its turn comes: one that is replaced sooner leaves nothing behind.
        """
        owner.run_worker(cast("Callable[[], None]", work), group=group, exclusive=exclusive)

    async def _read_letters(self) -> None:
        view = self._main.query_one(Letters)
        try:
            view.show(await self._desk.letters())
        except InferenceServiceError as error:
            view.note(f"the dead letters could not be read: {error}", bad=True)

    async def _read_queue(self, model: str) -> None:
        view = self._main.query_one(Waiting)
        try:
            view.show(await self._desk.queue(model))
        except InferenceServiceError as error:
            view.note(f"the queue of {model} could not be read: {error}", bad=True)

    async def _read_requests(self, screen: Worker) -> None:
        try:
            screen.show_requests(await self._desk.requests(screen.row))
        except InferenceServiceError as error:
            screen.note(f"its requests could not be read: {error}", bad=True)

    async def _read_settings(self, screen: Worker) -> None:
        try:
            screen.show_settings(await self._desk.settings(screen.row))
        except InferenceServiceError as error:
            screen.show_settings(None, f"not known: {error}")

    async def _give(self, wanted: Wanted) -> None:
        def told(text: str) -> None:
            self.post_message(Progress(text))

        try:
            outcome = await self._desk.give(wanted, told)
            self.post_message(Done(outcome.text, failed=outcome.failed))
        except InferenceServiceError as error:
            self.post_message(Done(f"{wanted.verb} was not done: {error}", failed=True))

    def _tell(self, text: str, *, failed: bool = False, ended: bool = False) -> None:
        for screen in self.screen_stack:
            for line in screen.query(Told):
                line.tell(text, failed=failed, ended=ended)
