"""In which environment is vLLM?

It pins hundreds of packages, torch among them, so it may have an environment of its own beside the worker's.
"""

import importlib.util
import os
import sys
from pathlib import Path

from golek_worker.engine.base import EngineLoadError

PROJECT = Path(__file__).resolve().parents[3]
BESIDE = ".venv-vllm"
"""The folder that `make build-vllm` makes."""


def find(wanted: str = "") -> Path | None:
    """The interpreter to run vLLM with: `wanted`, else the worker's own, else that of the folder `.venv-vllm`."""
    if wanted:
        path = Path(wanted).expanduser()
        return path if os.access(path, os.X_OK) and path.is_file() else None
    if importlib.util.find_spec("vllm") is not None:
        return Path(sys.executable)
    places = dict.fromkeys(folder / BESIDE / "bin" / "python" for folder in (Path.cwd(), PROJECT))
    return next((path for path in places if path.is_file()), None)


def needed(wanted: str = "") -> Path:
    """As `find`. Raises EngineLoadError, which says what to install."""
    found = find(wanted)
    if found is not None:
        return found
    if wanted:
        raise EngineLoadError(f"VLLM_PYTHON={wanted}: no program; the interpreter of an environment with vLLM in it")
    raise EngineLoadError(
        f"ENGINE=vllm: the package vllm is neither in this environment nor in {BESIDE}. `make build-vllm` installs it "
        "there, for the NVIDIA GPU or the CPU that is here; VLLM_PYTHON names another environment that has it."
    )
