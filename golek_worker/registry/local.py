"""How does a file of this machine become a model's file?

By a hard link where both lie on one file system: no byte is copied, and nothing is lost when one of the two names is
deleted. Elsewhere by a copy, checked as a download is.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from golek_worker.registry.remote import ChangedError, Remote
from golek_worker.registry.report import DownloadError
from golek_worker.registry.source import FileSource, Source

CHUNK = 1024 * 1024


def describe(place: Source) -> Remote:
    """Look at the file. Raises DownloadError."""
    path = Path(place.path)
    try:
        found = path.stat()
        if not path.is_file():
            raise DownloadError(f"{place}: no file, but a folder or a device")
        with path.open("rb"):
            return Remote(source=place, size=found.st_size, etag=_version(found))
    except OSError as error:
        raise DownloadError(f"{place}: {error.strerror}") from None


def read(file: Remote, offset: int) -> Iterator[bytes]:
    """Its bytes from `offset` on. Raises ChangedError."""
    with Path(file.source.path).open("rb") as content:
        content.seek(offset)
        while chunk := content.read(CHUNK):
            yield chunk
        if _version(os.fstat(content.fileno())) != file.etag:
            raise ChangedError


def link(file: Remote, part: Path) -> bool:
    """Give a file of this machine the name `part` as well; False when it is none, or lies on another file system."""
    if not isinstance(file.source, FileSource):
        return False
    here = Path(file.source.path).resolve()
    if here.stat().st_dev != part.parent.stat().st_dev:
        return False  # what was copied before stays
    part.unlink(missing_ok=True)
    try:
        os.link(here, part)
    except OSError:  # a file system without links, or somebody else's file: it is copied
        return False
    return True


def _version(found: os.stat_result) -> str:
    return f"{found.st_ino}-{found.st_mtime_ns}"
