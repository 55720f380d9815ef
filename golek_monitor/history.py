"""How was it a while ago?

Figures in rings of a fixed size, made once: each second of the last five minutes, every ten seconds of the last three
hours, of each model and of the fleet. Pure: the time comes in with the figures.
"""

import math
from array import array
from typing import Final

from golek_monitor.records import History

SERIES: Final = (
    "requests_per_s", "tokens_per_s", "errors_per_s", "refused_per_s", "response_ms", "ttft_ms",
    "pending", "active", "slots",
)  # fmt: skip
FINE_STEP_S: Final = 1
FINE_S: Final = 300
COARSE_STEP_S: Final = 10
COARSE_S: Final = 3 * 3600
MODELS_KEPT: Final = 1000
"""Of more models none have a history: names come from the bus, and memory must not grow with them."""
_UNKNOWN: Final = math.nan

Figures = tuple[float | None, ...]
"""One for each of SERIES."""


class _Ring:
    """The last figures, one set for each step of time."""

    def __init__(self, step_s: int, length_s: int) -> None:
        self._step_s = step_s
        self._length = length_s // step_s
        self._values = [array("f", [_UNKNOWN] * self._length) for _ in SERIES]
        self._newest: int | None = None
        self._filled = 0

    def put(self, at: float, figures: Figures) -> None:
        """These are the figures at `at`, in seconds since 1970. A clock that was set back begins anew."""
        step = int(at // self._step_s)
        if self._newest is None or not -2 <= step - self._newest < self._length:
            self._newest, self._filled = step - 1, 0
        if step <= self._newest:
            return
        for missed in range(self._newest + 1, step):
            self._set(missed, (None,) * len(SERIES))
        self._set(step, figures)
        self._filled = min(self._length, self._filled + step - self._newest)
        self._newest = step

    def read(self, seconds: float) -> tuple[list[float], dict[str, list[float | None]]]:
        """When, and the figures; those of the last `seconds`, oldest first."""
        if self._newest is None:
            return [], {name: [] for name in SERIES}
        count = min(self._filled, max(1, math.ceil(seconds / self._step_s)))
        steps = range(self._newest - count + 1, self._newest + 1)
        found = {
            name: [None if math.isnan(value := values[step % self._length]) else round(value, 3) for step in steps]
            for name, values in zip(SERIES, self._values, strict=True)
        }
        return [float(step * self._step_s) for step in steps], found

    def _set(self, step: int, figures: Figures) -> None:
        place = step % self._length
        for values, figure in zip(self._values, figures, strict=True):
            values[place] = _UNKNOWN if figure is None else figure


class _Past:
    """The history of one model."""

    def __init__(self) -> None:
        self.fine = _Ring(FINE_STEP_S, FINE_S)
        self.coarse = _Ring(COARSE_STEP_S, COARSE_S)
        self._gathered: list[Figures] = []
        self._step: int | None = None
        self.last_at = 0.0

    def put(self, at: float, figures: Figures) -> None:
        step = int(at // COARSE_STEP_S)
        if self._step is not None and step != self._step and self._gathered:
            self.coarse.put(self._step * COARSE_STEP_S, _mean(self._gathered))
            self._gathered = []
        self._step, self.last_at = step, at
        self._gathered.append(figures)
        self.fine.put(at, figures)


class Histories:
    """Of every model by name, and of the fleet, whose name is empty."""

    def __init__(self) -> None:
        self._pasts: dict[str, _Past] = {}

    def put(self, name: str, at: float, figures: Figures) -> None:
        """These are its figures at `at`, in seconds since 1970; at most one set counts for a second."""
        past = self._pasts.get(name)
        if past is None:
            if len(self._pasts) > MODELS_KEPT:
                return
            past = self._pasts[name] = _Past()
        past.put(at, figures)

    def read(self, name: str, seconds: float) -> History:
        """The figures of the last `seconds`: each second of them up to five minutes, else every ten seconds."""
        past = self._pasts.get(name)
        fine = seconds <= FINE_S
        step_s = FINE_STEP_S if fine else COARSE_STEP_S
        if past is None:
            return History(name, float(step_s), [], {series: [] for series in SERIES})
        at, series = (past.fine if fine else past.coarse).read(seconds)
        return History(name, float(step_s), at, series)

    def forget(self, now: float) -> None:
        """Let go of models of which nothing was told for as long as a history is."""
        self._pasts = {name: past for name, past in self._pasts.items() if now - past.last_at <= COARSE_S}


def _mean(gathered: list[Figures]) -> Figures:
    """Of each series the average of what is known."""
    return tuple(
        sum(known) / len(known) if (known := [one for one in column if one is not None]) else None
        for column in zip(*gathered, strict=True)
    )
