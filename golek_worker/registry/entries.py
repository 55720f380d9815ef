"""Which models are written down, and where?

`data/catalog/models.yaml` ships with Golek. A user's own list (`listed`) says the same and more of models, in the form
that other services have it; what it says of a model counts, and the catalogue says the rest. Both are read with the
settings, so this module imports none.
"""

import functools
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from golek_worker.engine.names import FORMATS, EngineName
from golek_worker.registry import source
from golek_worker.registry.source import RepoSource, Source, SourceError

CATALOG = Path("data/catalog/models.yaml")
LISTS = (Path("data/catalog/model_configs.yaml"), Path("config/models.yaml"), Path("config/model_configs.yaml"))
"""Where a user's own list is looked for when MODELS_FILE is not given; the first that is there counts."""
SHA256 = r"^[0-9a-f]{64}$"
Role = Literal["primary", "fast", "coder", "thinker", "longctx"]
Positive = Annotated[int, Meta(ge=1)]
_QUANTIZATION = re.compile(r"[-.](I?Q\d\w*|BF16|F16|F32|MXFP4\w*|AWQ|GPTQ|FP8)\b", re.IGNORECASE)


class CatalogError(Exception):
    """The catalogue, a list, MODEL_SOURCE or MODEL_SHA256 is wrong; the message names which and what would be right."""


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"origin": "from"}):
    """One model of the catalogue."""

    id: str
    """The name clients ask for."""
    kind: Literal["inference", "embedding", "rerank", "vision"]
    source: str | None = None
    """What `source.parse` reads; None for a model that is made here, or cannot be had."""
    revision: str | None = None
    """Branch, tag or commit; None is `main`."""
    size_bytes: Positive | None = None
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
    projector: str | None = None
    """What `source.parse` reads: the file of its eyes, of a model that llama.cpp serves and that reads images."""
    unavailable: str | None = None
    """Why there is neither a source nor anything that makes it."""
    context_length: Positive | None = None
    """Tokens of one sequence to run it with: the default of CTX_SIZE."""
    gpu_layers: Annotated[int, Meta(ge=-1)] | None = None
    """The default of GPU_LAYERS; -1 is all."""
    engine: EngineName | None = None
    """The default of ENGINE, for a model that llama.cpp does not serve."""
    roles: list[Role] = []
    """What it is good at; the first is what it is best at."""
    architecture: str | None = None
    """As its file calls it, where the documents say so."""
    parameters: str | None = None
    """For people: `3B`."""
    dimensions: Positive | None = None
    """Numbers of a vector, of a model that makes them."""

    @property
    def place(self) -> Source | None:
        """Where its file is downloaded from. Raises SourceError."""
        if self.source is None:
            return None
        return source.parse(self.source + (f"@{self.revision}" if self.revision else ""))

    @property
    def quantization(self) -> str:
        """As the file's name says it; empty when it does not."""
        match = _QUANTIZATION.search(self.source or "")
        return match[1].upper() if match else ""


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    models: list[Entry]


class Written(Struct, frozen=True):
    """One file that was read."""

    file: Path
    entries: dict[str, Entry]
    """By id, and with all that a weaker file says of the same model."""
    gives: dict[str, dict[str, int | str]]
    """What this file itself says of the settings of each model: `{"phi-4": {"CTX_SIZE": 16384}}`."""
    remarks: list[str] = []
    """What in it has no effect; a sentence each."""


def read(project: Path = Path(), models_file: str = "") -> list[Written]:
    """What is written down, the strongest file first. Raises CatalogError naming file and key."""
    return _read(tuple(_version(file) for file in _files(project, models_file)), explicit=bool(models_file))


def known(project: Path = Path(), models_file: str = "") -> dict[str, Entry]:
    """All models by id. Raises CatalogError."""
    written = read(project, models_file)
    return written[0].entries if written else {}


def load(file: Path = CATALOG) -> dict[str, Entry]:
    """One catalogue by id; empty without a file.

    Raises CatalogError naming file and key: not YAML, an unknown key, a wrong value, a source of another form, or one
    id twice.
    """
    return _one(file, {}).entries if file.is_file() else {}


def own_list(project: Path = Path(), models_file: str = "") -> Path | None:
    """A user's own list of models; None without one. It may have presets beside them, which are not read here."""
    return (
        Path(models_file) if models_file else next((project / one for one in LISTS if (project / one).is_file()), None)
    )


