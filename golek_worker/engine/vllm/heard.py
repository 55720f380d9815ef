"""What did vLLM say on stderr?

Why an engine did not load is known to EngineCore, which writes it there and ends. All its lines go on to the worker;
the latest are kept. What does not tell of an error is marked as such.
"""

import contextlib
import os
import re
import threading
from collections import deque
from collections.abc import Iterator

from golek_worker.engine.base import ASIDE

KEPT = 400
_STDERR = 2
_decoration = re.compile(r"^(?:\([^)]*pid=\d+\) ?)+")
_error = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt))(?:: (?P<said>.*))?$")
_aside = re.compile(r"^(?:INFO|DEBUG|WARNING) ")
_logged = re.compile(r"^ERROR [^\]]*\] ?")
_POINTERS = ("See root cause above", "Engine core initialization failed", "WorkerProc initialization failed")
"""Errors that only say that there was one before."""


class Heard:
    """The lines on stderr of a process that is started `within` it."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._loading = True
        self._own = os.dup(_STDERR)

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        """Until here stderr of this process is heard too; that of processes started meanwhile always is."""
        reading, writing = os.pipe()
        os.dup2(writing, _STDERR)
        os.close(writing)
        threading.Thread(target=self._pass_on, args=(reading,), name="stderr", daemon=True).start()
        try:
            yield
        finally:
            os.dup2(self._own, _STDERR)
            self._loading = False

    @property
    def cause(self) -> str:
        """The last error that was told, in its own words; empty for none."""
        return cause(list(self._lines))

    def _pass_on(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                text = line.decode("utf-8", "replace").strip("\r\n")
                said = _decoration.sub("", text)
                if not said.strip():
                    continue
                self._lines.append(said)
                is_aside = self._loading or _aside.match(said)
                os.write(self._own, ((ASIDE if is_aside else "") + text + "\n").encode())


def cause(lines: list[str]) -> str:
    """The last error in these lines that says more than that there was one before."""
    found = ""
    for line in lines:
        said = _logged.sub("", line).strip()
        if (match := _error.match(said)) and not any(words in said for words in _POINTERS):
            found = match["said"] or match[1]
    return found
