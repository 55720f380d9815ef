"""Which columns does a table have, and which of them have room?

A column says what it shows of a row, how it sorts, and how much it matters: in a narrow terminal those that matter
least give way. Pure.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from golek_monitor.tui.words import Cell

Row = TypeVar("Row")
GAP: Final = 1
"""Blanks between two columns."""


class Column(Struct, Generic[Row], frozen=True, kw_only=True):
    """One column of a table of `Row`s."""

    key: str
    title: str
    width: int
    """It needs so many characters."""
    most: int = 0
    """And is given up to so many where there is room; `width` if 0."""
    rank: int
    """What matters most has 0, and gives way last."""
    cell: Callable[[Row], Cell]
    order: Callable[[Row], Any] | None = None
    """What it sorts by; rows for which that is None come last either way. A column without is not sorted by."""
    falls: bool = False
    """Whether the first sort by it puts the largest first."""
    right: bool = False
    """Whether it is aligned to the right, as figures are."""
    ends: bool = False
    """Whether a text that is too long loses its beginning: ids differ at their end."""


def fit(columns: Sequence[Column[Row]], width: int) -> list[tuple[Column[Row], int]]:
    """The columns that have room in `width` characters, in their order, each with its own width.

    The one that matters most is always there, cut if it must.
    """
    kept: list[Column[Row]] = []
    left = width
    for column in sorted(columns, key=lambda one: one.rank):
        need = column.width + (GAP if kept else 0)
        if kept and need > left:
            break
        kept.append(column)
        left -= need
    widths = {column.key: min(column.width, width) for column in kept}
    for column in sorted(kept, key=lambda one: one.rank):
        more = max(0, min(left, column.most - column.width))
        widths[column.key] += more
        left -= more
    return [(column, widths[column.key]) for column in columns if column.key in widths]


def arranged(rows: Sequence[Row], column: Column[Row] | None, *, falling: bool) -> list[Row]:
    """`rows` sorted by a column; equal ones stay in the order they came, those without a value come last."""
    if column is None or (order := column.order) is None:
        return list(rows)
    valued = [(value, row) for row in rows if (value := order(row)) is not None]
    valued.sort(key=lambda pair: pair[0], reverse=falling)
    ordered = [row for _, row in valued]
    return ordered if len(ordered) == len(rows) else ordered + [row for row in rows if order(row) is None]
