"""Which models are known by name, and what is to be downloaded for a deployment?

`data/catalog/models.yaml` ships with Golek: where each model's file lies and how sure that is. A deployment needs no
entry: `MODEL_SOURCE` says the same for one model, and a file that is there is never downloaded.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from golek_worker.registry import entries, source
from golek_worker.registry.entries import SHA256, CatalogError, Entry
from golek_worker.registry.source import FileSource, HubSource, RepoSource, Source, SourceError
from golek_worker.settings import Settings

_TRUE = ("1", "ON", "YES", "TRUE")


class Wanted(Struct, frozen=True):
    """A file to download."""

    source: Source
    sha256: str | None = None
    """What it must have; None takes the hub's word."""
    size: str = "size not known"
    """For people: `2.5 GB`."""
    doubt: str = ""
    """Why it may not be there; empty when there is no reason to doubt."""
    named_by: str = "the catalogue"
    """Who gave `sha256`."""


def known(chosen: Settings) -> dict[str, Entry]:
    """All models that are written down, by id. Raises CatalogError."""
    return entries.known(models_file=chosen.models_file)


def wanted(chosen: Settings) -> Wanted | None:
    """What would be downloaded for `chosen`: MODEL_SOURCE, else what is written down; None when neither says.

    Raises CatalogError.
    """
    sha256 = chosen.model_sha256.lower() or None
    if sha256 is not None and re.match(SHA256, sha256) is None:
        raise CatalogError(f"MODEL_SHA256={chosen.model_sha256}: 64 hexadecimal digits")
    entry = known(chosen).get(chosen.model_name)
    found = of_entry(entry) if entry is not None else None
    if chosen.model_source:
        try:
            given = source.parse(chosen.model_source)
        except SourceError as error:
            raise CatalogError(f"MODEL_SOURCE={error}") from None
        if found is None or found.source != given:
            found = offered(given)
    if found is None:
        return None
    _check_form(chosen, found.source)
    if sha256 is not None and not found.source.has_one_file:
        raise CatalogError(f"MODEL_SHA256={sha256}: {found.source} has several files; leave it out")
    return msgspec.structs.replace(found, sha256=sha256, named_by="MODEL_SHA256") if sha256 else found


def _check_form(chosen: Settings, place: Source) -> None:
    """Raise CatalogError where the engine cannot read what lies at `place`."""
    wants = chosen.model_lies_in
    if isinstance(place, RepoSource) != (wants == "folder"):
        form = "hf:<owner>/<repository>" if wants == "folder" else "hf:<owner>/<repository>/<file>.gguf"
        is_one = "a file" if wants == "folder" else "a whole repository, as ENGINE=vllm takes it"
        raise CatalogError(f"{place} is {is_one}; ENGINE={chosen.engine} takes {form}")


def offered(place: Source) -> Wanted:
    """What a source offers of which no more is known; the size of a file of this machine is."""
    files = [Path(one.path) for one in place.files()] if isinstance(place, FileSource) else []
    if files and all(file.is_file() for file in files):
        return Wanted(place, size=shown_size(sum(file.stat().st_size for file in files)))
    return Wanted(place)


def of_entry(entry: Entry) -> Wanted | None:
    """What an entry offers; None when its file is made here."""
    place = entry.place
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
    if not isinstance(place, HubSource | RepoSource):
        return ""
    hub = environment.get("HF_HUB_OFFLINE", "")  # a variable of the hub's own client
    return f"HF_HUB_OFFLINE={hub}" if hub.upper() in _TRUE else ""


def shown_size(size: int) -> str:
    """Bytes for people, in powers of ten as disks and downloads are counted: `2.5 GB`, `292 MB`, `512 kB`."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{-(-size // 1000)} kB"
