"""Which file does a model come from, how is it told from another under the same name, and what does the model do?

Tried in this order: MODEL_PATH; the one file in `<INFERENCE_MODELS_DIR>/<model>/`; the default place
`<GOLEK_DATA>/models/<model>/model.gguf`; in a container `/data/models/<model>.gguf`. A MODEL_PATH other than the
default place stands alone: who names a file does not want another one. Only for a model of which no source is known
either, the one file in `/data/models` is taken, whatever it is called.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from golek_wire.subjects import Kind
from golek_worker.gguf import GGUFError, Header, read_header
from golek_worker.registry.source import PART, part_names
from golek_worker.settings import Settings

SAMPLE_BYTES = 1024 * 1024
SHARED_MODELS = Path("/data/models")
"""Where images of other servers keep their models; a volume made for them works here, too."""


class ArtifactError(Exception):
    """It cannot be told which file is meant; the message names the candidates."""


def find(chosen: Settings) -> Path | None:
    """The file of `chosen`'s model, of a model in several files the first; None when there is none.

    Raises ArtifactError when MODEL_PATH is a folder, when a folder holds several models, when parts of one are missing,
    or when this user may not look where a setting points.
    """
    for place in _places(chosen):
        try:
            path = _only_model(place.parent) if place.name == "*.gguf" else _at(place)
        except PermissionError:
            if place.parent == SHARED_MODELS:  # nobody asked for it: it belongs to somebody else
                continue
            raise ArtifactError(f"{place}: this user may not look there; name another file with MODEL_PATH") from None
        if path is not None:
            _whole(path)
            return path
    return None


def the_only_one(chosen: Settings) -> Path | None:
    """The one model in SHARED_MODELS, whatever it is called; None when there is none, or MODEL_PATH names another file.

    Raises ArtifactError for several. A guess: for models of which nothing else is known.
    """
    if _stands_alone(chosen):
        return None
    try:
        path = _only_model(SHARED_MODELS)
    except PermissionError:
        return None
    if path is not None:
        _whole(path)
    return path


def places(chosen: Settings, *, guessed: bool) -> list[str]:
    """Where `find` looks, in order; `guessed` adds where `the_only_one` does."""
    last = [SHARED_MODELS / "*.gguf"] if guessed and not _stands_alone(chosen) else []
    return [str(place) for place in [*_places(chosen), *last]]


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


def kind_in(header: Header) -> Kind:
    """What the model with this header does."""
    if header.ranks:
        return "rerank"
    return "embedding" if header.embeds else "inference"


def kind_of(path: Path) -> Kind:
    """What the model in this GGUF file does. Raises OSError, and GGUFError naming the file."""
    try:
        return kind_in(read_header(path))
    except GGUFError as error:
        raise GGUFError(f"{path}: {error}") from None


def _places(chosen: Settings) -> Iterator[Path]:
    """Where to look, in order; `*.gguf` stands for the one model of its folder."""
    if chosen.model_path:
        yield chosen.model_file
        if _stands_alone(chosen):
            return
    if chosen.inference_models_dir:
        yield Path(chosen.inference_models_dir) / chosen.model_name / "*.gguf"
    if not chosen.model_path:
        yield chosen.model_file
    yield SHARED_MODELS / f"{chosen.model_name}.gguf"


def _stands_alone(chosen: Settings) -> bool:
    """True when MODEL_PATH names another place than the default one."""
    return chosen.model_file.absolute() != chosen.default_model_file.absolute()


def _at(place: Path) -> Path | None:
    """The file at `place`, or the first of the files into which it is split. Raises ArtifactError for a folder."""
    if place.is_file():
        return place
    if place.is_dir():
        raise ArtifactError(f"{place}: a folder; name the file in it with MODEL_PATH")
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
