"""What has every view of the fleet?"""

from textual.containers import Vertical
from textual.widget import Widget

from golek_monitor.picture import Picture


class View(Vertical):
    """One tab. The app has the one that is looked at read the picture each second."""

    def look(self, picture: Picture) -> None:
        """Show what is so now."""

    def ask(self) -> None:
        """Have read what only the bus tells, if there is such a thing."""

    def target(self) -> Widget:
        """Whose the keys are."""
        return self
