"""How does a final message travel that is larger than the bus carries?

As pieces of the same bytes, each with header `Golek-Part: 2/5`. Whoever reads them puts them together in any order. No
I/O: the same cut serves an inbox and a bucket.
"""

import re
from typing import Final

WHOLE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of the largest message that is sent in parts. A server drops a client for which 64 MiB wait (`max_pending`)."""
PARTS_LIMIT: Final = 4096
"""Most parts of one message: with the smallest `max_payload` that makes sense, 16 KiB, they are the largest message."""

_NUMBERS = re.compile(r"([1-9]\d{0,3})/([1-9]\d{0,3})")


def cut(body: bytes, limit: int) -> list[bytes]:
    """`body` in pieces of at most `limit` bytes; one piece when it fits."""
    return [body[start : start + limit] for start in range(0, len(body), limit)] or [body]


def label(number: int, count: int) -> str:
    """The value of `Golek-Part` for piece `number`, counted from 1."""
    return f"{number}/{count}"


def numbers(text: str) -> tuple[int, int]:
    """Piece and number of pieces in a value of `Golek-Part`. Raises ValueError when it is none."""
    match = _NUMBERS.fullmatch(text)
    if match is None or not int(match[1]) <= int(match[2]) <= PARTS_LIMIT:
        raise ValueError(f"{text[:32]!r} is not the number of a part, such as 2/5")
    return int(match[1]), int(match[2])


class Joint:
    """One message, as its parts arrive: in any order, some of them twice.

    A message that is written again, by a later attempt, need not have the same bytes: its parts start anew, and those
    of an earlier attempt that come late are dropped.
    """

    def __init__(self) -> None:
        self._attempt = -1
        self._count = 0
        self._size = 0
        self._parts: dict[int, bytes] = {}

    def add(self, label: str, attempt: int, data: bytes) -> bytes | None:
        """The whole message once this part was the last one missing. Raises ValueError for what is no part of one."""
        number, count = numbers(label)
        if attempt < self._attempt:
            return None
        if attempt > self._attempt:
            self._attempt, self._count, self._size = attempt, count, 0
            self._parts.clear()
        if count != self._count:
            raise ValueError(f"part {label} of a message that has {self._count} parts")
        if number not in self._parts:
            self._parts[number] = data
            self._size += len(data)
        if self._size > WHOLE_LIMIT:
            raise ValueError(f"parts of {self._size} bytes in all; a message has at most {WHOLE_LIMIT}")
        if len(self._parts) < count:
            return None
        return b"".join([self._parts[i] for i in range(1, count + 1)])
