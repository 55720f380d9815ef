"""How is one model shown to a person, and how is its file verified before their eyes?"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from golek_worker.machine import check, modelfiles
from golek_worker.machine.bar import Bar, Say
from golek_worker.machine.modelfiles import Found, ModelError
from golek_worker.registry import origin
from golek_worker.registry.report import Progress

SAID = ("general.name", "general.license", "general.basename", "general.size_label")
"""Keys of a file's metadata that a person wants to see."""


def facts(found: Found) -> dict[str, Any]:
    """All that is known of a model; what is not known is left out. Raises ModelError for a name that is not."""
    if not found.is_known:
        raise ModelError(modelfiles.unknown(found.name))
    told = modelfiles.describe(found)
    row = {key: value for key, value in _fields(told) if value not in ("", [], None, 0)}
    facts: dict[str, Any] = row
    for note in check.memory_note(found.chosen):
        facts["memory"] = note.removeprefix("memory: ")
    facts["deployment_settings"] = _settings(found)
    if found.entry is not None:
        facts["catalogue"] = {key: value for key, value in _fields(found.entry) if value not in (None, [], "")}
    if found.files:
        facts["files"] = [_file(file) for file in found.files]
    if found.header is not None:
        facts["file_says"] = _file_says(found)
    return facts


def lines(facts: dict[str, Any], indent: str = "") -> Iterator[str]:
    """`facts` as text: a line each, what belongs together below its heading."""
    width = max((len(key) for key, value in facts.items() if not _is_group(value)), default=0)
    for key, value in facts.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from lines(value, indent + "  ")
        elif _is_group(value):
            for one in value:
                yield f"{indent}{key}:"
                yield from lines(one, indent + "  ")
        else:
            text = ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)
            yield f"{indent}{key:<{width}}  {text}"


def verified(found: Found, say: Say) -> list[str]:
    """`modelfiles.verify`, with its progress shown. Raises ModelError, DownloadError."""
    with closing(Bar(found.name, say)) as bar:
        return modelfiles.verify(found, lambda done, total: bar.show(Progress("verifying", done, total)))


def _is_group(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _fields(told: Any) -> Iterator[tuple[str, Any]]:
    for key in told.__struct_fields__:
        yield ("from" if key == "origin" else key), getattr(told, key)


def _settings(found: Found) -> dict[str, Any]:
    """What a deployment of it would run with."""
    chosen = found.chosen
    return {"MODEL_PATH": str(chosen.model_file), "CTX_SIZE": chosen.ctx_size, "GPU_LAYERS": chosen.gpu_layers}


def _file(file: Any) -> dict[str, Any]:
    """One file on the disk, and where it came from if that was noted."""
    told: dict[str, Any] = {"path": str(file), "bytes": file.stat().st_size}
    if (note := origin.read(file)) is not None:
        told |= {"from": note.source, "sha256": note.sha256, "vouched": note.vouched}
    return told


def _file_says(found: Found) -> dict[str, Any]:
    header = found.header
    assert header is not None
    said = {
        "architecture": header.architecture,
        "parameters": header.parameters,
        "quantization": header.quantization,
        "context_length": header.context_length,
        "embedding_length": header.embedding_length,
        "chat_template": header.chat_template is not None,
    }
    return said | {key: header.metadata[key] for key in SAID if isinstance(header.metadata.get(key), str)}
