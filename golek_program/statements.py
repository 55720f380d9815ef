"""How are statements of SQL kept? As files of a package: Python never builds them."""

import re
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def read(package: str, name: str) -> str:
    """What a file of the package says."""
    return resources.files(package).joinpath(name).read_text("utf-8")


def named(package: str) -> dict[str, str]:
    """The blocks of its `queries.sql`, each below a line `-- name: …`, by their names."""
    parts = _NAME.split(read(package, "queries.sql"))
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
