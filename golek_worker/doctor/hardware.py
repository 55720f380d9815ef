"""What is this machine: its Python, processor, memory, disk and GPUs?"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from golek_worker.doctor.finding import Finding
from golek_worker.engine.llamacpp import memory
from golek_worker.engine.llamacpp.threads import usable_cores
from golek_worker.free_memory import free_bytes
from golek_worker.registry.download import MARGIN

CPUINFO: Final = Path("/proc/cpuinfo")
FEATURES: Final = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx512_bf16": "AVX512-BF16",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "sve": "SVE",
}
"""What engines compute faster with, by the names that the kernel gives it."""
PATIENCE_S: Final = 15.0


def findings(data: Path) -> Iterator[Finding]:
    """All of it; `data` is where models and logs lie."""
    yield Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield _processor()
    yield Finding("memory", "ok", f"{memory.shown(free_bytes())} free of {memory.shown(psutil.virtual_memory().total)}")
    yield _disk(data)
    yield _nvidia()
    if sys.platform == "darwin":
        yield _metal()


def features(cpuinfo: str) -> list[str]:
    """Those of `FEATURES` that the text of /proc/cpuinfo names."""
    lines = (line.partition(":")[2] for line in cpuinfo.splitlines() if line.startswith(("flags", "Features")))
    words = set(next(lines, "").split())
    return [shown for name, shown in FEATURES.items() if name in words]


def _processor() -> Finding:
    has = features(CPUINFO.read_text()) if CPUINFO.is_file() else []
    if not has and platform.machine() in ("arm64", "aarch64"):
        has = ["NEON"]  # all of them have it
    says = f"{platform.machine()}, {usable_cores()} cores ({os.cpu_count()} threads), {', '.join(has) or 'no AVX2'}"
    if platform.machine() == "x86_64" and CPUINFO.is_file() and "AVX2" not in has:
        return Finding("processor", "could be", says, "models run slowly; vLLM for CPUs does not run without AVX2")
    return Finding("processor", "ok", says)


def _disk(data: Path) -> Finding:
    nearest = next(path for path in (data, *data.absolute().parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    says = f"{memory.shown(free)} free at {nearest}"
    if free < MARGIN:
        return Finding("disk", "cannot", says, "make room, or set GOLEK_DATA to another disk", is_needed=True)
    return Finding("disk", "ok", says)


def _nvidia() -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding("NVIDIA", "cannot", "no driver here (nvidia-smi)")
    command = [program, "--query-gpu=name,memory.free,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("NVIDIA", "could be", f"nvidia-smi does not answer: {error}", "look after the driver")
    gpus = "; ".join(line.strip() for line in done.stdout.splitlines())
    return Finding("NVIDIA", "ok", gpus) if gpus else Finding("NVIDIA", "cannot", "the driver finds no GPU")


def _metal() -> Finding:
    if platform.machine() == "arm64":
        return Finding("Metal", "ok", "an Apple GPU")
    return Finding("Metal", "could be", "macOS on an Intel processor: Metal computes slowly there")
