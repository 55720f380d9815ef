"""What does a download say of itself?

The process that downloads writes one JSON line on stdout whenever there is something to say; who started it reads them.
"""

from typing import Literal

from msgspec import Struct

Stage = Literal["downloading", "waiting", "verifying"]


class Progress(Struct, frozen=True, tag="progress"):
    """How far it is."""

    stage: Stage
    """`waiting` watches another process download the same file."""
    done: int
    """Bytes on the disk, or of them read again while verifying."""
    total: int

    @property
    def percent(self) -> int:
        return 100 * self.done // self.total if self.total else 0

    def __str__(self) -> str:
        return f"{'waiting for the download,' if self.stage == 'waiting' else self.stage} {self.percent} %"


class Downloaded(Struct, frozen=True, tag="downloaded"):
    """The file is there."""

    path: str
    """Of a model in several files the first."""
    size: int
    fetched: int
    """Bytes that came over the network this time; less than `size` after a resume."""
    seconds: float
    checked: str
    """What was verified: `sha256 …`, or the size alone where nobody knows the hash."""


class Failed(Struct, frozen=True, tag="failed"):
    """It could not be done; the message is for the person who wanted the file."""

    message: str


Report = Progress | Downloaded | Failed


class DownloadError(Exception):
    """A file could not be downloaded; the message says why and what to do."""
