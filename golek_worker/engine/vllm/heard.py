"""What did vLLM say on stderr?

Why an engine did not load is known to EngineCore, which writes it there and ends. All lines go on to the worker; the
latest are kept. What only tells how things go is marked as such.
"""

import os
import re
import threading
from collections import deque

from golek_worker.engine.base import ASIDE

KEPT = 400
_STDERR = 2
_decoration = re.compile(r"^(?:\([^)]*pid=\d+\) ?)+")
_error = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt))(?:: (?P<said>.*))?$")
_aside = re.compile(r"^(?:INFO|DEBUG) ")
_EMPTY_WORDS = ("See root cause above", "Engine core initialization failed", "WorkerProc initialization failed")


class Heard:
    """The lines on stderr of this process and of those that it starts from now on."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT)
        reading, writing = os.pipe()
        self._out = os.dup(_STDERR)
        os.dup2(writing, _STDERR)
        os.close(writing)
        threading.Thread(target=self._pass_on, args=(reading,), name="stderr", daemon=True).start()

    @property
    def cause(self) -> str:
        """The last error that was told, in its own words; empty for none."""
        return cause(list(self._lines))

    def _pass_on(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                text = line.decode("utf-8", "replace").rstrip("\n")
                said = _decoration.sub("", text)
                self._lines.append(said)
                os.write(self._out, ((ASIDE if _aside.match(said) else "") + text + "\n").encode())


def cause(lines: list[str]) -> str:
    """The error that these lines end with, behind which there is only what points back to it."""
    found = ""
    for line in lines:
        said = re.sub(r"^ERROR [^\]]*\] ?", "", line).strip()
        if (match := _error.match(said)) and not any(words in said for words in _EMPTY_WORDS):
            found = match["said"] or match[1]
    return found
