"""How does a person see a download?

In a terminal as one bar with rate and time left; in a pipe or a log file as a line at every tenth, and at least every
30 s. What else is said while a bar stands goes above it.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from golek_worker.registry.catalog import shown_size
from golek_worker.registry.report import Progress

LINE_S = 30.0
STEP_PERCENT = 10
SHAPE = os.terminal_size((80, 24))
"""Of a terminal that does not say how large it is."""

Say = Callable[[str], None]


class Bar:
    """The progress of one download. `say` takes whole lines; the bar goes to `stream` when that is a terminal."""

    def __init__(self, name: str, say: Say, stream: TextIO | None = None) -> None:
        self._name = name
        self._say = say
        self._stream = stream if stream is not None else sys.stdout
        self._terminal = self._stream.isatty()
        self._bar: Any = None
        self._stage = ""
        self._said_at = 0.0
        self._said_step = -1

    def show(self, progress: Progress) -> None:
        """Bring the display up to date."""
        if self._terminal:
            self._draw(progress)
        elif self._is_due(progress):
            self._say(f"{self._name} {progress} of {shown_size(progress.total)}")

    def say(self, line: str) -> None:
        """Say `line` above the bar, if there is one."""
        if self._bar is not None:
            self._bar.clear()
        self._say(line)
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """Leave what was shown last; the next line goes below it."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._stage = ""

    def _draw(self, progress: Progress) -> None:
        from tqdm import tqdm  # type: ignore[import-untyped]  # comes with huggingface_hub

        if self._bar is None or progress.stage != self._stage:
            self.close()
            self._stage = progress.stage
            known = os.get_terminal_size(self._stream.fileno()).columns > 0
            self._bar = tqdm(
                desc=f"{self._name} {progress.stage}",
                total=progress.total,
                initial=progress.done,
                unit="B",
                unit_scale=True,
                file=self._stream,
                dynamic_ncols=known,
                ncols=None if known else SHAPE.columns,
                nrows=None if known else SHAPE.lines,
            )
        self._bar.update(progress.done - self._bar.n)

    def _is_due(self, progress: Progress) -> bool:
        step, now = progress.percent // STEP_PERCENT, time.monotonic()
        if progress.stage == self._stage and step == self._said_step and now < self._said_at + LINE_S:
            return False
        self._stage, self._said_step, self._said_at = progress.stage, step, now
        return True
