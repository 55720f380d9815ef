"""Where on the hub does a model's file lie?

`hf:<owner>/<repository>/<file>`, with `@<revision>` at the end for another than `main`. The file may lie in a folder of
the repository. A model in several files is named by its first, `…-00001-of-00003.gguf`.
"""

import re
from pathlib import Path

from msgspec import Struct

DEFAULT_REVISION = "main"
_FORM = re.compile(r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)/(?P<file>[^@\s]+\.gguf)(@(?P<revision>[^@\s]+))?")
PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
"""How llama.cpp names the files of a model that is split."""


class SourceError(Exception):
    """What was given names no file that can be downloaded; the message says what would."""


class Source(Struct, frozen=True):
    """One file in one repository."""

    repo: str
    """`<owner>/<repository>`."""
    file: str
    """Its path in the repository."""
    revision: str = DEFAULT_REVISION
    """A branch, tag or commit."""

    def files(self) -> list["Source"]:
        """All files of the model; itself alone unless it is split."""
        part = PART.fullmatch(self.file)
        if part is None:
            return [self]
        return [Source(self.repo, name, self.revision) for name in part_names(part["stem"], int(part["count"]))]

    def targets(self, target: Path) -> list[Path]:
        """Where the files go when the model shall lie at `target`: `model.gguf`, or `model-00001-of-00003.gguf`, …"""
        count = len(self.files())
        if count == 1:
            return [target]
        first = PART.fullmatch(target.name)
        return [target.with_name(name) for name in part_names(first["stem"] if first else target.stem, count)]

    def __str__(self) -> str:
        revision = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        return f"hf:{self.repo}/{self.file}{revision}"


def parse(text: str) -> Source:
    """`text` as a source. Raises SourceError."""
    match = _FORM.fullmatch(text)
    if match is None or ".." in text.split("/"):
        raise SourceError(
            f"{text}: hf:<owner>/<repository>/<file>.gguf, with @<revision> at the end for another than main"
        )
    part = PART.fullmatch(match["file"])
    if part is not None and int(part["number"]) != 1:
        raise SourceError(f"{text}: name the first of the model's files, …-00001-of-{part['count']}.gguf")
    return Source(match["repo"], match["file"], match["revision"] or DEFAULT_REVISION)


def part_names(stem: str, count: int) -> list[str]:
    """The names of all files of a split model."""
    return [f"{stem}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
