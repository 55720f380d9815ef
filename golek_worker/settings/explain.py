"""What would a deployment run with, and who said so?

`golek config` prints this: each key with its value and source, what was overruled, and what is another program's.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from golek_program.settings import monitor, names, sources
from golek_program.settings.monitor import Monitor
from golek_program.settings.names import AnotherGateway
from golek_program.settings.sources import Found, Given
from golek_program.settings.values import hidden
from golek_worker import settings
from golek_worker.settings import Settings
from golek_worker.settings.service import Service

DEFAULT = "default"


class Setting(Struct, frozen=True):
    """One key of a deployment."""

    key: str
    value: str
    """As it may be shown: URLs without their secrets."""
    source: str
    """`default`, `environment`, or the file; before it the alias that was written, as `NGL in .env`."""
    changed: bool
    """True when the value is not the default."""
    overruled: list[str]
    """Other values somebody gave, which do not count."""


def deployment(file: Path, environment: Mapping[str, str] = os.environ) -> list[Setting]:
    """Every key of the deployment, those of another gateway last. Raises SettingsError."""
    loaded = settings.load(file, environment)
    given = settings.find(file, environment)
    assert given is not None  # or it could not be loaded
    found, _ = settings.of_model(given, file.parent.parent)
    rows = []
    for key, name in settings.KEYS.items():
        value, default = getattr(loaded, name), _default(Settings, name)
        rows.append(_row(key, _text(value), found.of(key), changed=value != default))
    return [*rows, *_not_read(found)]


def differing(chosen: Settings) -> dict[str, str]:
    """The settings that are not at their defaults, by key, as they may be shown to who asks a worker how it runs."""
    found = ((key, getattr(chosen, name), _default(Settings, name)) for key, name in settings.KEYS.items())
    return {key: shown(key, _text(value)) for key, value, default in found if value != default}


def shown(key: str, value: str) -> str:
    """The value of a setting as it may be shown."""
    return _covered(value) if key in names.SECRETS else hidden(value)


def shared(environment: Mapping[str, str] = os.environ, project: Path = Path()) -> list[Setting]:
    """What environment and `.env` say to all deployments: only the keys they give."""
    found = sources.find(project, environment, None, settings.KNOWN)
    kinds: dict[str, type[Struct]] = (
        dict.fromkeys(settings.KEYS, Settings)
        | dict.fromkeys(settings.SERVICE_KEYS, Service)
        | dict.fromkeys(monitor.OWN_KEYS, Monitor)
    )
    given = {key: found.of(key) for key in kinds}
    rows = [
        _row(key, said[0].value, said, changed=said[0].value != _text(_default(kinds[key], key.lower())))
        for key, said in given.items()
        if said
    ]
    return rows + [row for row in _not_read(found) if row.source != DEFAULT]


def remarks(environment: Mapping[str, str] = os.environ, project: Path = Path()) -> list[str]:
    """What in `.env` looks mistyped; a sentence each."""
    return sources.find(project, environment, None, settings.KNOWN).remarks


def lines(rows: list[Setting]) -> Iterator[str]:
    """The rows as text in columns."""
    width = max((len(row.key) for row in rows), default=0)
    for row in rows:
        notes = [row.source, *(f"overrules {other}" for other in row.overruled)]
        if row.key in names.NOT_READ:
            notes.append(names.WHY_NOT_READ)
        yield f"{row.key:<{width}}  {row.value or '(empty)'}  ({'; '.join(notes)})"


def _not_read(found: Found) -> Iterator[Setting]:
    for key, name in names.NOT_READ.items():
        given, default = found.of(key), _text(_default(AnotherGateway, name))
        value = given[0].value if given else default
        yield _row(key, value, given, changed=value != default)


def _row(key: str, value: str, given: list[Given], *, changed: bool) -> Setting:
    if not given:
        return Setting(key, shown(key, value), DEFAULT, changed, [])
    counts, *rest = given
    source = counts.source if counts.name == key else f"{counts.name} in {counts.source}"
    overruled = [f"{one.name}={shown(key, one.value)} in {one.source}" for one in rest if one.value != counts.value]
    return Setting(key, shown(key, value), source, changed, overruled)


def _covered(value: str) -> str:
    return "(secret)" if value else ""


def _default(kind: type[Struct], name: str) -> Any:
    """The default of a field; None for a field that has none."""
    field = next(field for field in msgspec.structs.fields(kind) if field.name == name)
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.default is msgspec.NODEFAULT else field.default


def _text(value: Any) -> str:
    """`value` as it would be written in an env file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return f"{value:.10g}" if isinstance(value, float) else str(value)
