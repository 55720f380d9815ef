"""Where on the hub does a model's file lie?

`hf:<owner>/<repository>/<file>`, with `@<revision>` at the end for another than `main`. The file may lie in a folder of
the repository.
"""

import re

from msgspec import Struct

DEFAULT_REVISION = "main"
_FORM = re.compile(r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)/(?P<file>[^@\s]+\.gguf)(@(?P<revision>[^@\s]+))?")
_PART = re.compile(r".*-\d{5}-of-\d{5}\.gguf")


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
    if _PART.fullmatch(match["file"]):
        raise SourceError(
            f"{text}: one part of a model in several files, which are not downloaded; "
            "put all parts into one folder and name the first with MODEL_PATH"
        )
    return Source(match["repo"], match["file"], match["revision"] or DEFAULT_REVISION)
