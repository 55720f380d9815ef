"""Where does one server-sent event end and the next one begin?

Events are cut at blank lines; lines end with LF, CRLF or CR LF in two reads; comments are skipped. No I/O.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

EVENT_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of one event. A server that sends more without a blank line sends no events."""


class Event(NamedTuple):
    """What a server says at once."""

    name: str
    """`message` where it has none."""
    data: bytes


class EventTooLargeError(ValueError):
    """An event has more than EVENT_LIMIT bytes."""


class Splitter:
    """Bytes of a stream as they come, cut into events."""

    def __init__(self) -> None:
        self._rest = b""
        """The last line, which may go on."""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that `piece` completes. Raises EventTooLargeError."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if (event := self._line(line.removesuffix(b"\r"))) is not None:
                yield event
        if len(self._rest) + self._size > EVENT_LIMIT:
            raise EventTooLargeError(f"an event has more than {EVENT_LIMIT} bytes")

    def end(self) -> Iterator[Event]:
        """The last event, of a server that ends without a blank line."""
        for line in (self._rest, b""):
            if (event := self._line(line.removesuffix(b"\r"))) is not None:
                yield event
        self._rest = b""

    def _line(self, line: bytes) -> Event | None:
        """The event that ends with this line."""
        if not line:
            event = Event(self._name or "message", b"\n".join(self._data)) if self._data else None
            self._name, self._data, self._size = "", [], 0
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        return None
