"""Is a model's file there, can it be downloaded, or what is to be done?

A file that is there is never downloaded; a missing one is, when its source is known and nothing forbids it. Where none
is known, the only model of a shared folder is taken.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from golek_worker.registry import artifacts, catalog, entries
from golek_worker.registry.artifacts import ArtifactError
from golek_worker.registry.catalog import Wanted
from golek_worker.registry.entries import CatalogError
from golek_worker.settings import Settings


class MissingModelError(Exception):
    """There is no file for the model and none can be had; the message names what was tried and the ways out."""


def resolve(chosen: Settings, environment: Mapping[str, str] = os.environ) -> Path | Wanted:
    """The model's file, or what to download to `chosen.model_file`.

    Raises MissingModelError: several files or parts of one, a wrong source, no source, or downloads forbidden.
    """
    try:
        if (found := artifacts.find(chosen)) is not None:
            if chosen.model_source or chosen.model_sha256:
                catalog.wanted(chosen)  # a wrong one is a mistake though nothing is downloaded now
            return found
        wanted = catalog.wanted(chosen)
        if wanted is None:
            return _without_source(chosen)
    except (ArtifactError, CatalogError) as error:
        raise MissingModelError(str(error)) from None
    if forbidden := catalog.is_offline(chosen, wanted.source, environment):
        cause = f"{forbidden} forbids to download {wanted.source}"
        raise missing(chosen, cause, f"allow the download with {forbidden.partition('=')[0]}=0")
    return wanted


def missing(chosen: Settings, cause: str, last_way: str, *, guessed: bool = False) -> MissingModelError:
    """The error for a model that is not there: what was tried, why it is not downloaded, and the three ways out."""
    others = [place for place in artifacts.places(chosen, guessed=guessed) if place != str(chosen.model_file)]
    what = "folder" if chosen.model_lies_in == "folder" else "file"
    also = f", nor at {', '.join(others)}" if others else ""
    return MissingModelError(
        f"MODEL_PATH={chosen.model_file}: no such {what}{also}; {cause}. "
        f"Put the {what} there, name another with MODEL_PATH, or {last_way}"
    )


def _without_source(chosen: Settings) -> Path:
    """The file of a model that cannot be downloaded: a guess, unless the catalogue knows how the model is made.

    Raises MissingModelError, ArtifactError.
    """
    file = "" if chosen.model_lies_in == "folder" else "/<file>"
    way = f"say where it comes from with MODEL_SOURCE=hf:<owner>/<repository>{file}"
    entry = catalog.known(chosen).get(chosen.model_name)
    if entry is not None and entry.made_by is not None:
        raise missing(chosen, "it is not downloaded but made", entry.made_by)
    if entry is not None and entry.unavailable is not None:
        raise missing(chosen, entry.unavailable, way)
    if (only := artifacts.the_only_one(chosen)) is not None:
        return only
    cause = f"no source is known: MODEL_SOURCE is empty, and {entries.CATALOG} has no {chosen.model_name!r}"
    raise missing(chosen, cause, way, guessed=True)
