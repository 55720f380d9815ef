"""Which models are known here, whose files lie here, and who uses them?

A model is known by its name: from the catalogue or a list, from a deployment, or from its folder. Its file is looked
for where its deployment would look, or where one named like the model would.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from golek_worker import folder, headers, settings
from golek_worker.engine.names import EngineName
from golek_worker.gguf import GGUFError, Header
from golek_worker.machine import runfile
from golek_worker.machine.lifecycle import ENVS
from golek_worker.machine.runfile import RunState
from golek_worker.registry import artifacts, entries, origin, projector, remote
from golek_worker.registry.artifacts import ArtifactError
from golek_worker.registry.catalog import is_offline, of_entry, shown_size, wanted
from golek_worker.registry.download import alone, begun
from golek_worker.registry.entries import CatalogError, Entry
from golek_worker.registry.origin import Origin
from golek_worker.registry.source import PART, RepoSource, Source, part_names
from golek_worker.settings import Settings

FILES: Final = ("*.gguf", "*.tflite", folder.CONFIG)
"""What makes a folder below `data/models` that of a model."""
Tell = Callable[[int, int], None]
"""Hears how many bytes were read, and of how many."""


class ModelError(Exception):
    """What was asked of a model's file cannot be done; the message says why and what would help."""


class Model(Struct, frozen=True, kw_only=True):
    """What is known of one model, here and now."""

    name: str
    kind: str = ""
    sees: bool = False
    """It writes about images: it has a projector, or one is downloaded with it."""
    state: str
    """`present`, `begun`, `missing`, `broken`, `to be made` or `unavailable`."""
    size_bytes: int | None = None
    """Of its files here, or what the catalogue says."""
    size: str = ""
    """The same for people."""
    quantization: str = ""
    context_length: int = 0
    """The longest text it was trained for; of a file that is not here, what the catalogue runs it with."""
    parameters: str = ""
    engine: str = ""
    """What serves it."""
    roles: list[str] = []
    where: str = ""
    """Its file, or its source."""
    used_by: list[str] = []
    """Workers of this machine that run with it, as `<id> (<state>)`."""
    problem: str = ""


class Found(Struct, frozen=True):
    """A model's settings, entry, files and what its file says of itself."""

    name: str
    chosen: Settings
    entry: Entry | None
    files: list[Path]
    """All its files, or none."""
    header: Header | None
    problem: str = ""
    """Why its file cannot be used."""

    @property
    def is_known(self) -> bool:
        """Whether anything at all is known of a model of this name."""
        return bool(self.entry or self.files or self.problem or _is_written(self.name) or begun(self.chosen.model_file))

    @property
    def place(self) -> Path | None:
        """Its file, of several the first, or its folder."""
        if not self.files:
            return None
        return self.files[0].parent if self.chosen.model_lies_in == "folder" else self.files[0]

    @property
    def size(self) -> int:
        return sum(file.stat().st_size for file in self.files)


def names() -> list[str]:
    """All models that are known here. Raises CatalogError."""
    known = set(entries.known(models_file=settings.shared("MODELS_FILE") or ""))
    for chosen in _deployments():
        known.add(chosen.model_name)
    plain = _plain("any")
    for place in {plain.data / "models", Path(plain.inference_models_dir or plain.data / "models")}:
        known.update(file.parent.name for name in FILES for file in place.glob(f"*/{name}"))
    return sorted(known)


