"""Where does a model's file lie, when it does not lie here yet?

    hf:<owner>/<repository>/<file>.gguf[@<revision>]    on the hub
    hf:<owner>/<repository>[@<revision>]                there, all files of a model that lies in a folder
    s3://<bucket>/<key>.gguf                            in S3, or what speaks like it
    https://<host>/<path>                               on a web server; http:// too
    /<path>.gguf, ./<path>.gguf, file:///<path>.gguf    on this machine

A model in several files is named by its first, `…-00001-of-00003.gguf`. In place of `.gguf` there may be `.tflite`.
"""

import re
from pathlib import Path, PurePosixPath
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

DEFAULT_REVISION = "main"
FORMS = (
    "hf:<owner>/<repository>/<file>.gguf, with @<revision> at the end for another than main; s3://<bucket>/<key>.gguf; "
    "https://<host>/<path>; or a path to a file of this machine, beginning with / or ./ or file://; "
    "hf:<owner>/<repository> for a model in a folder"
)
_REPO = r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)"
_REVISION = r"(@(?P<revision>[^@\s]+))?"
_ENDING = r"\.(gguf|tflite)"
_WHOLE = re.compile(_REPO + _REVISION)
_HUB = re.compile(rf"{_REPO}/(?P<path>[^@\s]+{_ENDING}){_REVISION}")
_S3 = re.compile(rf"s3://(?P<bucket>[\w.-]+)/(?P<path>[^\s?#]+{_ENDING})")
_HERE = re.compile(rf"(?P<path>(/|\./|\.\./|~/).*{_ENDING})")
_MEANT = re.compile(r"(hf:|s3://|file://|/|\./|\.\./|~/)\S+")
"""Has the beginning of a form whose file ends in `.gguf`."""
PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
"""How llama.cpp names the files of a model that is split."""


class SourceError(Exception):
    """What was given names no file that can be downloaded; the message says what would."""


class Source(Struct, frozen=True):
    """One file somewhere. `str` is for people: without passwords and signatures, which only `text` has."""

    path: str
    """Where in its place it lies; the last part is its name."""

    needs_network: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.path).name

    @property
    def text(self) -> str:
        """What `parse` reads as this source, secrets included."""
        return str(self)

    def files(self) -> list[Self]:
        """All files of the model; itself alone unless it is split."""
        part = PART.fullmatch(self.name)
        if part is None:
            return [self]
        folder = self.path[: -len(self.name)]
        names = part_names(part["stem"], int(part["count"]))
        return [msgspec.structs.replace(self, path=folder + name) for name in names]

    @property
    def has_one_file(self) -> bool:
        """Whether the model is one file, of which there can be one SHA-256."""
        return len(self.files()) == 1

    def targets(self, target: Path) -> list[Path]:
        """Where the files go when the model shall lie at `target`: `model.gguf`, or `model-00001-of-00003.gguf`, …"""
        count = len(self.files())
        if count == 1:
            return [target]
        first = PART.fullmatch(target.name)
        return [target.with_name(name) for name in part_names(first["stem"] if first else target.stem, count)]


class HubSource(Source, frozen=True):
    """A file in a repository of the hub; `path` begins in the repository."""

    repo: str
    """`<owner>/<repository>`."""
    revision: str = DEFAULT_REVISION
    """A branch, tag or commit."""

    def __str__(self) -> str:
        revision = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        return f"hf:{self.repo}/{self.path}{revision}"


class RepoSource(Source, frozen=True):
    """All files of a model in a repository of the hub, which only the hub can list; `path` is the repository's."""

    revision: str = DEFAULT_REVISION

    @property
    def repo(self) -> str:
        """`<owner>/<repository>`."""
        return self.path

    @property
    def has_one_file(self) -> bool:
        return False

    def __str__(self) -> str:
        revision = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        return f"hf:{self.path}{revision}"


class S3Source(Source, frozen=True):
    """An object; `path` is its key."""

    bucket: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.path}"


class WebSource(Source, frozen=True):
    """A file of a web server; `path` is that of the URL, as it is written there."""

    origin: str
    """`https://<host>`, with the port if there is one."""
    user: str = ""
    """`<user>:<password>`, where the server wants them."""
    query: str = ""
    """What stands behind the `?`; it may be a signature."""

    @property
    def name(self) -> str:
        return unquote(PurePosixPath(self.path).name)

    @property
    def text(self) -> str:
        scheme, _, host = self.origin.partition("://")
        user = f"{self.user}@" if self.user else ""
        return f"{scheme}://{user}{host}{self.path}" + (f"?{self.query}" if self.query else "")

    def __str__(self) -> str:
        return f"{self.origin}{self.path}" + ("?…" if self.query else "")


class FileSource(Source, frozen=True):
    """A file of this machine."""

    needs_network: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.path


def parse(text: str) -> Source:
    """`text` as a source. Raises SourceError."""
    found = _parsed(text)
    part = PART.fullmatch(found.name)
    if part is not None and int(part["number"]) != 1:
        raise SourceError(f"{found}: name the first of the model's files, …-00001-of-{part['count']}.gguf")
    return found


def _parsed(text: str) -> Source:
    if text.startswith(("http://", "https://")):
        return _on_the_web(text)
    if match := _HERE.fullmatch(text.removeprefix("file://")):
        return FileSource(str(Path(match["path"]).expanduser().absolute()))
    if ".." not in text.split("/"):
        if match := _HUB.fullmatch(text):
            return HubSource(match["path"], match["repo"], match["revision"] or DEFAULT_REVISION)
        if (match := _WHOLE.fullmatch(text)) and not match["repo"].endswith((".gguf", ".tflite")):
            return RepoSource(match["repo"], match["revision"] or DEFAULT_REVISION)
        if match := _S3.fullmatch(text):
            return S3Source(match["path"], match["bucket"])
    if _MEANT.fullmatch(text) and not text.partition("@")[0].endswith((".gguf", ".tflite")):
        raise SourceError(f"{text}: the name of a model's file ends in .gguf: {FORMS}")
    raise SourceError(f"{text}: {FORMS}")


def _on_the_web(text: str) -> WebSource:
    parts = urlsplit(text)
    user, _, host = parts.netloc.rpartition("@")
    if not host or not PurePosixPath(parts.path).name:
        raise SourceError(f"{parts.scheme}://{host}{parts.path}: no file; {FORMS}")
    return WebSource(parts.path, f"{parts.scheme}://{host}", user, parts.query)


def part_names(stem: str, count: int) -> list[str]:
    """The names of all files of a split model."""
    return [f"{stem}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
