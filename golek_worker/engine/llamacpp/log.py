"""What does llama.cpp have to say?

Its warnings and errors go to stderr, which the parent keeps; what it says of a load as well, marked so that only the
engine's log file takes it. The last errors are also kept here, for our own messages.
"""

import ctypes
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import llama_cpp

from golek_worker.engine.base import ASIDE

_INFO = 2
_WARN = 3
_ERROR = 4
_CONTINUED = 5

_PLANNING = b"sched_reserve: "
"""Begins what it says each time it plans its graphs."""

_UNPACKED = b"llama_adapter_lora_init_impl: lora for "
"""Begins a warning about each matrix of an adapter whose weight is kept repacked for this CPU: nothing is wrong."""

_OVER_CONTEXT = b"llama_context: n_ctx_seq ("
"""Begins a warning that a sequence may be longer than the model was trained for."""

_errors: deque[str] = deque(maxlen=4)
_heard: list[list[str]] = []
"""Lists that take all lines at the moment."""
_plans_are_told = True
_whole_batches = 0
"""Contexts that are being made for batches of texts, each of which is short enough."""
_level = 0
_line_is_open = False
"""True after a piece of text that did not end its line."""


def install() -> None:
    """Take over llama.cpp's log."""
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))


def take_error() -> str:
    """The first error since this was last asked, in llama.cpp's words; later ones only repeat that it failed."""
    error = _errors[0] if _errors else ""
    _errors.clear()
    return error


@contextmanager
def heard() -> Iterator[list[str]]:
    """The lines that it says meanwhile, continued ones in pieces."""
    lines: list[str] = []
    _heard.append(lines)
    try:
        yield lines
    finally:
        _heard.remove(lines)


@contextmanager
def of_whole_batches() -> Iterator[None]:
    """A context that is made meanwhile holds many texts: that all together are long is nothing to warn of."""
    global _whole_batches  # noqa: PLW0603 - llama.cpp's log is one for the process
    _whole_batches += 1
    try:
        yield
    finally:
        _whole_batches -= 1


def hush_plans() -> None:
    """Graphs will be planned many times a second: that is no news any more."""
    global _plans_are_told  # noqa: PLW0603 - llama.cpp's log is one for the process
    _plans_are_told = False


def _is_no_news(text: bytes) -> bool:
    """Whether nothing is wrong though llama.cpp warns."""
    return text.startswith(_UNPACKED) or (_whole_batches > 0 and text.startswith(_OVER_CONTEXT))


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]  # a ctypes type
def callback(level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
    global _level, _line_is_open  # noqa: PLW0603 - a continued line has the level of the one before it
    if level != _CONTINUED:
        _level = _INFO if level == _WARN and _is_no_news(text) else level
    if _level not in (_INFO, _WARN, _ERROR):
        return
    if _level == _INFO and not _plans_are_told and text.startswith(_PLANNING):
        return
    line = text.decode("utf-8", "replace")
    for lines in _heard:
        lines.append(line)
    if _line_is_open and level != _CONTINUED:
        sys.stderr.write("\n")
        _line_is_open = False
    for part in line.splitlines(keepends=True):
        if not (_line_is_open or part.strip()):
            continue
        sys.stderr.write(part if _line_is_open or _level != _INFO else ASIDE + part)
        _line_is_open = not part.endswith("\n")
    if _level == _ERROR and line.strip():
        _errors.append(line.rpartition(": ")[2].strip() if line.startswith("llama_model_load:") else line.strip())
