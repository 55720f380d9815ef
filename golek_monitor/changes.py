"""What changed since somebody last looked?

A table of records that remembers with which version each of them changed as people see it, and which are gone.
"""

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

Row = TypeVar("Row")

REMEMBERED: Final = 600
"""For so many versions it is known what is gone."""


class Table(Generic[Row]):
    """Rows by key, as of the last `update`."""

    def __init__(self, aged: Callable[[Row, Row], Row]) -> None:
        """`aged`: the second row with the ages of the first, which count for nothing."""
        self._aged = aged
        self.rows: dict[str, Row] = {}
        self._changed: dict[str, int] = {}
        self._gone: dict[str, int] = {}

    def update(self, rows: Mapping[str, Row], version: int) -> None:
        """These are all rows, of this version."""
        before = self.rows
        for key, row in rows.items():
            old = before.get(key)
            if old is None or self._aged(old, row) != old:
                self._changed[key] = version
        for key in before.keys() - rows.keys():
            self._changed.pop(key, None)
            self._gone[key] = version
        if self._gone:
            self._gone = {key: at for key, at in self._gone.items() if key not in rows and at > version - REMEMBERED}
        self.rows = dict(rows)

    def since(self, version: int) -> list[Row]:
        """Those that changed after this version, in their order."""
        return [row for key, row in self.rows.items() if self._changed[key] > version]

    def gone_since(self, version: int) -> list[str]:
        """The keys of those that went after it."""
        return [key for key, at in self._gone.items() if at > version]
