"""Which presets are written down?

`data/catalog/presets.yaml` ships with Golek; there an unknown key is an error. Files of a user may have the forms that
other services write (`foreign`), so there it is a problem that is told. Which models there are is not known here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from msgspec import Struct, field

from golek_wire.orchestration import MODELS_LIMIT, STAGES_LIMIT, Mode, Preset
from golek_wire.routing import AUTO
from golek_worker.orchestration import foreign
from golek_worker.orchestration.base import COMPRESSOR, CRITIC, GENERATOR, RECONCILER, SYNTHESIZER

PRESETS: Final = Path("data/catalog/presets.yaml")
OWN: Final = Path("config/presets.yaml")
"""Where a user's presets are looked for when PRESETS_FILE is not given."""
MINIMUM: Final[Mapping[Mode, int]] = {"single": 1, "critique": 2, "debate": 2, "ensemble": 2, "pipeline": 2}
"""Models that a mode needs; one that is named twice counts twice."""
DUTIES: Final[Mapping[Mode, tuple[str, ...]]] = {
    "single": (GENERATOR,),
    "critique": (GENERATOR, CRITIC),
    "debate": (RECONCILER,),
    "ensemble": (SYNTHESIZER,),
    "pipeline": (),
}
"""What one alone does, beside the compressor of all."""
KEYS: Final = ("id", "models", "mode", "duties", "stages", "roles", "stated_gb", "hardware", "about")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class PresetsError(ValueError):
    """A file of presets is wrong; the message names file, preset and key, and what would be right."""


class Presets(Struct, frozen=True):
    """All that were read."""

    by_id: dict[str, Preset] = field(default_factory=dict[str, Preset])
    problems: tuple[str, ...] = ()
    """What in the files has no effect; a sentence each."""


def read(shipped: Path, own: Path | None = None, models_list: Path | None = None) -> Presets:
    """The presets of these files; of two with one id the user's `own` counts most, then what a list of models says
    beside its models. A file that is not there says nothing.

    Raises PresetsError.
    """
    found: dict[str, Preset] = {}
    problems: list[str] = []
    for file, is_ours in ((shipped, True), (models_list, False), (own, False)):
        if file is None or not file.is_file():
            continue
        content = _loaded(file)
        entries = _ours(file, content) if is_ours else foreign.entries(content, among_models=file == models_list)
        if isinstance(entries, str):
            raise PresetsError(f"{file}: {entries}")
        if content and not entries and file != models_list:
            problems.append(f"{file}: no preset in it; each names `models`, below `presets:` or at the top by its id")
        for number, (name, said) in enumerate(entries.items()):
            preset, idle = _one(file, name, said, number, strict=is_ours)
            found[preset.id] = preset
            problems += [f"{file}: {preset.id}: {one}" for one in idle]
    return Presets(found, tuple(problems))


def short_of(mode: Mode, models: Sequence[str]) -> str:
    """Why these are too few for a mode; empty where they are not."""
    if len(models) >= MINIMUM[mode]:
        return ""
    there = f"{len(models)} {'takes' if len(models) == 1 else 'take'} part"
    names = f": {', '.join(models)}" if models else ""
    return f"mode {mode} needs at least {MINIMUM[mode]} models, and {there}{names}; one may be named twice"


def _loaded(file: Path) -> object:
    import yaml

    try:
        return yaml.load(file.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}  # noqa: S506 - safe
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise PresetsError(f"{file}: {error}") from None


def _ours(file: Path, content: object) -> dict[str, Any]:
    """The entries of the file that ships. Raises PresetsError."""
    listed = content.get("presets") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(listed, list) or set(content) - {"presets"}:
        raise PresetsError(f"{file}: `presets:` with a list of presets was expected, and nothing else")
    found: dict[str, Any] = {}
    for number, said in enumerate(listed):
        name = said.get("id") if isinstance(said, dict) else None
        if not isinstance(name, str):
            raise PresetsError(f"{file}: presets[{number}].id: a name was expected")
        if name in found:
            raise PresetsError(f"{file}: two presets with the id {name!r}")
        if unknown := [str(key) for key in said if key not in KEYS]:
            raise PresetsError(f"{file}: {name}.{unknown[0]}: unknown key; there is {', '.join(KEYS)}")
        found[name] = said
    return found


