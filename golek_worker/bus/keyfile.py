"""What stands in a key file?

A key per line, `key_id:api_key` or `key_id:sha256:<64 hex digits>`, after it `models=a,b` and other `name=value` fields
with blanks between; `#` begins a comment. Text in, rows of the bucket GOLEK_KEYS out. A complaint names the line, never
what stands in it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from golek_wire.keys import digest
from golek_wire.subjects import ANONYMOUS

SOURCE: Final = "file"
_KEY_ID = re.compile(r"[A-Za-z0-9_=/-]{1,128}")
_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})")
_FIELD = re.compile(r"([a-z][a-z0-9_]*)=(\S+)")
_OURS: Final = ("key_id", "source")


class KeyFileError(RuntimeError):
    """The key file cannot be used; each line of the message names a line of it and what is wrong there."""


def read(file: Path) -> dict[str, dict[str, Any]]:
    """The `rows` of a file. Raises KeyFileError, also for one that cannot be read; FileNotFoundError without it."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"GOLEK_KEY_FILE={file}: cannot be read ({error})") from None
    return rows(text, str(file))


def rows(text: str, name: str) -> dict[str, dict[str, Any]]:
    """The keys in `text` by their digest, each as its row. Raises KeyFileError with all mistakes; `name` is the file's.

    Two keys may have one key_id, so that a new one can be handed out before the old one goes.
    """
    found: dict[str, dict[str, Any]] = {}
    mistakes = []
    for number, line in _lines(text):
        try:
            key, row = _row(line)
        except ValueError as error:
            mistakes.append(f"{name}:{number}: {error}")
            continue
        if found.setdefault(key, row) != row:
            mistakes.append(f"{name}:{number}: this key stands in another line with other fields")
    if mistakes:
        raise KeyFileError("\n".join(mistakes))
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        said = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
        if said:
            yield number, said


def _row(line: str) -> tuple[str, dict[str, Any]]:
    """The digest and the row of one line. Raises ValueError saying what is wrong."""
    first, *rest = line.split()
    key_id, colon, key = first.partition(":")
    if not colon or not key:
        raise ValueError("not of the form key_id:api_key")
    if not _KEY_ID.fullmatch(key_id) or key_id == ANONYMOUS:
        raise ValueError("a key_id has at most 128 of A-Z a-z 0-9 _ = / -, and is not `anonymous`")
    row: dict[str, Any] = {"key_id": key_id, "source": SOURCE}
    for text in rest:
        named = _FIELD.fullmatch(text)
        if named is None or named[1] in _OURS:
            raise ValueError("after the key stand fields of the form name=value, as models=a,b")
        row[named[1]] = [one for one in named[2].split(",") if one] if named[1] == "models" else named[2]
    if key.startswith("sha256:"):
        hashed = _HASHED.fullmatch(key)
        if hashed is None:
            raise ValueError("after sha256: stand 64 hexadecimal digits")
        return hashed[1].lower(), row
    return digest(key), row
