"""How is the list of models of another service read as it is?

Such a `models.yaml` or `model_configs.yaml` names models by id, below `models:` or at the top, with keys that differ
from service to service: `KEYS` lists what is understood. What is not is told in a remark, and has no effect.
"""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import msgspec

from golek_worker.registry.entries import SHA256, CatalogError, Entry, Listed, Role

KEYS: dict[str, tuple[str, ...]] = {
    "file": ("file", "filename", "file_name", "model_file", "gguf", "path", "model_path"),
    "repo": ("repo", "repo_id", "repository", "hf_repo", "huggingface_repo", "huggingface"),
    "source": ("source", "url"),
    "kind": ("kind", "type"),
    "about_gb": ("about_gb", "size_gb", "size"),
    "sha256": ("sha256",),
    "context_length": ("context_length", "context_size", "context_window", "context", "n_ctx", "ctx_size"),
    "gpu_layers": ("gpu_layers", "n_gpu_layers"),
    "roles": ("roles", "role"),
    "architecture": ("architecture",),
    "parameters": ("parameters", "params", "parameter_count"),
}
"""For each property of a model the keys that may give it; one of a model's keys counts, the first that is there."""
_NAMES = ("id", "name", "model_id", "model")
"""Which key names a model, where models stand in a list."""
PRESETS = ("presets", "configs", "configurations")
"""Sections for others: how models answer together."""
_HOST = re.compile(r"https?://[^/]+/")
_KINDS = {
    "inference": "inference",
    "text": "inference",
    "llm": "inference",
    "chat": "inference",
    "embedding": "embedding",
    "embeddings": "embedding",
    "rerank": "rerank",
    "reranker": "rerank",
    "vision": "vision",
}


def read(file: Path, content: object) -> tuple[dict[str, Listed], list[str]]:
    """The models of a list by id, and what in it has no effect. Raises CatalogError naming file, model and key."""
    if not isinstance(content, dict):
        raise CatalogError(f"{file}: a mapping with `models:` was expected")
    if "models" in content:
        models, idle = content["models"] or {}, [key for key in content if key != "models"]
    else:
        models = {key: value for key, value in content.items() if _is_model(value)}
        idle = [key for key in content if key not in models]
    remarks = [f"{file}: {key}: has no effect yet" for key in idle if not _has_presets(key, content[key])]
    if isinstance(models, list):
        named = {_name(file, one): one for one in models}
        if len(named) < len(models):
            raise CatalogError(f"{file}: models: {len(models)} models with {len(named)} names")
        models = named
    if not isinstance(models, dict) or not all(isinstance(one, dict) for one in models.values()):
        raise CatalogError(f"{file}: models: a mapping of model names to what is said of each")
    found = {}
    for name, properties in models.items():
        found[str(name)], unknown = _one(f"{file}: {name}", properties)
        if unknown:
            remarks.append(f"{file}: {name}: {', '.join(unknown)}: not known here, without effect")
    return found, remarks


def _is_model(value: object) -> bool:
    """Whether what stands at the top is a model: a preset has `models`, and a section nothing but mappings."""
    if not isinstance(value, dict) or "models" in value:
        return False
    return not value or not all(isinstance(one, dict) for one in value.values())


def _has_presets(key: object, value: object) -> bool:
    """Whether it is what a router reads of such a file."""
    return key in PRESETS or (isinstance(value, dict) and "models" in value)


def entry(file: Path, name: str, model: Listed, known: Entry | None) -> Entry:
    """The model as the catalogue would have it; what the list does not say is taken from `known`, the catalogue's."""
    nowhere = f"{file} names no repository of {model.file or name!r}; add `repo:` there, or set MODEL_SOURCE"
    base = known or Entry(id=name, kind="inference", verified=False, origin=str(file), unavailable=nowhere)
    another = _source(model)
    if another not in (None, base.source):
        base = _elsewhere(base, file, source=another)
    elif another is None and model.file and PurePosixPath(model.file).name != _file_of(base):
        base = _elsewhere(base, file, unavailable=nowhere)
    given = {field: getattr(model, field) for field in KEYS if field not in ("file", "repo", "source")}
    return msgspec.structs.replace(base, **{field: value for field, value in given.items() if value not in (None, [])})


def _elsewhere(base: Entry, file: Path, source: str | None = None, unavailable: str | None = None) -> Entry:
    """`base` with another file: what is known of the one does not hold for the other."""
    return msgspec.structs.replace(
        base,
        source=source,
        unavailable=unavailable,
        revision=None,
        size_bytes=None,
        about_gb=None,
        sha256=None,
        made_by=None,
        verified=False,
        origin=str(file),
    )


def _file_of(known: Entry) -> str:
    place = known.place
    return place.name if place is not None else ""


def _source(model: Listed) -> str | None:
    if model.source:
        return model.source
    if model.repo and model.file:
        return f"hf:{_HOST.sub('', model.repo)}/{PurePosixPath(model.file).name}"
    return None


def _name(file: Path, one: object) -> str:
    """The id of a model in a list."""
    if isinstance(one, dict):
        for key in _NAMES:
            if isinstance(one.get(key), str):
                return str(one[key])
    raise CatalogError(f"{file}: models: one of {', '.join(_NAMES)} must name each model of a list")


def _one(where: str, properties: dict[str, Any]) -> tuple[Listed, list[str]]:
    """What is said of a model, and the keys that nobody understands."""
    given: dict[str, Any] = {}
    used = set(_NAMES)
    for field, keys in KEYS.items():
        for key in keys:
            used.add(key)
            if properties.get(key) is not None and field not in given:
                given[field] = _value(f"{where}: {key}", field, properties[key])
    return Listed(**given), [str(key) for key in properties if key not in used]


def _value(where: str, field: str, value: Any) -> Any:
    """`value` in the type of `field`: `32K` is 32768 tokens, `7.9GB` is 7.9. Raises CatalogError."""
    if field not in _READ:
        return str(value)
    read_it, expected = _READ[field]
    try:
        return read_it(value)
    except (ValueError, KeyError, TypeError):
        raise CatalogError(f"{where}={value!r}: {expected}") from None


def _tokens(value: Any) -> int:
    text = str(value).strip().upper()
    return _at_least(1, int(text.removesuffix("K")) * 1024 if text.endswith("K") else int(text))


def _at_least(limit: int, number: int) -> int:
    if number < limit:
        raise ValueError(number)
    return number


def _roles(value: Any) -> list[str]:
    roles = value if isinstance(value, list) else [one.strip() for one in str(value).split(",")]
    if not all(role in get_args(Role) for role in roles):
        raise ValueError(value)
    return [str(role) for role in roles]


def _gigabytes(value: Any) -> float:
    return float(str(value).upper().removesuffix("B").removesuffix("G").strip().removeprefix("~"))


_READ: dict[str, tuple[Callable[[Any], Any], str]] = {
    "context_length": (_tokens, "a number of tokens, as 16384 or 16K"),
    "gpu_layers": (lambda value: _at_least(-1, int(value)), "a number of layers, -1 for all"),
    "about_gb": (_gigabytes, "a size in GB, as 7.9"),
    "roles": (_roles, f"one or more of {', '.join(get_args(Role))}"),
    "kind": (lambda value: _KINDS[str(value)], f"one of {', '.join(_KINDS)}"),
    "sha256": (lambda value: _digest(str(value).lower()), "64 hexadecimal digits"),
}
"""How a property is read that is more than a text, and what is said when it cannot be."""


def _digest(text: str) -> str:
    if re.match(SHA256, text) is None:
        raise ValueError(text)
    return text
