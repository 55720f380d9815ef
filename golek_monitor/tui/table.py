"""How are many rows shown, sorted and chosen, at the cost of those that are seen?

Only visible lines are made, and of those only what changed is drawn again: a thousand rows cost what fifty do, over SSH
too (docs/decisions/0044). The chosen row stays chosen when rows move.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Generic

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from golek_monitor.plain import plain
from golek_monitor.tui.columns import GAP, Column, Row, arranged, fit
from golek_monitor.tui.words import Cell, ended, length

_HEADER: Final = 1
_MARGIN: Final = 1
"""Before the first column."""
_TONES: Final = ("good", "warn", "bad", "dim", "bar", "track", "strong")


class Table(ScrollView, Generic[Row], can_focus=True):
    """Rows under columns, one of them chosen. Give it rows with `show`; it sorts them as its reader wants."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header", "table--sorted", "table--cursor", *(f"table--{tone}" for tone in _TONES),
    }  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000)", "First", show=False),
        Binding("end,G", "move(1000000)", "Last", show=False),
        Binding("enter", "choose", "Open", show=False),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", "Sort by the column before", show=False),
        Binding("r", "turn", "Reverse", show=False),
    ]

    class Moved(Message):
        """Another row is chosen, or none."""

        def __init__(self, table: "Table[Any]") -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> "Table[Any]":
            """The table."""
            return self.table

    class Opened(Moved):
        """The chosen row shall be shown."""

    class Resorted(Moved):
        """The rows stand in another order."""

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        key: Callable[[Row], str],
        *,
        sort: str = "",
        empty: str = "",
        id: str | None = None,  # noqa: A002 - as Textual calls it
    ) -> None:
        """`key` tells rows apart, `sort` is the column to begin with, `empty` stands there while there are no rows."""
        super().__init__(id=id)
        self.columns = list(columns)
        self._key = key
        self.empty = empty
        self.sorted_by = next((column for column in columns if column.key == sort), None)
        self.falling = self.sorted_by.falls if self.sorted_by else False
        self._given: list[Row] = []
        self._rows: list[Row] = []
        self._cursor = 0
        self._drawn: dict[int, Strip] = {}
        """The lines as they were drawn last, by their place in the widget."""
        self._shape: list[tuple[Column[Row], int]] = []

    # -- what others ask ---------------------------------------------------------------------------------------

    @property
    def rows(self) -> list[Row]:
        """As they stand, sorted."""
        return self._rows

    @property
    def chosen(self) -> Row | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if self._cursor < len(self._rows) else None

    @property
    def hidden(self) -> int:
        """How many columns have no room."""
        return len(self.columns) - len(self._shape)

    def show(self, rows: Sequence[Row]) -> None:
        """These are the rows now; the chosen one stays chosen while it is among them."""
        self._given = list(rows)
        self._arrange()

    def choose_key(self, key: str) -> None:
        """Choose the row with this key, if it is there."""
        for place, row in enumerate(self._rows):
            if self._key(row) == key:
                self._move_to(place)

    def sort_by(self, key: str) -> None:
        """Sort by a column; once more by the same turns it round."""
        column = next((one for one in self.columns if one.key == key and one.order is not None), None)
        if column is None:
            return
        self.falling = not self.falling if column is self.sorted_by else column.falls
        self.sorted_by = column
        self._arrange()
        self.post_message(self.Resorted(self))

    # -- keys and mouse ----------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Choose another row."""
        self._move_to(max(0, min(len(self._rows) - 1, self._cursor + by)))

    def action_page(self, by: int) -> None:
        """Choose a row so many screens away."""
        self.action_move(by * max(1, self._height - _HEADER - 1))

    def action_choose(self) -> None:
        """Open the chosen row."""
        if self.chosen is not None:
            self.post_message(self.Opened(self))

    def action_sort(self, by: int) -> None:
        """Sort by the next column that is seen, or the one before."""
        keys = [column.key for column, _ in self._shape if column.order is not None]
        if not keys:
            return
        now = self.sorted_by.key if self.sorted_by else ""
        self.sort_by(keys[(keys.index(now) + by) % len(keys)] if now in keys else keys[0])

    def action_turn(self) -> None:
        """Turn the order round."""
        if self.sorted_by is not None:
            self.sort_by(self.sorted_by.key)

    def on_click(self, event: Click) -> None:
        """A title sorts; a row is chosen, and opened when it was chosen before."""
        if event.y < _HEADER:
            if (key := self._column_at(event.x)) is not None:
                self.sort_by(key)
            return
        place = event.y - _HEADER + self.scroll_offset.y
        if place >= len(self._rows):
            return
        if place == self._cursor:
            self.action_choose()
        self._move_to(place)

    def on_resize(self, _event: Resize) -> None:
        """Columns come and go with the width."""
        self._lay_out()

    def on_focus(self) -> None:
        """The cursor looks different now."""
        self._redraw()

    def on_blur(self) -> None:
        """The cursor looks different now."""
        self._redraw()

    def notify_style_update(self) -> None:
        """Colours changed: nothing that was drawn holds."""
        super().notify_style_update()
        self._drawn.clear()
        self.refresh()

    # -- drawing -----------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """One line: the titles, then the rows from where the table is scrolled to."""
        strip = self._line(y)
        self._drawn[y] = strip
        return strip

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Another part is seen."""
        super().watch_scroll_y(old_value, new_value)
        self._redraw()

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _height(self) -> int:
        return self.scrollable_content_region.height

    def _arrange(self) -> None:
        before = self.chosen
        held = self._key(before) if before is not None else None
        self._rows = arranged(self._given, self.sorted_by, falling=self.falling)
        if held is not None:
            stays = next((place for place, row in enumerate(self._rows) if self._key(row) == held), None)
            self._cursor = stays if stays is not None else max(0, min(self._cursor, len(self._rows) - 1))
        size = Size(self._width, len(self._rows) + _HEADER)
        if size != self.virtual_size:
            self.virtual_size = size
        if (self._key(now) if (now := self.chosen) is not None else None) != held:
            self.post_message(self.Moved(self))
        self._redraw()

    def _lay_out(self) -> None:
        self._shape = fit(self.columns, self._width - _MARGIN)
        self.virtual_size = Size(self._width, len(self._rows) + _HEADER)
        self._drawn.clear()
        self.refresh()

    def _move_to(self, place: int) -> None:
        if not 0 <= place < len(self._rows):
            return
        moved, self._cursor = place != self._cursor, place
        seen = max(1, self._height - _HEADER)
        top = self.scroll_offset.y
        if not top <= place < top + seen:
            self.scroll_to(y=place if place < top else place - seen + 1, animate=False)
        self._redraw()
        if moved:
            self.post_message(self.Moved(self))

    def _redraw(self) -> None:
        """Draw again the lines that are not as they were."""
        changed = [y for y in range(self._height) if self._drawn.get(y) != self._line(y)]
        if len(changed) > self._height // 2:
            self.refresh()
            return
        for y in changed:
            self.refresh(Region(0, y, self._width, 1))

    def _line(self, y: int) -> Strip:
        if y < _HEADER:
            return self._titles()
        place = y - _HEADER + self.scroll_offset.y
        if place < len(self._rows):
            return self._row(self._rows[place], chosen=place == self._cursor)
        text = self.empty if not self._rows and y == _HEADER + 1 else ""
        return self._strip([Segment(text, self._style("dim", self.rich_style))], self.rich_style)

    def _titles(self) -> Strip:
        plainly = self.rich_style + self.get_component_rich_style("table--header", partial=True)
        strong = plainly + self.get_component_rich_style("table--sorted", partial=True)
        segments: list[Segment] = []
        for column, width in self._shape:
            is_sorted = column is self.sorted_by
            arrow = ("↓" if self.falling else "↑") if is_sorted else ""
            title = f"{column.title[: width - len(arrow)]}{arrow}"
            title = title.rjust(width) if column.right else title.ljust(width)
            segments += [Segment(title, strong if is_sorted else plainly), Segment(" " * GAP, plainly)]
        return self._strip(segments, plainly)

    def _row(self, row: Row, *, chosen: bool) -> Strip:
        base = self.rich_style
        if chosen:
            base += self.get_component_rich_style("table--cursor", partial=True)
        segments: list[Segment] = []
        for column, width in self._shape:
            cell = column.cell(row)
            cell = ended(cell, width) if column.ends else cell
            segments += self._cell(cell, width, base, right=column.right)
            segments.append(Segment(" " * GAP, base))
        return self._strip(segments, base)

    def _cell(self, cell: Cell, width: int, base: Style, *, right: bool) -> list[Segment]:
        spare = width - length(cell)
        segments = [Segment(" " * spare, base)] if right and spare > 0 else []
        left = width
        for text, tone in cell:
            short = plain(text) if len(text) <= left else plain(text[: max(0, left - 1)]) + "…"[:left]
            segments.append(Segment(short, self._style(tone, base)))
            left -= len(short)
        if not right and spare > 0:
            segments.append(Segment(" " * spare, base))
        return segments

    def _style(self, tone: str, base: Style) -> Style:
        return base + self.get_component_rich_style(f"table--{tone}", partial=True) if tone else base

    def _strip(self, segments: list[Segment], base: Style) -> Strip:
        return Strip([Segment(" " * _MARGIN, base), *segments]).adjust_cell_length(self._width, base).simplify()

    def _column_at(self, x: int) -> str | None:
        at = _MARGIN
        for column, width in self._shape:
            if at <= x < at + width + GAP:
                return column.key
            at += width + GAP
        return None
