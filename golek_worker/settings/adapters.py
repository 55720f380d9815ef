"""Which LoRA adapters does ADAPTERS name?

`name=path` or `name=path@scale`, with commas between them.
"""

import math
import re

from msgspec import Struct

from golek_wire import subjects


class AdapterFile(Struct, frozen=True):
    """One entry."""

    name: str
    path: str
    """GGUF file; for vLLM a folder of PEFT's."""
    scale: float = 1.0


_SCALE = re.compile(r"@([-+0-9.eE]+)$")


def read(text: str) -> list[AdapterFile]:
    """The entries of `text`. Raises ValueError with a sentence for the first that is none."""
    found: dict[str, AdapterFile] = {}
    for entry in (part.strip() for part in text.split(",")):
        if not entry:
            continue
        name, equals, rest = (part.strip() for part in entry.partition("="))
        given = _SCALE.search(rest)
        path = rest[: given.start()] if given else rest
        if not equals or not path:
            raise ValueError(f"{entry!r} is no name=path or name=path@scale")
        if not subjects.is_adapter_name(name):
            raise ValueError(f"{name!r} is no name: at most {subjects.ADAPTER_NAME_LIMIT} of A-Z a-z 0-9 _ - .")
        if name in found:
            raise ValueError(f"{name!r} is named twice")
        found[name] = AdapterFile(name, path, _scale(given[1]) if given else 1.0)
    return list(found.values())


def mistakes(text: str) -> list[str]:
    """What is wrong with ADAPTERS, as a list of at most one sentence."""
    try:
        read(text)
    except ValueError as error:
        return [f"ADAPTERS={text}: {error}"]
    return []


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not math.isfinite(scale):
        raise ValueError(f"{text!r} is no scale; a number such as 0.5")
    return scale