def _files(project: Path, models_file: str) -> list[Path]:
    """The files to read, the weakest first."""
    own = own_list(project, models_file)
    return [file for file in (project / CATALOG, own) if file is not None and (file.is_file() or models_file)]


def _version(file: Path) -> tuple[Path, int]:
    """Changes when the file does."""
    return file, file.stat().st_mtime_ns if file.is_file() else 0


@functools.lru_cache(maxsize=8)
def _read(files: tuple[tuple[Path, int], ...], *, explicit: bool) -> list[Written]:
    """Remembered, because a table of deployments reads the same files for each."""
    written: list[Written] = []
    for number, (file, modified) in enumerate(files):
        if modified:
            written.insert(0, _one(file, written[0].entries if written else {}))
        elif explicit and number == len(files) - 1:
            raise CatalogError(f"MODELS_FILE={file}: no such file")
    return written


def _one(file: Path, weaker: dict[str, Entry]) -> Written:
    """One file, in either form: a list of entries, or models by name as other services write them."""
    import yaml

    try:
        content = yaml.load(file.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
        if isinstance(content, dict) and _is_ours(content):
            entries = {entry.id: entry for entry in _ours(file, content)}
            return Written(file, weaker | entries, {name: _settings(entry) for name, entry in entries.items()})
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file}: {error}") from None
    from golek_worker.registry import listed

    models, remarks = listed.read(file, content)
    entries = {name: listed.entry(file, name, model, weaker.get(name)) for name, model in models.items()}
    for entry in entries.values():
        _check(file, entry)
    return Written(file, weaker | entries, {name: _settings(model) for name, model in models.items()}, remarks)


def _is_ours(content: dict[str, object]) -> bool:
    """The catalogue's own form: a list of models with sources; a mapping with one key too many is told as such."""
    models = content.get("models")
    return isinstance(models, list) and any(isinstance(one, dict) and "verified" in one for one in models)


def _ours(file: Path, content: dict[str, object]) -> list[Entry]:
    """The entries of a catalogue. Raises CatalogError, msgspec.ValidationError."""
    entries = msgspec.convert(content, _File).models
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise CatalogError(f"{file}: two entries with the id {entry.id!r}")
        seen.add(entry.id)
        _check(file, entry)
    return entries


def _check(file: Path, entry: Entry) -> None:
    """What a single value's type cannot say. Raises CatalogError."""
    if sum(one is not None for one in (entry.source, entry.made_by, entry.unavailable)) != 1:
        raise CatalogError(f"{file}: {entry.id}: exactly one of `source`, `made_by` and `unavailable`")
    try:
        place = entry.place
    except SourceError as error:
        raise CatalogError(f"{file}: {entry.id}: {error}") from None
    try:
        if entry.projector is not None:
            source.parse(entry.projector)
    except SourceError as error:
        raise CatalogError(f"{file}: {entry.id}: projector: {error}") from None
    if isinstance(place, RepoSource) != (entry.engine is not None and FORMATS[entry.engine] == "folder") and place:
        form = "a repository goes with `engine: vllm`, a file with the others"
        raise CatalogError(f"{file}: {entry.id}: source {place}, engine {entry.engine or 'llamacpp'}: {form}")
    if entry.sha256 is not None and place is not None and not place.has_one_file:
        raise CatalogError(f"{file}: {entry.id}: one sha256 for several files; leave it out, the hub has one for each")


def _settings(model: "Entry | Listed") -> dict[str, int | str]:
    given: dict[str, int | str | None] = {
        "CTX_SIZE": model.context_length,
        "GPU_LAYERS": model.gpu_layers,
        "ENGINE": model.engine,
    }
    if isinstance(model, Entry):
        given["MMPROJ_SOURCE"] = model.projector
    return {key: value for key, value in given.items() if value is not None}


class Listed(Struct, frozen=True, kw_only=True):
    """One model of a user's own list, as far as the list says it."""

    file: str = ""
    """The file's own name, or its path."""
    repo: str = ""
    source: str = ""
    kind: Literal["inference", "embedding", "rerank", "vision"] | None = None
    about_gb: float | None = None
    sha256: str | None = None
    context_length: int | None = None
    gpu_layers: int | None = None
    engine: EngineName | None = None
    roles: list[Role] = []
    architecture: str | None = None
    parameters: str | None = None
