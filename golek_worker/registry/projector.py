"""Which file are a model's eyes?

A projector (mmproj) is a GGUF file beside the model's own: MMPROJ_PATH names it, or it is called `mmproj*.gguf` and
lies in the model's folder, as those who publish such models name it.
"""

from pathlib import Path

from golek_worker.registry import source
from golek_worker.registry.catalog import Wanted, is_offline, offered
from golek_worker.registry.report import DownloadError
from golek_worker.registry.source import SourceError
from golek_worker.settings import Settings

PATTERN = "mmproj*.gguf"
ARCHITECTURE = "clip"
"""What llama.cpp calls projectors in their files."""
NONE = "none"
USUAL = "mmproj.gguf"


def find(chosen: Settings, model: Path) -> Path | None:
    """The projector of the model in this file; None where there is none, and with MMPROJ_PATH=none.

    One that MMPROJ_PATH names need not be there: the engine says so. Of several beside the model the first by name.
    """
    if chosen.mmproj_path:
        return None if chosen.mmproj_path == NONE else Path(chosen.mmproj_path)
    return min(model.parent.glob(PATTERN), default=None)


def wanted(chosen: Settings, model: Path) -> tuple[Wanted, Path] | None:
    """What is to be downloaded for the model in this file, and where to; None where its eyes are there, or it has none.

    Raises DownloadError for a source that is none, and where nothing may be downloaded.
    """
    if not chosen.mmproj_source or chosen.mmproj_path == NONE or chosen.model_lies_in != "gguf":
        return None
    target = find(chosen, model) or model.parent / USUAL
    if target.is_file():
        return None
    try:
        place = source.parse(chosen.mmproj_source)
    except SourceError as error:
        raise DownloadError(f"MMPROJ_SOURCE={error}") from None
    if forbidden := is_offline(chosen, place):
        raise DownloadError(
            f"{forbidden} forbids to download the model's eyes, {place}; put them at {target}, or set "
            "MMPROJ_PATH=none: then it reads no images"
        )
    return offered(place), target


def known(chosen: Settings, model: Path | None, *, offered: bool) -> bool:
    """Whether `chosen`'s model sees: its eyes are beside its file, or are `offered` and downloaded with it."""
    if chosen.model_lies_in != "gguf" or chosen.mmproj_path == NONE:
        return False
    eyes = find(chosen, model) if model is not None else None
    return offered or bool(chosen.mmproj_source) or (eyes is not None and eyes.is_file())


def is_one(file: Path) -> bool:
    """Whether a GGUF file's name says that it is no model, but eyes for one."""
    return file.match(PATTERN)
