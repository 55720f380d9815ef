"""How many dead letters are there, and how many are new?

Counted as they come, and corrected by what the stream says it keeps. Pure: times come in with the counts.
"""

from collections.abc import Mapping
from typing import Final

from golek_monitor.rates import Recently
from golek_monitor.rules import LETTERS_S

MODELS_KEPT: Final = 10_000


class Letters:
    """Dead letters by token of their model."""

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}
        self._new: Recently[str] = Recently(LETTERS_S)
        self._is_read = False

    @property
    def total(self) -> int:
        """All that are kept."""
        return sum(self._kept.values())

    def of(self, token: str) -> int:
        """How many are kept of one model."""
        return self._kept.get(token, 0)

    def new(self, now: float) -> dict[str, int]:
        """How many came in the last ten minutes, where any did."""
        return self._new.totals(now)

    def came(self, token: str, now: float) -> None:
        """One came."""
        if token in self._kept or len(self._kept) < MODELS_KEPT:
            self._kept[token] = self._kept.get(token, 0) + 1
            self._new.add(token, 1, now)

    def kept(self, by_token: Mapping[str, int], now: float) -> None:
        """So many are kept. What came unheard is new; at the first reading nobody knows since when they are there."""
        if self._is_read:
            for token, count in by_token.items():
                self._new.add(token, count - self.of(token), now)
        self._kept, self._is_read = dict(by_token), True
