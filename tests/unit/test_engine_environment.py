"""With which variables an engine's child starts."""

from pathlib import Path

import pytest

from golek_worker.engine import SPINS, environment
from golek_worker.engine.base import EngineConfig
from golek_worker.engine.vllm import place


@pytest.mark.parametrize(("threads", "spins"), [(1, {}), (2, {}), (3, {"GOMP_SPINCOUNT": SPINS})])
def test_many_threads_sleep_soon(tmp_path: Path, threads: int, spins: dict[str, str]) -> None:
    """Few threads may spin, for each has a core."""
    assert environment(EngineConfig("llamacpp", str(tmp_path / "model.gguf"), 1, 0, threads)) == spins


@pytest.mark.parametrize(
    ("threads", "given", "spins"), [(2, {}, None), (3, {}, SPINS), (3, {"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_so_do_vllms(tmp_path: Path, threads: int, given: dict[str, str], spins: str | None) -> None:
    """What the worker's own environment says wins."""
    variables = place.variables(EngineConfig("vllm", str(tmp_path), 1, 0, threads), tmp_path, given)
    assert variables["OMP_NUM_THREADS"] == str(threads)
    assert variables.get("GOMP_SPINCOUNT") == spins


def test_echo_needs_none() -> None:
    """It has no threads."""
    assert environment(EngineConfig("echo", "", 1, 0, 8)) == {}
