"""What does the place where a file lies say of it, and how are its bytes read?

One module for each kind of source (`hub`, `s3`, `web`, `local`), with the two functions of `Reader`. Each is imported
when a source needs it.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from golek_worker import folder
from golek_worker.registry.report import DownloadError
from golek_worker.registry.source import FileSource, HubSource, RepoSource, S3Source, Source


class Remote(Struct, frozen=True, kw_only=True):
    """A file as its place describes it, before a byte of it is read."""

    source: Source
    url: str = ""
    """Where to read it, when `source` does not say: of a repository exactly this commit."""
    size: int
    etag: str
    """Whatever changes with the bytes, as the place writes it; empty when it tells no two versions apart."""
    sha256: str | None = None
    """The place's word, where it has one."""
    blob: str | None = None
    """Git's name of the bytes, which the hub has of a small file in place of a SHA-256."""

    @property
    def version(self) -> str:
        """Tells this file from another under its name; empty when nothing does."""
        if self.sha256 is not None:
            return self.sha256[:16]  # the same bytes, wherever they lie
        told = f"{self.source}\n{self.etag}\n{self.size}"
        return hashlib.sha256(told.encode()).hexdigest()[:16] if self.etag else ""


class BrokenOffError(Exception):
    """The connection ended before the file did; asking again may help."""


class RangeIgnoredError(Exception):
    """The server sends the file from its beginning, or says that what was asked for lies behind its end."""


class ChangedError(Exception):
    """There is another file in the place now than the one that was described."""


class Reader(Protocol):
    """What each kind of source can do."""

    def describe(self, place: Source, /) -> Remote:
        """Ask for size and version. Raises DownloadError."""
        ...

    def read(self, file: Remote, offset: int, /) -> Iterator[bytes]:
        """The bytes from `offset` on, as they come.

        Raises BrokenOffError, RangeIgnoredError, ChangedError, DownloadError.
        """
        ...


def files(place: Source, target: Path) -> list[tuple[Source, Path]]:
    """All files of the model at `place`, each with where it goes when the model shall lie at `target`.

    Raises DownloadError, also for a repository without a model that can be served.
    """
    if not isinstance(place, RepoSource):
        return list(zip(place.files(), place.targets(target), strict=True))
    from golek_worker.registry import hub

    there = {one.path: one for one in hub.files(place)}
    names = folder.chosen(there)
    if folder.CONFIG not in there or not any(name.endswith(folder.WEIGHTS) for name in names):
        others = sorted(name for name in there if name.endswith((".gguf", ".bin", ".pth", ".tflite")))
        hint = f"; it has {', '.join(others[:3])}" if others else ""
        way = f": a GGUF file is named as hf:{place.path}/<file>.gguf" if hint and others[0].endswith(".gguf") else ""
        raise DownloadError(
            f"{place}: no model in a folder, which is {folder.CONFIG} with weights in {folder.WEIGHTS}{hint}{way}"
        )
    return [(there[name], target / name) for name in names]


def describe(place: Source) -> Remote:
    """What is at `place`. Raises DownloadError."""
    return _reader(place).describe(place)


def read(file: Remote, offset: int) -> Iterator[bytes]:
    """Its bytes; see `Reader.read`."""
    return _reader(file.source).read(file, offset)


def _reader(place: Source) -> Reader:
    from golek_worker.registry import hub, local, s3, web

    match place:
        case HubSource():
            return hub
        case S3Source():
            return s3
        case FileSource():
            return local
    return web
