"""The monitor's settings: the file that ships is the manual, and every mistake is told."""

import re
from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest
from msgspec import Meta

from golek_program.settings import SettingsError, monitor
from golek_program.settings.monitor import Monitor
from golek_worker import settings
from golek_worker.settings import explain
from tests.unit.test_settings import docstrings, example

FILE = Path("envs/monitor.env")
HINTS = get_type_hints(Monitor, include_extras=True)


def project(folder: Path, text: str = "", dotenv: str = "") -> Path:
    """A project folder with these settings."""
    (folder / "envs").mkdir()
    (folder / "envs" / "monitor.env").write_text(text)
    (folder / ".env").write_text(dotenv)
    return folder


def test_the_file_that_ships_has_exactly_the_keys_of_the_monitor() -> None:
    """No key is missing from the manual, and it invents none."""
    assert sorted(example(FILE)) == sorted(monitor.OWN_KEYS)


@pytest.mark.parametrize("key", monitor.OWN_KEYS)
def test_it_says_what_the_code_says(key: str) -> None:
    """Meaning, default and bounds of each key; configuration.md has the key with its default."""
    entry, name = example(FILE)[key], monitor.KEYS[key]
    assert entry.meaning == docstrings(Monitor)[key]
    field = next(field for field in msgspec.structs.fields(Monitor) if field.name == name)
    assert msgspec.convert(entry.default, HINTS[name], strict=False) == field.default
    for meta in getattr(HINTS[name], "__metadata__", ()):
        assert isinstance(meta, Meta)
        for bound in (meta.ge, meta.gt, meta.le):
            assert bound is None or re.search(rf"(?<![\d.]){bound:.10g}(?![\d.])", entry.values)
    (row,) = [
        line for line in Path("docs/configuration.md").read_text().splitlines() if line.startswith(f"| `{key}` |")
    ]
    assert row.split(" | ")[1].strip("`") == (entry.default or "none")


def test_as_it_ships_it_changes_nothing(tmp_path: Path) -> None:
    """And uncommented it is the default."""
    shipped = project(tmp_path, FILE.read_text())
    assert monitor.load(shipped, {}) == Monitor()
    (tmp_path / "envs" / "monitor.env").write_text(
        "".join(f"{key}={entry.default}\n" for key, entry in example(FILE).items())
    )
    assert monitor.load(shipped, {}) == Monitor()


def test_the_environment_wins_over_the_file_and_that_over_dotenv(tmp_path: Path) -> None:
    """A key, for one that only `.env` gives as well."""
    folder = project(tmp_path, "MONITOR_KEY=file\nMONITOR_ADDR=5999", "MONITOR_KEY=dotenv\nNATS_URL=nats://a:1\n")
    loaded = monitor.load(folder, {"MONITOR_ADDR": "5998"})
    assert (loaded.monitor_key, loaded.page_url, loaded.nats_url) == ("file", "http://127.0.0.1:5998", "nats://a:1")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("MONITOR_ADDR=5780:", "MONITOR_ADDR=5780:: host:port, :port or port, from 1 to 65535"),
        ("MONITOR_DASHBOARD_ADDR=x y", "MONITOR_DASHBOARD_ADDR=x y: host:port, :port or port"),
        (
            "MONITOR_DASHBOARD_ADDR=0.0.0.0:8080",
            "MONITOR_DASHBOARD_ADDR=0.0.0.0:8080: an address of this machine alone",
        ),
        ("MONITOR_SHOW_PROMPTS=some", "MONITOR_SHOW_PROMPTS=some: one of true, false"),
        ("MONITOR_ADR=:1", "MONITOR_ADR: unknown key in "),
    ],
)
def test_what_is_wrong_is_told_by_key(tmp_path: Path, line: str, said: str) -> None:
    """With the value, and what would have been right."""
    with pytest.raises(SettingsError) as caught:
        monitor.load(project(tmp_path, line), {})
    assert caught.value.mistakes[0].startswith(said)


def test_an_address_for_others_needs_a_key() -> None:
    """Without one it is open to all, which is a sentence; on this machine, and with a key, it is none."""
    assert monitor.open_to_all(Monitor(monitor_addr="0.0.0.0:5780")).startswith(
        "MONITOR_ADDR=0.0.0.0:5780: others reach"
    )
    assert monitor.open_to_all(Monitor(monitor_addr="0.0.0.0:5780", monitor_key="k")) == ""
    assert monitor.open_to_all(Monitor()) == ""


def test_a_key_that_is_guessed_soon_is_told_where_others_reach_it(tmp_path: Path) -> None:
    """On this machine any will do; a long one is no remark."""
    public = {"monitor_addr": "0.0.0.0:5780"}
    assert monitor.remarks(Monitor(**public, monitor_key="abc"), tmp_path)[0].startswith("MONITOR_KEY: 3 characters")
    assert monitor.remarks(Monitor(**public, monitor_key="x" * 16), tmp_path) == []
    assert monitor.remarks(Monitor(monitor_key="abc"), tmp_path) == []


def test_its_keys_are_known_to_workers(tmp_path: Path) -> None:
    """In `.env` they are no mistake of a worker's; a mistyped one is told, and the key is not shown."""
    folder = project(tmp_path, dotenv="MONITOR_KEY=secret-1\nMONITOR_ADDR=:1\n")
    (folder / "envs" / "worker.x.env").write_text("MODEL_NAME=x\nENGINE=echo\n")
    assert settings.remarks(folder / "envs" / "worker.x.env", {}) == []
    shown = {row.key: row.value for row in explain.shared({}, folder)}
    assert shown == {"MONITOR_ADDR": ":1", "MONITOR_KEY": "(secret)"}
    (folder / ".env").write_text("MONITOR_ADRR=:1\n")
    assert "did you mean MONITOR_ADDR?" in settings.remarks(folder / "envs" / "worker.x.env", {})[0]
