"""`.env.example`: the manual of what all deployments share, equal to the code."""

import re
from pathlib import Path

import msgspec
import pytest

from golek_program.settings import monitor, names, sources
from golek_program.settings.names import AnotherGateway
from golek_worker import settings
from golek_worker.settings import Settings
from golek_worker.settings.service import Service
from tests.unit.test_settings import docstrings, example

EXAMPLE = Path(".env.example")
MONITOR = Path("envs/monitor.env")
ENTRIES = example(EXAMPLE)
BLOCKS = Path(__file__).with_name("env_blocks").glob("*.env")


def test_it_has_all_keys_of_all_blocks() -> None:
    """Whoever comes with an env file of another product finds its keys here; every alias and foreign key is among
    them, and no other than known ones."""
    of_blocks = {key for block in BLOCKS for key in sources.read_file(block)[0]}
    assert of_blocks | set(names.OWN_NAME) | set(names.NOT_READ) | set(monitor.OWN_KEYS) <= set(ENTRIES)
    assert set(ENTRIES) <= set(settings.KNOWN)


@pytest.mark.parametrize("key", list(ENTRIES))
def test_it_says_what_the_code_says(key: str) -> None:
    """Meaning, values and default of a setting as in the worker's manual; an alias names its setting, a key of
    another gateway whose it is."""
    entry, manual = ENTRIES[key], example()
    if key in monitor.OWN_KEYS:
        assert entry == example(MONITOR)[key]
        return
    if key not in settings.KEYS and key in settings.SERVICE_KEYS:
        field = next(one for one in msgspec.structs.fields(Service) if one.name == settings.SERVICE_KEYS[key])
        assert (entry.meaning, entry.default) == (docstrings(Service)[key], str(field.default))
        return
    if key in names.OWN_NAME:
        own = names.OWN_NAME[key]
        assert entry == (f"Another name of {own}.", f"as {own}", manual[own].default)
    elif key in names.NOT_READ:
        assert entry.meaning == docstrings(AnotherGateway)[key]
        why = names.WHY_NOT_READ
        assert f"# {why[0].upper()}{why[1:]}.\n# {key}=" in EXAMPLE.read_text()
    else:
        assert entry == manual[key]


def project(folder: Path, dotenv: str) -> Path:
    """A deployment that gives nothing but its name, and `.env`."""
    (folder / ".env").write_text(dotenv)
    file = folder / "envs" / "worker.x.env"
    file.parent.mkdir()
    file.write_text("MODEL_NAME=golek-tiny\n")
    return file


def test_a_copy_changes_nothing(tmp_path: Path) -> None:
    """Nothing in it is in effect before a line is uncommented."""
    file = project(tmp_path, EXAMPLE.read_text())
    assert sources.read_file(tmp_path / ".env") == ({}, [])
    assert settings.load(file, {}) == Settings(model_name="golek-tiny")


def test_uncommented_it_is_the_default(tmp_path: Path) -> None:
    """Every default in it is that of the code, those of foreign keys as well."""
    file = project(tmp_path, "".join(f"{key}={entry.default}\n" for key, entry in ENTRIES.items()))
    assert settings.load(file, {}) == Settings(model_name="golek-tiny")
    assert settings.remarks(file, {}) == []


def test_the_documentation_names_them_all() -> None:
    """Aliases stand there from the strongest to the weakest, keys of another gateway as such."""
    text = Path("docs/configuration.md").read_text()
    for key, aliases in names.ALIASES.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{key}`")]
        assert row.endswith(f"| {', '.join(f'`{alias}`' for alias in aliases)} |")
    foreign = text.partition("## Keys of another gateway")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([A-Z_]+)`", foreign)) == set(names.NOT_READ)
    for value in (value for values in names.CLOUDS.values() for value in values):
        assert f"`{value}`" in text
