"""What stands in a key file?

A key per line, `key_id:api_key` or `key_id:sha256:<64 hex digits>`, after it fields `name=value` with blanks between;
`#` begins a comment. `FIELDS` says which there are. Text in, rows of the bucket GOLEK_KEYS out. A complaint names the
line and the field, never the key.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from golek_wire.keys import LARGEST, Budget, Key, digest, parse_budget
from golek_wire.subjects import ANONYMOUS

SOURCE: Final = "file"
KEY_ID: Final = "a key_id has at most 128 of A-Z a-z 0-9 _ = / -, and is not `anonymous`"
_KEY_ID = re.compile(r"[A-Za-z0-9_=/-]{1,128}")
_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})")
_FIELD = re.compile(r"([a-z][a-z0-9_]*)=(\S+)")
_OURS: Final = ("key_id", "source")


class KeyFileError(RuntimeError):
    """The key file cannot be used; each line of the message names a line of it and what is wrong there."""


class Found(Struct, frozen=True):
    """What a key file says."""

    keys: dict[str, Key] = field(default_factory=dict[str, Key])
    """By their digest."""
    remarks: list[str] = field(default_factory=list[str])
    """A sentence for each field that nobody knows: it is skipped, and may be a mistyped limit."""


def read(file: Path) -> Found:
    """What `file` says. Raises KeyFileError, also for one that cannot be read; FileNotFoundError without it."""
    try:
        text = file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(error.errno, "no such file", str(file)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"GOLEK_KEY_FILE={file}: cannot be read ({error})") from None
    return rows(text, str(file))


def rows(text: str, name: str) -> Found:
    """The keys in `text`. Raises KeyFileError with all mistakes; `name` is the file's.

    Two keys may have one key_id, so that a new one can be handed out before the old one goes.
    """
    found = Found()
    mistakes = []
    for number, line in _lines(text):
        try:
            key, row, unknown = _row(line)
        except ValueError as error:
            mistakes.append(f"{name}:{number}: {error}")
            continue
        found.remarks.extend(
            f"{name}:{number}: nobody knows the field {one}, which is skipped; there are {', '.join(FIELDS)}"
            for one in unknown
        )
        if found.keys.setdefault(key, row) != row:
            mistakes.append(f"{name}:{number}: this key stands in another line with other fields")
    if mistakes:
        raise KeyFileError("\n".join(mistakes))
    return found


def key_id_of(line: str) -> str:
    """Whose key stands in a line of the file; empty for a comment."""
    said = next((said for _, said in _lines(line)), "")
    return said.partition(":")[0]


def is_key_id(text: str) -> bool:
    """Whether `text` can name who holds a key."""
    return _KEY_ID.fullmatch(text) is not None and text != ANONYMOUS


def fields(texts: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What fields `name=value` say, as those of `Key`, and the names that nobody knows. Raises ValueError."""
    given: dict[str, Any] = {}
    unknown = []
    for text in texts:
        named = _FIELD.fullmatch(text)
        if named is None or named[1] in _OURS:
            raise ValueError("after the key stand fields of the form name=value, as models=a,b")
        name, value = named[1], named[2]
        if name in given:
            raise ValueError(f"{name}: stands twice")
        if name not in FIELDS:
            unknown.append(name)
            continue
        given[name] = FIELDS[name](name, value)
    return given, unknown


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        said = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
        if said:
            yield number, said


def _row(line: str) -> tuple[str, Key, list[str]]:
    """The digest, the row, and the unknown fields of one line. Raises ValueError saying what is wrong."""
    first, *rest = line.split()
    key_id, colon, key = first.partition(":")
    if not colon or not key:
        raise ValueError("not of the form key_id:api_key")
    if not is_key_id(key_id):
        raise ValueError(KEY_ID)
    given, unknown = fields(rest)
    row = Key(key_id, source=SOURCE, **given)
    if key.startswith("sha256:"):
        hashed = _HASHED.fullmatch(key)
        if hashed is None:
            raise ValueError("after sha256: stand 64 hexadecimal digits")
        return hashed[1].lower(), row, unknown
    return digest(key), row, unknown


def _models(name: str, value: str) -> list[str]:
    found = [one for one in value.split(",") if one]
    if not found:
        raise ValueError(f"{name}={value[:32]}: names of models with commas, as a,b; without the field all are meant")
    return found


def _count(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:20]) <= LARGEST):
        raise ValueError(f"{name}={value[:32]}: a whole number from 1 to {LARGEST}")
    return int(value)


def _budget(name: str, value: str) -> Budget:
    try:
        return parse_budget(value)
    except ValueError as error:
        raise ValueError(f"{name}={value[:32]}: {error}") from None


def _moment(name: str, value: str) -> str:
    """A day, which is its first moment in UTC, or a moment in RFC 3339; as RFC 3339 in UTC."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            f"{name}={value[:32]}: a day as 2026-12-31, from whose first moment in UTC nobody knows the key, or a "
            "moment as 2026-12-31T18:00:00Z"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _cache(name: str, value: str) -> str:
    if value not in ("off", "exact", "semantic"):
        raise ValueError(f"{name}={value[:32]}: off, exact or semantic; without it the model's GOLEK_CACHE counts")
    return value


FIELDS: Final[dict[str, Callable[[str, str], Any]]] = {
    "models": _models,
    "rpm": _count,
    "tpm": _count,
    "concurrent": _count,
    "budget": _budget,
    "cache": _cache,
    "expires": _moment,
}
"""The fields of a line, and how each is read."""
