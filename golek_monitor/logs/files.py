"""Which request logs are on this machine?

`<GOLEK_DATA>/logs/<model>.sqlite`, and where the DB_PATH of a deployment's env file says. Names of models may hold
slashes, so there are folders below.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from golek_program.settings.sources import read_file

END: Final = ".sqlite"
MOST: Final = 500
"""More files than this are not looked for."""


class Found(Struct, frozen=True):
    """A file that is a request log by its name."""

    model: str
    path: Path
    name: str
    """Below the folder of logs, else its whole path. No two logs share one."""


def logs(data: Path, project: Path = Path()) -> list[Found]:
    """The logs below `data`, GOLEK_DATA, and those that the env files of `project` name; by name."""
    folder = data / "logs"
    found: dict[Path, Found] = {}
    for path in _below(folder):
        name = path.relative_to(folder).as_posix()
        found[path.resolve()] = Found(name.removesuffix(END), path, name)
    for model, path in _named(project, data):
        if path.is_file():
            found.setdefault(path.resolve(), Found(model, path, str(path)))
    return sorted(found.values(), key=lambda one: one.name)[:MOST]


def _below(folder: Path) -> Iterator[Path]:
    """What a model is named after may be deep; what begins with `_` is the processes' own logs."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith("_")]
        yield from (Path(root, name) for name in names if name.endswith(END))


def _named(project: Path, data: Path) -> Iterator[tuple[str, Path]]:
    """The logs that deployments place themselves; a leading `data/` stands for GOLEK_DATA, as workers read it."""
    for file in sorted((project / "envs").glob("worker.*.env")):
        try:
            values, _ = read_file(file)
        except (OSError, UnicodeDecodeError):
            continue
        if path := values.get("DB_PATH", "").strip():
            placed = data / path.removeprefix("data/") if path.startswith("data/") else project / path
            yield values.get("MODEL_NAME", "").strip() or placed.stem, placed
