"""Who may import whom: wire <- client <- program <- worker, monitor, and the leaf folders of the worker stay apart."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LEAVES = (
    "admission", "bus", "cache", "engine", "gateway", "grammars", "orchestration", "prompt", "registry",
    "sessions", "store", "telemetry", "vision",
)  # fmt: skip
COMMAND_LINE = (
    "cli",
    "cli_adapters",
    "cli_cache",
    "cli_grammars",
    "cli_letters",
    "cli_operate",
    "cli_results",
    "cli_route",
    "cli_sessions",
    "cli_vision",
    "terminal",
    "terminal_bus",
)
"""Modules of the client that only `golek` imports; they may use typer."""
STDLIB = sys.stdlib_module_names


def sources(package: str) -> list[Path]:
    return sorted(Path(package).rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Every module that `file` imports, at any depth of its code; `from a import b` yields a and a.b."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join((*file.parts[: -node.level], *([base] if base else [])))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def outside(file: Path, allowed: set[str]) -> list[str]:
    """Imports of `file` whose first part is neither allowed nor of the standard library."""
    return [name for name in imported(file) if name.partition(".")[0] not in allowed | STDLIB]


@pytest.mark.parametrize("file", sources("golek_wire"), ids=str)
def test_the_wire_needs_only_msgspec(file: Path) -> None:
    """Anything may import the contract."""
    assert outside(file, {"msgspec", "golek_wire"}) == []


@pytest.mark.parametrize("file", sources("golek_client"), ids=str)
def test_the_client_needs_only_nats_and_the_wire(file: Path) -> None:
    """Anyone may import the client without an engine; typer comes in with the command line alone, aiohttp with
    HTTP, OpenTelemetry where spans are wished for."""
    allowed = {"msgspec", "nats", "nkeys", "golek_wire", "golek_client"}
    if file.stem == "http":
        allowed = {"msgspec", "aiohttp", "golek_wire"}
    if file.stem == "otel":
        allowed.add("opentelemetry")
    if file.stem in COMMAND_LINE:
        allowed.add("typer")
    else:
        command_line = {f"golek_client.{name}" for name in COMMAND_LINE}
        assert command_line.isdisjoint(imported(file))
    assert outside(file, allowed) == []


@pytest.mark.parametrize(
    ("package", "unknown"),
    [
        ("golek_program", ("golek_worker", "golek_monitor")),
        ("golek_worker", ("golek_monitor",)),
        ("golek_monitor", ("golek_worker",)),
    ],
)
def test_programs_do_not_know_each_other(package: str, unknown: tuple[str, ...]) -> None:
    """Worker and monitor meet on the bus only; what both have knows neither."""
    for file in sources(package):
        assert [name for name in imported(file) if name.partition(".")[0] in unknown] == [], file


NAMES = "golek_worker.engine.names"
"""Data that the settings have: which engines there are."""


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaf_folders_stay_apart(leaf: str) -> None:
    """What crosses between two folders is passed in by those who join them."""
    others = tuple(f"golek_worker.{other}" for other in LEAVES if other != leaf)
    for file in sources(f"golek_worker/{leaf}"):
        assert [name for name in imported(file) if name.startswith(others) and not name.startswith(NAMES)] == [], file
