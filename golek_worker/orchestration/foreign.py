"""How do other services write presets down?

As a mapping or a list below `presets:` or `configs:`, or at the top of the file; with other keys, sizes with units, and
roles either way round, `{model: role}` or `{role: model}`. Pure.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from golek_wire.orchestration import Mode
from golek_worker.orchestration.base import COMPRESSOR, CRITIC, GENERATOR, PARTICIPANT, RECONCILER, SYNTHESIZER

SECTIONS: Final = ("presets", "configs", "configurations")
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "models": ("models", "model"),
    "mode": ("mode", "orchestration_mode"),
    "duties": ("duties",),
    "stages": ("stages",),
    "roles": ("roles", "model_roles"),
    "stated_gb": ("stated_gb", "size_gb", "size", "total_size", "total_size_gb"),
    "hardware": ("hardware",),
    "about": ("about", "description", "notes"),
}
"""For each field the keys that may give it; the first that is there counts."""
_IDS: Final = ("id", "config", "preset", "name")
_WORDS: Final[Mapping[str, str]] = {
    "gen": GENERATOR, "generate": GENERATOR, "generator": GENERATOR,
    "critic": CRITIC, "critique": CRITIC,
    "reconcile": RECONCILER, "reconciler": RECONCILER,
    "synthesis": SYNTHESIZER, "synthesize": SYNTHESIZER, "synthesizer": SYNTHESIZER,
    "compress": COMPRESSOR, "compressor": COMPRESSOR,
    "participant": PARTICIPANT, "voter": PARTICIPANT,
}  # fmt: skip
_STAGES: Final[Mapping[str, str]] = {
    "draft": "draft", "drafter": "draft",
    "expand": "expand", "expander": "expand",
    "refine": "refine", "refiner": "refine",
    "code": "code",
    "validate": "validate", "validator": "validate",
}  # fmt: skip
_ROLES: Final = ("primary", "fast", "coder", "thinker", "longctx")
_OF: Final[Mapping[str, Mode]] = {
    GENERATOR: "critique",
    CRITIC: "critique",
    RECONCILER: "debate",
    SYNTHESIZER: "ensemble",
}


class Words(Struct, frozen=True):
    """What `roles` of a preset say."""

    duties: dict[str, str] = field(default_factory=dict[str, str])
    stages: tuple[tuple[str, str], ...] = ()
    by_model: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def entries(content: object, *, among_models: bool = False) -> dict[str, Any] | str:
    """The presets of a file by id, or what is wrong with it. `among_models`: it is a list of models, and presets are
    those that stand in a section of theirs, or at the top with `models` of their own.
    """
    if not isinstance(content, dict):
        if isinstance(content, list) and not among_models:
            return _listed(content)
        return {} if among_models else "a mapping or a list of presets was expected"
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key in SECTIONS:
            below = _listed(value) if isinstance(value, list) else value
            if isinstance(below, str) or not isinstance(below, dict | None):
                return f"{key}: {below}" if isinstance(below, str) else f"{key}: a mapping or a list was expected"
            found |= {str(name): said for name, said in (below or {}).items()}
        elif is_preset(value) or (not among_models and mistyped(value)):
            found[str(key)] = value
    return found


def is_preset(value: object) -> bool:
    """Whether what stands at the top of a file is a preset: it names models."""
    return isinstance(value, dict) and ("models" in value or ("model" in value and "mode" in value))


def mistyped(value: object) -> str:
    """The key that was meant to be `models`, in what names none; empty without one."""
    if not isinstance(value, dict) or value.keys() & {*FIELDS["models"]}:
        return ""
    return next(iter(difflib.get_close_matches("models", [str(key) for key in value], n=1)), "")


def plain(said: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """A preset by our own keys, and what in it is not known here."""
    found = {
        name: next(said[key] for key in keys if key in said)
        for name, keys in FIELDS.items()
        if any(key in said for key in keys)
    }
    known = {key for keys in FIELDS.values() for key in keys} | set(_IDS)
    idle = [str(key) for key in said if key not in known]
    return found, [f"{', '.join(idle)}: not known here, without effect"] if idle else []


def names(said: Any) -> list[str]:
    """Names in a list, or in a text with commas or plus signs."""
    if isinstance(said, str):
        return [one.strip() for one in re.split(r"[,+]", said) if one.strip()]
    return [str(one).strip() for one in said] if isinstance(said, list) else []


def gigabytes(said: Any) -> float:
    """`12.3GB` is 12.3. Raises ValueError."""
    size = float(str(said).upper().replace(" ", "").removesuffix("B").removesuffix("G").removeprefix("~"))
    if not 0 < size < 1e6:
        raise ValueError(said)
    return size


def roles(said: Any, models: Sequence[str], mode: Mode | None) -> tuple[Words, list[str]]:
    """What `{model: role}` or `{role: model}` mean: duties, stages, and what models are good for; and what of it means
    nothing here.
    """
    duties: dict[str, str] = {}
    stages: dict[str, str] = {}
    by_model: dict[str, tuple[str, ...]] = {}
    idle: list[str] = []
    if said is not None and not isinstance(said, dict):
        return Words(), ["roles: {<model>: <role>} was expected; without effect"]
    for model, word in _pairs(said or {}, models):
        key = word.lower().strip()
        duty = _WORDS.get(key)
        if not model:
            idle.append(f"roles.{word}: neither names a model of this preset; without effect")
        elif key in _STAGES and mode in (None, "pipeline"):
            stages[_STAGES[key]] = model
        elif duty is not None and (duty in (PARTICIPANT, COMPRESSOR) or mode in (None, _OF[duty])):
            duties |= {duty: model} if duty != PARTICIPANT else {}
        elif key in _ROLES:
            by_model[model] = (*by_model.get(model, ()), key)
        else:
            idle.append(f"roles.{model}={word}: nothing that {mode or 'any mode'} knows; without effect")
    order = list(dict.fromkeys(_STAGES.values()))
    in_order = tuple(sorted(stages.items(), key=lambda one: order.index(one[0])))
    return Words(duties, in_order, by_model), idle


def _pairs(said: Mapping[Any, Any], models: Sequence[str]) -> list[tuple[str, str]]:
    """Each model with one word that is said of it; without a model where neither side is one."""
    found = []
    for key, value in said.items():
        for one in value if isinstance(value, list) else [value]:
            if str(key) in models:
                found.append((str(key), str(one)))
            elif str(one) in models:
                found.append((str(one), str(key)))
            else:
                found.append(("", f"{key}={one}"))
    return found


def _listed(said: list[Any]) -> dict[str, Any] | str:
    """Presets of a list by id, or what is wrong."""
    found: dict[str, Any] = {}
    for number, one in enumerate(said):
        name = next((one[key] for key in _IDS if key in one), None) if isinstance(one, dict) else None
        if not isinstance(name, str):
            return f"[{number}]: one of {', '.join(_IDS)} must name each preset of a list"
        if name in found:
            return f"two presets with the id {name!r}"
        found[name] = one
    return found
