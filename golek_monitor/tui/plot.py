"""How do figures go over time?

The only place that knows plotext.
"""

import math
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from textual.color import Color
from textual_plotext import PlotextPlot

from golek_monitor.records import History
from golek_monitor.tui import words

TICKS: Final = 6


class Line(Struct, frozen=True):
    """One line of a plot."""

    series: str
    """Its name in `History.series`."""
    label: str
    colour: str
    """Of the theme."""
    marker: str = ""
    """A character that sets it apart where colours do not."""
    unit: str = ""
    """`ms`, or nothing for a plain figure."""


class Plot(PlotextPlot):
    """One chart: a title with the newest figures, and the lines of them over time."""

    def __init__(self, title: str, lines: Sequence[Line], *, id: str) -> None:  # noqa: A002 - as Textual calls it
        super().__init__(id=id)
        self._title = title
        self._lines = lines
        self._history = History("", 1.0, [], {})
        self.plain_marks = False
        """Whether only ASCII may be drawn."""

    def show(self, history: History) -> None:
        """These are the figures now."""
        self._history = history
        newest = [f"{line.label} {newest_of(history, line)}" for line in self._lines]
        self.border_title = f"{self._title}  {'  '.join(newest)}"
        self._draw()
        self.refresh()

    def _draw(self) -> None:
        plt, history = self.plt, self._history
        plt.clear_figure()
        plt.grid(False, False)
        plt.frame(False)
        plt.yfrequency(3)
        if len(history.at) < 2:
            plt.yfrequency(0)
            plt.xfrequency(0)
            return
        highest = 0.0
        for line in self._lines:
            colour = Color.parse(self.app.theme_variables.get(line.colour, "white")).rgb
            for at, values in runs(history, line.series):
                highest = max(highest, *values)
                marker = line.marker or "*" if self.plain_marks or self.app.no_color else "braille"
                plt.plot(at, values, color=colour, marker=marker)
        plt.ylim(0, highest * 1.1 or 1)
        plt.xlim(history.at[0], history.at[-1])
        places = moments(history.at[0], history.at[-1])
        plt.xticks(places, [ago(history.at[-1] - place) for place in places])
        marks = [0.0, highest / 2, highest] if highest else [0.0, 1.0]
        plt.yticks(marks, [shown(mark, self._lines[0].unit) for mark in marks])


def runs(history: History, series: str) -> list[tuple[list[float], list[float]]]:
    """The stretches of a series that are known, as times and values; a gap stays a gap."""
    found: list[tuple[list[float], list[float]]] = []
    open_run = False
    for at, value in zip(history.at, history.series.get(series, []), strict=False):
        if value is None or not math.isfinite(value):
            open_run = False
            continue
        if not open_run:
            found.append(([], []))
            open_run = True
        found[-1][0].append(at)
        found[-1][1].append(value)
    return found


def newest_of(history: History, line: Line) -> str:
    """The last figure of a line."""
    values = history.series.get(line.series, [])
    return shown(values[-1], line.unit) if values and values[-1] is not None else words.UNKNOWN


def shown(value: float, unit: str) -> str:
    """A figure beside its axis."""
    if unit == "ms":
        return f"{value:.1f}ms" if 0 < value < 9.95 else words.millis(value)
    if unit == "/s" or (value < 10 and value != round(value)):
        return words.rate(value)
    return words.count(round(value))


def moments(first: float, last: float) -> list[float]:
    """Places on the axis of time, each with a mark of its own: at most one in a second."""
    ticks = max(2, min(TICKS, int(last - first) + 1))
    return [last - (last - first) * tick / (ticks - 1) for tick in reversed(range(ticks))]


def ago(seconds: float) -> str:
    """A place on the axis of time."""
    whole = round(seconds)
    return f"-{words.age(whole)}" if whole else "now"
