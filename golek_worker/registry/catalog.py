"""Which models are known by name, and what is to be downloaded for a deployment?

`data/catalog/models.yaml` ships with Golek: where each model's file lies and how sure that is. A deployment needs no
entry: `MODEL_SOURCE` says the same for one model, and a file that is there is never downloaded.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from golek_worker.registry import source
from golek_worker.registry.source import HubSource, Source, SourceError
from golek_worker.settings import Settings

CATALOG = Path("data/catalog/models.yaml")
SHA256 = r"^[0-9a-f]{64}$"
_TRUE = ("1", "ON", "YES", "TRUE")


class CatalogError(Exception):
    """The catalogue, MODEL_SOURCE or MODEL_SHA256 is wrong; the message names which and what would be right."""


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"origin": "from"}):
    """One model of the catalogue."""

    id: str
    """The name clients ask for."""
    kind: Literal["inference", "embedding"]
    source: str | None = None
    """What `source.parse` reads; None for a model that is made here."""
    revision: str | None = None
    """Branch, tag or commit; None is `main`."""
    size_bytes: Annotated[int, Meta(ge=1)] | None = None
    """Exact size, where it is known."""
    about_gb: Annotated[float, Meta(gt=0)] | None = None
    """Size in GB (10⁹ bytes) for people, where the exact one is not known."""
    sha256: Annotated[str, Meta(pattern=SHA256)] | None = None
    """What the file must have; None takes the hub's word."""
    verified: bool
    """True when several independent publications name this file with this SHA-256."""
    origin: str
    """Where the name of the repository comes from."""
    made_by: str | None = None
    """What makes the file where it cannot be downloaded: `run …`."""


class Wanted(Struct, frozen=True):
    """A file to download."""

    source: Source
    sha256: str | None = None
    """What it must have; None takes the hub's word."""
    size: str = "size not known"
    """For people: `2.5 GB`."""
    doubt: str = ""
    """Why it may not be there; empty when there is no reason to doubt."""


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    models: list[Entry]


def load(file: Path = CATALOG) -> dict[str, Entry]:
    """The catalogue by id; empty without a file.

    Raises CatalogError naming file and key: not YAML, an unknown key, a wrong value, a source of another form, or one
    id twice.
    """
    import yaml

    if not file.is_file():
        return {}
    try:
        entries = msgspec.convert(yaml.safe_load(file.read_text("utf-8")), _File).models
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file}: {error}") from None
    known: dict[str, Entry] = {}
    for entry in entries:
        if entry.id in known:
            raise CatalogError(f"{file}: two entries with the id {entry.id!r}")
        if (entry.source is None) == (entry.made_by is None):
            raise CatalogError(f"{file}: {entry.id}: exactly one of `source` and `made_by`")
        try:
            place = _source(entry)
        except SourceError as error:
            raise CatalogError(f"{file}: {entry.id}: {error}") from None
        if entry.sha256 is not None and place is not None and len(place.files()) > 1:
            raise CatalogError(
                f"{file}: {entry.id}: one sha256 for several files; leave it out, the hub has one for each"
            )
        known[entry.id] = entry
    return known


def wanted(chosen: Settings, file: Path = CATALOG) -> Wanted | None:
    """What would be downloaded for `chosen`: MODEL_SOURCE, else the catalogue's entry; None when neither says.

    Raises CatalogError.
    """
    sha256 = chosen.model_sha256.lower() or None
    if sha256 is not None and re.match(SHA256, sha256) is None:
        raise CatalogError(f"MODEL_SHA256={chosen.model_sha256}: 64 hexadecimal digits")
    entry = load(file).get(chosen.model_name)
    found = of_entry(entry) if entry is not None else None
    if chosen.model_source:
        try:
            given = source.parse(chosen.model_source)
        except SourceError as error:
            raise CatalogError(f"MODEL_SOURCE={error}") from None
        if found is None or found.source != given:
            found = Wanted(given)
    if found is None:
        return None
    if sha256 is not None and len(found.source.files()) > 1:
        raise CatalogError(f"MODEL_SHA256={sha256}: {found.source} has several files; leave it out")
    return msgspec.structs.replace(found, sha256=sha256) if sha256 else found


def of_entry(entry: Entry) -> Wanted | None:
    """What an entry offers; None when its file is made here."""
    place = _source(entry)
    if place is None:
        return None
    if entry.size_bytes is not None:
        size = shown_size(entry.size_bytes)
    else:
        size = f"about {entry.about_gb:.1f} GB" if entry.about_gb else "size not known"
    doubt = "" if entry.verified else f"nobody has checked that this file is there; named by: {entry.origin}"
    return Wanted(place, entry.sha256, size, doubt)


def is_offline(chosen: Settings, place: Source, environment: Mapping[str, str] = os.environ) -> str:
    """The setting that forbids to fetch from `place`, as `KEY=value`; empty when none does."""
    if not place.needs_network:
        return ""
    if chosen.golek_offline:
        return "GOLEK_OFFLINE=1"
    if not isinstance(place, HubSource):
        return ""
    hub = environment.get("HF_HUB_OFFLINE", "")  # a variable of the hub's own client
    return f"HF_HUB_OFFLINE={hub}" if hub.upper() in _TRUE else ""


def shown_size(size: int) -> str:
    """Bytes for people, in powers of ten as disks and downloads are counted: `2.5 GB`, `292 MB`, `512 kB`."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{-(-size // 1000)} kB"


def _source(entry: Entry) -> Source | None:
    if entry.source is None:
        return None
    return source.parse(entry.source + (f"@{entry.revision}" if entry.revision else ""))
