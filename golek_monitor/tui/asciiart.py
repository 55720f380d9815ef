"""How does it look on a terminal that has only ASCII?"""

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from golek_monitor.tui.words import plainest


class Ascii(LineFilter):
    """Puts a plain character in place of each that such a terminal would garble, after everything is drawn."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - as Textual calls it
        return [Segment(plainest(text), style, control) for text, style, control in segments]
