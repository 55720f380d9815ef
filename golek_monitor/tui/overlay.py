"""What lies over the fleet, and goes once?

A key that is pressed twice arrives twice, though the first press already closed what it was for: the second one is for
nobody. Textual (8.2) would give the answer once more, and close what lies below, or end the program where nothing does.
"""

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.command import CommandList, CommandPalette
from textual.screen import Screen

Result = TypeVar("Result")


class Overlay(Screen[Result]):
    """A screen over the fleet."""

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Close it, if it is what is seen."""
        return super().dismiss(result) if self.is_active else AwaitComplete()


class Palette(CommandPalette, Overlay[None]):
    """All commands by name."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys are for a list that is there: Textual raises KeyError for a page of one that was not drawn yet."""
        if action == "command_list":
            return self.query_one(CommandList).size.height > 0
        return super().check_action(action, parameters)
