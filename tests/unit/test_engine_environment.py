"""With which variables an engine's child starts."""

from pathlib import Path

import pytest

from golek_worker.engine import SPINS, environment
from golek_worker.engine.base import EngineConfig


@pytest.mark.parametrize(("threads", "spins"), [(1, {}), (2, {}), (3, {"GOMP_SPINCOUNT": SPINS})])
def test_many_threads_sleep_soon(tmp_path: Path, threads: int, spins: dict[str, str]) -> None:
    """Few threads may spin, for each has a core."""
    assert environment(EngineConfig("llamacpp", str(tmp_path / "model.gguf"), 1, 0, threads)) == spins


def test_echo_needs_none() -> None:
    """It has no threads."""
    assert environment(EngineConfig("echo", "", 1, 0, 8)) == {}