def _one(file: Path, name: str, said: Any, number: int, *, strict: bool) -> tuple[Preset, list[str]]:
    """A preset, and what is said of it without effect. Raises PresetsError."""
    where = f"{file}: {name or f'preset {number + 1}'}"
    if not _NAME.fullmatch(name) or name == AUTO:
        raise PresetsError(f"{where}: no id for a preset; at most 64 of A-Z a-z 0-9 . _ -, and not {AUTO}")
    if not isinstance(said, dict):
        raise PresetsError(f"{where}: a mapping was expected, such as models: [phi-4, qwen2.5-7b], mode: debate")
    if key := foreign.mistyped(said):
        raise PresetsError(f"{where}.{key}: not known here; did you mean models?")
    plain, idle = (said, []) if strict else foreign.plain(said)
    models = _models(f"{where}.models", plain.get("models"))
    mode = _mode(f"{where}.mode", plain.get("mode"))
    if mode is not None and (short := short_of(mode, models)):
        raise PresetsError(f"{where}.models: {short}")
    duties = _named(f"{where}.duties", plain.get("duties"), models)
    stages = _stages(f"{where}.stages", plain.get("stages"), models)
    roles, more = foreign.roles(plain.get("roles"), models, mode)
    _check_duties(where, duties, mode)
    if stages and mode not in (None, "pipeline"):
        raise PresetsError(f"{where}.stages: {mode} has none; only a pipeline has stages")
    preset = Preset(
        name,
        models,
        mode,
        {**roles.duties, **duties},
        stages or roles.stages,
        roles.by_model,
        _size(f"{where}.stated_gb", plain.get("stated_gb")),
        str(plain.get("hardware") or ""),
        str(plain.get("about") or ""),
        str(file),
    )
    return preset, [*idle, *more]


def _models(where: str, said: Any) -> tuple[str, ...]:
    names = foreign.names(said)
    if not names or not all(names):
        raise PresetsError(f"{where}: at least one name of a model, such as [phi-4, qwen2.5-7b]")
    if len(names) > MODELS_LIMIT:
        raise PresetsError(f"{where}: {len(names)} models; at most {MODELS_LIMIT}")
    return tuple(names)


def _mode(where: str, said: Any) -> Mode | None:
    modes: tuple[Mode, ...] = get_args(Mode)
    found = next((mode for mode in modes if mode == said), None)
    if found is None and said is not None:
        raise PresetsError(f"{where}={said}: one of {', '.join(modes)}")
    return found


def _named(where: str, said: Any, models: Iterable[str]) -> dict[str, str]:
    """Something of models of the row, by name. Raises PresetsError."""
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise PresetsError(f"{where}: a mapping to models of this preset was expected")
    for key, model in said.items():
        if model not in models:
            raise PresetsError(f"{where}.{key}={model}: no model of this preset; it has {', '.join(models)}")
    return {str(key): str(model) for key, model in said.items()}


def _stages(where: str, said: Any, models: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The stages in order: a mapping to models, or their names alone. Raises PresetsError."""
    if isinstance(said, dict):
        found = tuple(_named(where, said, models).items())
    else:
        found = tuple((name, "") for name in foreign.names(said))
    if len(found) > STAGES_LIMIT:
        raise PresetsError(f"{where}: {len(found)} stages; at most {STAGES_LIMIT}")
    return found


def _check_duties(where: str, duties: Iterable[str], mode: Mode | None) -> None:
    """Raises PresetsError."""
    known = {duty for one in DUTIES.values() for duty in one} if mode is None else set(DUTIES[mode])
    for duty in duties:
        if duty not in known | {COMPRESSOR}:
            there = ", ".join([*sorted(known), COMPRESSOR])
            raise PresetsError(f"{where}.duties.{duty}: no duty of {mode or 'any mode'}; there is {there}")


def _size(where: str, said: Any) -> float | None:
    try:
        return None if said is None else foreign.gigabytes(said)
    except ValueError:
        raise PresetsError(f"{where}={said!r}: a size in GB, as 12.3") from None
