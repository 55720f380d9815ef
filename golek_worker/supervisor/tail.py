"""How does a person read what a child logs?

A child writes to its own file, as one that nobody watches does: a terminal that stands still stops no worker. The
file's new lines are read from there, each event as one line.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

_FRAME = ("event", "level", "logger", "timestamp", "worker_id", "exception")
_SAID_FIRST = ("detail", "problem")
_LOUD = ("warning", "error", "critical")


class Tail:
    """The lines that come to a file."""

    def __init__(self, file: Path, without: Collection[str] = ()) -> None:
        self._file = file
        self._without = without
        """Events that are not shown."""
        self._read = 0
        self._begun = b""

    def new(self) -> Iterator[str]:
        """The lines that came since, as a person reads them; none while there is no file."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._read)
                come = file.read()
        except OSError:
            return
        self._read += len(come)
        *whole, self._begun = (self._begun + come).split(b"\n")
        for line in whole:
            if (text := line.decode("utf-8", "replace").rstrip()) and _event(text) not in self._without:
                yield readable(text)


def _event(line: str) -> str:
    """The event that a line tells of; empty when it is none."""
    try:
        return str(msgspec.json.decode(line, type=dict[str, Any]).get("event", ""))
    except msgspec.DecodeError:
        return ""


def readable(line: str) -> str:
    """One line of a log for a person; what is no event stays as it is."""
    try:
        said = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return line
    time = str(said.get("timestamp", ""))[11:19]
    level = str(said.get("level", ""))
    loud = f"{level.upper()} " if level in _LOUD else ""
    first = [str(said[key]) for key in _SAID_FIRST if said.get(key)]
    rest = [f"{key}={value}" for key, value in said.items() if key not in (*_FRAME, *_SAID_FIRST)]
    text = " ".join([f"{loud}{said.get('event', '')}", *first, *rest])
    trace = f"\n{said['exception']}" if said.get("exception") else ""
    return f"{time} {text}{trace}".strip()