def unknown(name: str) -> str:
    """The sentence about a name that is not among `names`. Raises CatalogError."""
    near = difflib.get_close_matches(name, known := names(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name}: unknown here; {hint}known are {', '.join(known)}"


def remarks() -> list[str]:
    """What in a user's own list has no effect; a sentence each. Raises CatalogError."""
    return [remark for one in entries.read(models_file=settings.shared("MODELS_FILE") or "") for remark in one.remarks]


def find(name: str) -> Found:
    """What is known of `name`, a deployment or a model. Raises CatalogError."""
    chosen = _settings(name)
    entry = entries.known(models_file=chosen.models_file).get(chosen.model_name)
    try:
        first = artifacts.find(chosen)
    except ArtifactError as error:
        return Found(name, chosen, entry, [], None, str(error))
    if first is None:
        return Found(name, chosen, entry, [], None)
    files = files_of(first)
    try:
        return Found(name, chosen, entry, files, headers.read(first))
    except (GGUFError, OSError) as error:
        return Found(name, chosen, entry, files, None, f"{first}: {error}")


def describe(found: Found) -> Model:
    """`found` as a row of a table."""
    header, entry = found.header, found.entry
    place = _place(found)
    return Model(
        name=found.name,
        state=_state(found),
        kind=_kind(header, entry),
        sees=projector.known(found.chosen, found.place, offered=bool(entry and entry.projector)),
        roles=list(entry.roles) if entry else [],
        used_by=[f"{state.worker_id} ({state.state})" for state in users(found)],
        problem=found.problem,
        where=str(found.place) if found.files else str(place or (entry.made_by if entry else None) or ""),
        parameters=_count(header.parameters) if header else (entry.parameters or "" if entry else ""),
        engine=found.chosen.engine if found.is_known else "",
        quantization=header.quantization if header else (entry.quantization if entry else ""),
        context_length=header.context_length if header else (entry.context_length or 0 if entry else 0),
        size_bytes=found.size if found.files else (entry.size_bytes if entry else None),
        size=_shown(found),
    )


def users(found: Found) -> list[RunState]:
    """Workers of this machine whose model lies in the same file."""
    using = []
    for state in runfile.read_all(found.chosen.data):
        if not runfile.alive(state):
            continue
        other = _settings(state.deployment)
        with contextlib.suppress(ArtifactError):
            path = artifacts.find(other) if other.model_lies_in != "none" else None
            mine = [*found.files, *([found.place] if found.place is not None else [])]
            if path is not None and any(path.exists() and path.samefile(file) for file in mine):
                using.append(state)
    return using


def removable(found: Found) -> list[Path]:
    """What `remove` would delete: the files, where they came from, and what was begun.

    Raises ModelError when there is nothing, or when a worker uses it.
    """
    if using := users(found):
        who = ", ".join(f"{state.worker_id} (pid {state.pid}, {state.state})" for state in using)
        stop = f"make stop WORKER={using[0].deployment}"
        raise ModelError(f"{found.files[0]}: in use by {who}; stop it first: {stop}")
    noted = [origin.beside(file) for file in found.files]
    doomed = [*found.files, *(file for file in noted if file.is_file()), *begun(found.chosen.model_file)]
    if not doomed:
        raise ModelError(f"{found.name}: there is no file of it here" + (f"; {found.problem}" if found.problem else ""))
    return doomed


def remove(found: Found) -> int:
    """Delete what is `removable`; the bytes that are free now.

    Raises ModelError, also while it is being downloaded.
    """
    doomed = removable(found)
    place = found.chosen.model_file
    with alone(place, _busy) if place.parent.is_dir() else contextlib.nullcontext():
        freed = frees(doomed)
        for file in doomed:
            file.unlink(missing_ok=True)
        if found.chosen.model_lies_in == "folder":
            _remove_empty(place)
    return freed


def _remove_empty(folder: Path) -> None:
    """Delete a folder in which nothing is left; what somebody else put there stays."""
    for one in (*(one for one in folder.glob("*") if one.is_dir()), folder):
        with contextlib.suppress(OSError):
            one.rmdir()


def frees(files: list[Path]) -> int:
    """Bytes on the disk that nobody has a name for once `files` are gone: a file with another name stays there."""
    looked = [file.lstat() for file in files]
    return sum(one.st_size for one in looked if one.st_nlink == 1)


def verify(found: Found, tell: Tell) -> list[str]:
    """Hash each file and hold it against what it must be; a sentence for each file.

    Raises ModelError when there is no file, or one is wrong; DownloadError when its source cannot be asked.
    """
    if not found.files:
        raise ModelError(f"{found.name}: there is no file of it here" + (f"; {found.problem}" if found.problem else ""))
    sentences, wrong = [], []
    wants = _hashes(found)
    for file, (must_be, who) in zip(found.files, wants, strict=True):
        size = file.stat().st_size
        actual = origin.hash_of(file, lambda done, size=size: tell(done, size))  # type: ignore[misc]
        if must_be is None:
            sentences.append(f"{file}: sha256 {actual}; nobody says what it must be")
        elif must_be == actual:
            sentences.append(f"{file}: sha256 {actual}, as {who} says")
        else:
            wrong.append(f"{file}: sha256 {actual}, but {who} says {must_be}")
    if wrong:
        again = f"`golek models pull {found.name} --force` downloads it again"
        raise ModelError("\n".join([*wrong, f"the file is damaged, or another one; {again}"]))
    return sentences


def files_of(first: Path) -> list[Path]:
    """All files of the model whose first, or only, file this is; or of the folder that it is."""
    if first.is_dir():
        return folder.files(first)
    part = PART.fullmatch(first.name)
    return [first.with_name(name) for name in part_names(part["stem"], int(part["count"]))] if part else [first]


def _hashes(found: Found) -> list[tuple[str | None, str]]:
    """What each file must have and who says so: the settings, the catalogue, its download, its source."""
    chosen, entry = found.chosen, found.entry
    if chosen.model_sha256 and len(found.files) == 1:
        return [(chosen.model_sha256.lower(), "MODEL_SHA256")]
    notes = [origin.read(file) for file in found.files]
    place = _place(found)
    if entry is not None and entry.sha256 and not chosen.model_source and _is_of(notes[0], place):
        return [(entry.sha256, "the catalogue")]
    if all(note is not None for note in notes):
        return [(note.sha256, f"its download from {note.source}") for note in notes if note is not None]
    unlike = place is not None and (isinstance(place, RepoSource) or len(place.files()) != len(found.files))
    if place is None or is_offline(chosen, place) or unlike:
        return [(None, "") for _ in found.files]
    return [(remote.describe(one).sha256, str(one)) for one in place.files()]


def _is_of(note: Origin | None, place: Source | None) -> bool:
    """Whether a file may be held against what is known of `place`: one that came from elsewhere may not."""
    return note is None or note.source == str(place)


def _place(found: Found) -> Source | None:
    with contextlib.suppress(CatalogError):
        known = wanted(found.chosen)
        return known.source if known is not None else None
    return None


def _state(found: Found) -> str:
    if found.problem:
        return "broken"
    if found.files:
        return "present"
    if begun(found.chosen.model_file):
        return "begun"
    if found.entry is not None and found.entry.made_by:
        return "to be made"
    return "unavailable" if _place(found) is None else "missing"


def _shown(found: Found) -> str:
    if found.files:
        return shown_size(found.size)
    offered = of_entry(found.entry) if found.entry is not None else None
    size = offered.size if offered is not None else ""
    have = sum(part.stat().st_size for part in begun(found.chosen.model_file))
    return f"{shown_size(have)} of {size}" if have else size.replace("size not known", "")


def _kind(header: Header | None, entry: Entry | None) -> str:
    if header is not None:
        return artifacts.kind_in(header)
    return entry.kind if entry is not None else ""


def _count(parameters: int) -> str:
    """For people: `7.6B`, `268M`."""
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"


def _deployments() -> Iterator[Settings]:
    """Those that can be read and need a file."""
    for file in sorted(ENVS.glob("worker.*.env")):
        loaded, _ = settings.read(file) if file.name != "worker.example.env" else (None, [])
        if loaded is not None and loaded.model_lies_in != "none":
            yield loaded


def _settings(name: str) -> Settings:
    """Those of the deployment `name`, else of the first with a model of this name, else of one with no more than it."""
    own, _ = settings.read(settings.env_file(name)) if settings.env_file(name).is_file() else (None, [])
    return own or next((chosen for chosen in _deployments() if chosen.model_name == name), _plain(name))


def _is_written(name: str) -> bool:
    """Whether there is a deployment of this name, or of a model of it."""
    return settings.env_file(name).is_file() or any(chosen.model_name == name for chosen in _deployments())


def _plain(name: str) -> Settings:
    data = Path(settings.shared("GOLEK_DATA") or "data")
    models_dir = settings.shared("INFERENCE_MODELS_DIR") or ""
    models_file = settings.shared("MODELS_FILE") or ""
    runs_with: dict[str, Any] = {}
    for written in reversed(entries.read(models_file=models_file)):
        runs_with |= written.gives.get(name, {})
    return Settings(
        model_name=name,
        engine=runs_with.get("ENGINE") or _engine_of(data / "models" / name),
        ctx_size=runs_with.get("CTX_SIZE", 0),
        gpu_layers=runs_with.get("GPU_LAYERS", -1),
        mmproj_source=runs_with.get("MMPROJ_SOURCE", ""),
        golek_data=str(data),
        inference_models_dir=str(settings.shipped(models_dir, data)) if models_dir else "",
        models_file=models_file,
        golek_offline=(settings.shared("GOLEK_OFFLINE") or "").lower() in ("1", "true", "yes", "on"),
    )


def _engine_of(place: Path) -> EngineName:
    """What serves what lies in a model's folder."""
    has = {name: any(place.glob(name)) for name in FILES}
    if has["*.gguf"]:
        return "llamacpp"
    return "vllm" if has[folder.CONFIG] else "litert" if has["*.tflite"] else "llamacpp"


def _busy() -> None:
    """Raises ModelError: who downloads it has the lock."""
    raise ModelError("it is being downloaded; interrupt that first")
