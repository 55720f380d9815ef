"""Which file does a model come from, how is it told from another under the same name, and what does the model do?

Tried in this order: MODEL_PATH; the one file in `<INFERENCE_MODELS_DIR>/<model>/`; the default place
`<GOLEK_DATA>/models/<model>/model.gguf`; in a container `/data/models/<model>.gguf`. A MODEL_PATH other than the
default place stands alone: who names a file does not want another one. Only for a model of which no source is known
either, the one file in `/data/models` is taken, whatever it is called.

Where the engine wants another form of file, its ending stands for `.gguf`; where it wants a folder, that is
`<model>` itself in these places, with a `config.json`.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from golek_wire.subjects import Kind
from golek_worker import folder, gguf, headers, tflite
from golek_worker.gguf import GGUFError, Header
from golek_worker.registry import projector
from golek_worker.registry.source import PART, part_names
from golek_worker.settings import Settings

SAMPLE_BYTES = 1024 * 1024
SHARED_MODELS = Path("/data/models")
"""Where images of other servers keep their models; a volume made for them works here, too."""


class ArtifactError(Exception):
    """It cannot be told which file is meant; the message names the candidates."""


def find(chosen: Settings) -> Path | None:
    """The file of `chosen`'s model, of a model in several files the first; None when there is none.

    Raises ArtifactError when MODEL_PATH is a folder where a file is wanted or the other way round, when the file is one
    for another engine, when a folder holds several models, when parts of one are missing, or when this user may not
    look where a setting points.
    """
    for place in _places(chosen):
        try:
            path = _look_at(place, chosen)
        except PermissionError:
            if place.parent == SHARED_MODELS:  # nobody asked for it: it belongs to somebody else
                continue
            raise ArtifactError(f"{place}: this user may not look there; name another file with MODEL_PATH") from None
        if path is not None:
            _whole(path)
            _refuse_other_form(path, chosen)
            return path
    return None


def _look_at(place: Path, chosen: Settings) -> Path | None:
    if chosen.model_lies_in == "folder":
        return _folder_at(place, chosen)
    return _only_model(place.parent, place.suffix) if place.stem == "*" else _at(place)


def _refuse_other_form(path: Path, chosen: Settings) -> None:
    """Raise ArtifactError for a file that another engine runs."""
    with suppress(OSError):  # told when it is opened
        if chosen.model_lies_in == "gguf" and tflite.is_one(path):
            raise ArtifactError(f"MODEL_PATH={path}: no GGUF file but TFLite; ENGINE=litert runs it")
        if chosen.model_lies_in == "tflite" and gguf.is_one(path):
            raise ArtifactError(f"MODEL_PATH={path}: no TFLite file but GGUF; ENGINE=llamacpp runs it")


def the_only_one(chosen: Settings) -> Path | None:
    """The one model in SHARED_MODELS, whatever it is called; None when there is none, or MODEL_PATH names another file.

    Raises ArtifactError for several. A guess: for models of which nothing else is known.
    """
    if _stands_alone(chosen) or chosen.model_lies_in == "folder":
        return None
    try:
        path = _only_model(SHARED_MODELS, chosen.default_model_file.suffix)
    except PermissionError:
        return None
    if path is not None:
        _whole(path)
    return path


def places(chosen: Settings, *, guessed: bool) -> list[str]:
    """Where `find` looks, in order; `guessed` adds where `the_only_one` does."""
    one_of_all = guessed and not _stands_alone(chosen) and chosen.model_lies_in != "folder"
    last = [SHARED_MODELS / f"*{chosen.default_model_file.suffix}"] if one_of_all else []
    return [str(place) for place in [*_places(chosen), *last]]


def fingerprint(path: Path) -> str:
    """SHA-256 over the file's size, first and last MiB: milliseconds, where hashing 20 GB takes a minute.

    The first MiB holds a GGUF's metadata, the last one weights. Of a folder it is over the same of all its files, with
    their names. Empty when there is nothing.
    """
    if path.is_dir():
        told = (f"{file.relative_to(path)} {fingerprint(file)}\n" for file in folder.files(path))
        return hashlib.sha256("".join(told).encode()).hexdigest() if folder.is_model(path) else ""
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
    if header.classifies:
        return "vision"
    return "embedding" if header.embeds else "inference"


def kind_of(path: Path) -> Kind:
    """What the model in this file or folder does. Raises OSError, and GGUFError naming it."""
    try:
        return kind_in(headers.read(path))
    except GGUFError as error:
        raise GGUFError(f"{path}: {error}") from None


def _places(chosen: Settings) -> Iterator[Path]:
    """Where to look, in order; `*.gguf` stands for the one model of its folder."""
    ending = "" if chosen.model_lies_in == "folder" else chosen.default_model_file.suffix
    if chosen.model_path:
        yield chosen.model_file
        if _stands_alone(chosen):
            return
    if chosen.inference_models_dir:
        own = Path(chosen.inference_models_dir) / chosen.model_name
        yield own / f"*{ending}" if ending else own
    if not chosen.model_path:
        yield chosen.model_file
    yield SHARED_MODELS / f"{chosen.model_name}{ending}"


def _stands_alone(chosen: Settings) -> bool:
    """True when MODEL_PATH names another place than the default one."""
    return chosen.model_file.absolute() != chosen.default_model_file.absolute()


def _at(place: Path) -> Path | None:
    """The file at `place`, or the first of the files into which it is split. Raises ArtifactError for a folder."""
    if place.is_file():
        return place
    if place.is_dir():
        vllm = "; it is one for ENGINE=vllm" if folder.is_model(place) else ""
        raise ArtifactError(f"{place}: a folder; name the file in it with MODEL_PATH{vllm}")
    return next((file for file in sorted(place.parent.glob("*.gguf")) if _is_first_of(file, place.stem)), None)


def _folder_at(place: Path, chosen: Settings) -> Path | None:
    """The model's folder at `place`. Raises ArtifactError for a file, and for a folder without a model in it."""
    if place.is_file():
        raise ArtifactError(f"{place}: a file; ENGINE={chosen.engine} takes a folder, with {folder.CONFIG} in it")
    if folder.is_model(place):
        if missing := folder.missing(place):
            raise ArtifactError(f"{place}: files are missing in it: {', '.join(missing)}")
        return place
    if place == chosen.model_file and _stands_alone(chosen) and any(not one.name.startswith(".") for one in _in(place)):
        raise ArtifactError(
            f"{place}: no {folder.CONFIG} in it, so it is no model's folder; name another with MODEL_PATH"
        )
    return None


def _in(place: Path) -> list[Path]:
    return list(place.iterdir()) if place.is_dir() else []


def _is_first_of(file: Path, stem: str) -> bool:
    part = PART.fullmatch(file.name)
    return part is not None and part["stem"] == stem and int(part["number"]) == 1


def _only_model(place: Path, ending: str) -> Path | None:
    """The one model in the folder `place`; later parts of a model in several files, and eyes, are not counted."""
    models = [
        file
        for file in sorted(place.glob(f"*{ending}"))
        if not projector.is_one(file) and ((part := PART.fullmatch(file.name)) is None or int(part["number"]) == 1)
    ]
    if len(models) > 1:
        names = ", ".join(file.name for file in models)
        raise ArtifactError(f"{place}: {len(models)} models ({names}); name the one that is meant with MODEL_PATH")
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
