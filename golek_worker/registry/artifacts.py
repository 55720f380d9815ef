"""Which file does a model come from, how is it told from another under the same name, and what does the model do?

Tried in this order: MODEL_PATH; the one file in `<INFERENCE_MODELS_DIR>/<model>/`; the default place
`<GOLEK_DATA>/models/<model>/model.gguf`; in a container `/data/models/<model>.gguf` or the only file there. A
MODEL_PATH other than the default place stands alone: who names a file does not want another one.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from golek_wire.subjects import Kind
from golek_worker.gguf import GGUFError, read_header
from golek_worker.registry.source import PART, part_names
from golek_worker.settings import Settings

SAMPLE_BYTES = 1024 * 1024
SHARED_MODELS = Path("/data/models")
"""Where images of other servers keep their models; a volume made for them works here, too."""


class ArtifactError(Exception):
    """It cannot be told which file is meant; the message names the candidates."""


class Found(Struct, frozen=True):
    """What a search for a model's file came to."""

    path: Path | None
    """The file, of a model in several files the first; None when there is none."""
    tried: tuple[str, ...]
    """Where was looked, in order."""


def find(chosen: Settings) -> Found:
    """The file of `chosen`'s model.

    Raises ArtifactError when MODEL_PATH is a folder, when a folder holds several models, or when parts of one are
    missing.
    """
    if chosen.model_file.is_dir():
        raise ArtifactError(f"MODEL_PATH={chosen.model_file}: a folder; name the file in it")
    tried: list[str] = []
    for place in _places(chosen):
        tried.append(str(place))
        path = _only_model(place.parent) if place.name == "*.gguf" else _at(place)
        if path is not None:
            _whole(path)
            return Found(path, tuple(tried))
    return Found(None, tuple(tried))


def default_file(chosen: Settings) -> Path:
    """Where a model lies when nothing else is said, and where it is downloaded to."""
    return chosen.data / "models" / chosen.model_name / "model.gguf"


def fingerprint(path: Path) -> str:
    """SHA-256 over the file's size, first and last MiB: milliseconds, where hashing 20 GB takes a minute.

    The first MiB holds a GGUF's metadata, the last one weights. Empty when there is no such file.
    """
    if not path.is_file():
        return ""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(SAMPLE_BYTES))
        file.seek(max(0, size - SAMPLE_BYTES))
        digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def kind_of(path: Path) -> Kind:
    """What the model in this GGUF file does. Raises OSError, and GGUFError naming the file."""
    try:
        return "embedding" if read_header(path).embeds else "inference"
    except GGUFError as error:
        raise GGUFError(f"{path}: {error}") from None


def _places(chosen: Settings) -> Iterator[Path]:
    """Where to look, in order; `*.gguf` stands for the one model of its folder."""
    default = default_file(chosen)
    if chosen.model_path:
        yield chosen.model_file
        if chosen.model_file.absolute() != default.absolute():
            return
    if chosen.inference_models_dir:
        yield Path(chosen.inference_models_dir) / chosen.model_name / "*.gguf"
    if not chosen.model_path:
        yield default
    yield SHARED_MODELS / f"{chosen.model_name}.gguf"
    yield SHARED_MODELS / "*.gguf"


def _at(place: Path) -> Path | None:
    """The file at `place`, or the first of the files into which it is split."""
    if place.is_file():
        return place
    return next((file for file in sorted(place.parent.glob("*.gguf")) if _is_first_of(file, place.stem)), None)


def _is_first_of(file: Path, stem: str) -> bool:
    part = PART.fullmatch(file.name)
    return part is not None and part["stem"] == stem and int(part["number"]) == 1


def _only_model(folder: Path) -> Path | None:
    """The one model in `folder`; later parts of a model in several files are not counted."""
    models = [
        file
        for file in sorted(folder.glob("*.gguf"))
        if (part := PART.fullmatch(file.name)) is None or int(part["number"]) == 1
    ]
    if len(models) > 1:
        names = ", ".join(file.name for file in models)
        raise ArtifactError(f"{folder}: {len(models)} models ({names}); name the one that is meant with MODEL_PATH")
    return models[0] if models else None


def _whole(path: Path) -> None:
    """Raises ArtifactError when `path` is the first of several files and others are missing."""
    part = PART.fullmatch(path.name)
    if part is None:
        return
    names = part_names(part["stem"], int(part["count"]))
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise ArtifactError(f"{path}: parts are missing beside it: {', '.join(missing)}")
