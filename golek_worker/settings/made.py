"""What is a deployment that has no env file?

It is there when environment or `.env` name its model, by MODEL_NAME or by its file, when a model of its name is written
down in the catalogue or a list, and when one lies in `<GOLEK_DATA>/models/<name>`. So a line of `.env` is a service,
and a model of the catalogue, or one that somebody put there, starts as it is.
"""

import re
from pathlib import Path
from typing import Final

from golek_program.settings.sources import Found, Source
from golek_worker.engine.names import FORMATS, USUAL_FILES

NAME_LIMIT: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_PART: Final = re.compile(r"-\d{5}-of-\d{5}$")
_SAYS_NOTHING: Final = "model"
"""A file of this name is called as its folder."""


def source(name: str, found: Found, project: Path) -> Source | None:
    """What a file of the deployment `name` would say; None when nothing is known of it.

    `found` is what environment and `.env` say.
    """
    if not may_name_a_file(name):
        return None
    if name in (named(found), safe(named(found))):
        return Source("no env file", {"MODEL_NAME": named(found)})
    from golek_worker.registry import entries  # its package needs the settings
    from golek_worker.registry.entries import CatalogError

    lists = found.of("MODELS_FILE")
    try:
        written = entries.known(project, lists[0].value if lists else "")
    except CatalogError:
        return None
    if name not in written:
        return _lying_there(name, found, project)
    own = {"MODEL_NAME": name}
    if found.of("MODEL_PATH"):  # which is another model's
        own["MODEL_PATH"] = f"data/models/{name}/model.gguf"
    return Source("the catalogue", own)


def _lying_there(name: str, found: Found, project: Path) -> Source | None:
    """What would be said of the model in the folder of its own; None where there is none."""
    data = found.of("GOLEK_DATA")
    folder = project / (data[0].value if data and data[0].value else "data") / "models" / name
    for engine, form in FORMATS.items():
        file = folder / USUAL_FILES[form]
        if form != "none" and file.is_file():
            place = file.parent if form == "folder" else file
            return Source(f"{folder}/", {"MODEL_NAME": name, "ENGINE": engine, "MODEL_PATH": str(place)})
    return None


def named(found: Found) -> str:
    """The model that is named for all deployments, by MODEL_NAME or else by its file; empty when none is."""
    if name := found.of("MODEL_NAME"):
        return name[0].value
    path = found.of("MODEL_PATH")
    return named_by(path[0].value) if path else ""


def named_by(model_path: str) -> str:
    """What a model is called of which nothing is known but its file: as its folder for `model.gguf` and `model.tflite`,
    else as the file.

    Empty for a path that names nothing.
    """
    path = Path(model_path)
    stem = _PART.sub("", path.name.removesuffix(".gguf").removesuffix(".tflite"))
    if stem == _SAYS_NOTHING and path.parent.name:
        stem = path.parent.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")


def safe(model: str) -> str:
    """The name of the deployment of a model that is called so."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", model)


def may_name_a_file(deployment: str) -> bool:
    """Whether a deployment of this name can have an env file, a run file and a place in a worker's id."""
    return len(deployment) <= NAME_LIMIT and _NAME.fullmatch(deployment) is not None
