"""What became of the last order?"""

from textual.widgets import Static

from golek_monitor.plain import plain


class Told(Static):
    """A line above the keys, while an order is carried out and until another view is looked at."""

    def __init__(self) -> None:
        super().__init__("", classes="told", markup=False)
        self.display = False
        self._ended = False

    def leave(self) -> None:
        """Another view is looked at: how an order ended is not said for ever."""
        if self._ended:
            self.display = False

    def tell(self, text: str, *, failed: bool = False, ended: bool = False) -> None:
        """Say it."""
        self._ended = ended
        self.display = bool(text)
        self.set_class(failed, "bad")
        self.update(f"{'✕' if failed else '✓' if ended else '…'} {plain(text)}")
