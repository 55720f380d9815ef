"""How is the list of models of another service read as it is?

Such a `models.yaml` or `model_configs.yaml` names models by id, below `models:` or at the top, with keys that differ
from service to service: `KEYS` lists what is understood. What is not is told in a remark, and has no effect.
"""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, get_args

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
_KINDS = {
    "inference": "inference",
    "text": "inference",
    "llm": "inference",
    "chat": "inference",
    "embedding": "embedding",
    "embeddings": "embedding",
    "vision": "vision",
}


def read(file: Path, content: object) -> tuple[dict[str, Listed], list[str]]:
    """The models of a list by id, and what in it has no effect. Raises CatalogError naming file, model and key."""
    if not isinstance(content, dict):
        raise CatalogError(f"{file}: a mapping with `models:` was expected")
    models = content.get("models", content)
    remarks = [f"{file}: {key}: has no effect yet" for key in content if key != "models" and models is not content]
    if isinstance(models, list):
        models = {_name(file, one): one for one in models}
    if not isinstance(models, dict) or not all(isinstance(one, dict) for one in models.values()):
        raise CatalogError(f"{file}: models: a mapping of model names to what is said of each")
    found = {}
    for name, properties in models.items():
        found[str(name)], unknown = _one(f"{file}: {name}", properties)
        if unknown:
            remarks.append(f"{file}: {name}: {', '.join(unknown)}: not known here, without effect")
    return found, remarks


def entry(file: Path, name: str, model: Listed, known: Entry | None) -> Entry:
    """The model as the catalogue would have it; what the list does not say is taken from `known`, the catalogue's."""
    same = known is not None and (not model.file or _file_of(known) == PurePosixPath(model.file).name)
    place, doubt = _source(model), None
    if place is None and same and known is not None:
        place, doubt = known.source, known.unavailable
    if place is None and (known is None or known.made_by is None or not same):
        doubt = doubt or f"{file} names no repository of {model.file or name!r}; add `repo:` there, or set MODEL_SOURCE"
    unchanged = same and known is not None and place == known.source
    return Entry(
        id=name,
        kind=model.kind or (known.kind if known else "inference"),
        source=place,
        revision=known.revision if unchanged and known else None,
        size_bytes=known.size_bytes if unchanged and known else None,
        about_gb=model.about_gb or (known.about_gb if same and known else None),
        sha256=model.sha256 or (known.sha256 if unchanged and known else None),
        verified=bool(unchanged and known and known.verified),
        origin=known.origin if unchanged and known else str(file),
        made_by=known.made_by if same and known and place is None and doubt is None else None,
        unavailable=doubt if place is None else None,
        context_length=model.context_length or (known.context_length if known else None),
        gpu_layers=model.gpu_layers if model.gpu_layers is not None else (known.gpu_layers if known else None),
        roles=model.roles or (known.roles if known else []),
        architecture=model.architecture or (known.architecture if known else None),
        parameters=model.parameters or (known.parameters if known else None),
        dimensions=known.dimensions if known else None,
    )


def _file_of(known: Entry) -> str:
    place = known.place
    return place.name if place is not None else ""


def _source(model: Listed) -> str | None:
    if model.source:
        return model.source
    if model.repo and model.file:
        return f"hf:{model.repo.removeprefix('https://huggingface.co/')}/{PurePosixPath(model.file).name}"
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
