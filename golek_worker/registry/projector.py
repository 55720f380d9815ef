"""Which file are a model's eyes?

A projector (mmproj) is a GGUF file beside the model's own: MMPROJ_PATH names it, or it is called `mmproj*.gguf` and
lies in the model's folder, as those who publish such models name it.
"""

from pathlib import Path

from golek_worker.settings import Settings

PATTERN = "mmproj*.gguf"
NONE = "none"


def find(chosen: Settings, model: Path) -> Path | None:
    """The projector of the model in this file; None where there is none, and with MMPROJ_PATH=none.

    One that MMPROJ_PATH names need not be there: the engine says so. Of several beside the model the first by name.
    """
    if chosen.mmproj_path:
        return None if chosen.mmproj_path == NONE else Path(chosen.mmproj_path)
    return min(model.parent.glob(PATTERN), default=None)


def is_one(file: Path) -> bool:
    """Whether a GGUF file's name says that it is no model, but eyes for one."""
    return file.match(PATTERN)
