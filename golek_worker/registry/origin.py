"""Where did a model's file come from, and which bytes did it have then?

A download writes it to `.<name>.origin.json` beside the file. A file that somebody put there by hand has none.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

HASH_CHUNK = 4 * 1024 * 1024


class Origin(Struct, frozen=True, kw_only=True):
    """One file, as it was when its download was done."""

    source: str
    """Without passwords and signatures."""
    size: int
    sha256: str
    """Of the bytes that were put in place."""
    vouched: bool
    """True when somebody had said that it must be this SHA-256: the user, the catalogue, the hub."""
    at: float
    """When, in seconds since 1970."""


def write(file: Path, source: str, sha256: str, *, vouched: bool) -> None:
    """Note where `file`, which has just been put in place, comes from."""
    told = Origin(source=source, size=file.stat().st_size, sha256=sha256, vouched=vouched, at=time.time())
    beside(file).write_bytes(msgspec.json.encode(told) + b"\n")


def read(file: Path) -> Origin | None:
    """Where `file` comes from; None when nobody noted it, or when another file lies there now."""
    try:
        found = msgspec.json.decode(beside(file).read_bytes(), type=Origin)
        return found if found.size == file.stat().st_size else None
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def beside(file: Path) -> Path:
    """Where it is noted."""
    return file.with_name(f".{file.name}.origin.json")


def hash_of(file: Path, tell: Callable[[int], None]) -> str:
    """SHA-256 of a whole file; `tell` hears how many bytes were read."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(HASH_CHUNK):
            digest.update(chunk)
            tell(content.tell())
    return digest.hexdigest()
