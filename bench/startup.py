"""How long until a person can work, and what does waiting cost?

Medians of 7: `golek worker start golek-tiny` from nothing (broker included), `golek --help`, and what `import
golek_client` costs beyond `import nats`. Then the CPU of worker and child over 60 s of idling.
"""

import compileall
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from support import ROOT, figure, median, note

from tests.support.ports import free_port

BENCH = "startup"
RUNS = 7
IDLE_S = float(os.environ.get("IDLE_S", "60"))
GOLEK = [sys.executable, "-m", "golek_worker.cli"]
MODEL = "golek-tiny"


def seconds(command: list[str], environment: dict[str, str] | None = None) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def ready_s() -> float:
    """From nothing to a worker that is online."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as data:
        environment = os.environ | {"GOLEK_DATA": data, "NATS_URL": f"nats://127.0.0.1:{free_port()}"}
        try:
            return seconds([*GOLEK, "worker", "start", MODEL], environment)
        finally:
            seconds([*GOLEK, "worker", "stop"], environment)


def import_ms() -> tuple[float, float]:
    """(import nats and Golek, import nats) in a fresh interpreter each."""
    both = [seconds([sys.executable, "-c", "import nats; from golek_client import Golek"]) for _ in range(RUNS)]
    nats = [seconds([sys.executable, "-c", "import nats"]) for _ in range(RUNS)]
    return median(both) * 1e3, median(nats) * 1e3


def idle_share() -> float:
    """CPU seconds of worker and child per second of idling."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as data:
        environment = os.environ | {"GOLEK_DATA": data, "NATS_URL": f"nats://127.0.0.1:{free_port()}"}
        try:
            seconds([*GOLEK, "worker", "start", MODEL], environment)
            from golek_worker.machine import runfile

            state = runfile.read(Path(data), MODEL, 1)
            assert state is not None
            family = [psutil.Process(state.pid), *psutil.Process(state.pid).children()]
            before = used_s(family)
            time.sleep(IDLE_S)
            return (used_s(family) - before) / IDLE_S
        finally:
            seconds([*GOLEK, "worker", "stop"], environment)


def used_s(family: list[psutil.Process]) -> float:
    return sum(p.cpu_times().user + p.cpu_times().system for p in family)


def main() -> None:
    for package in ("golek_wire", "golek_client", "golek_worker"):
        compileall.compile_dir(ROOT / package, quiet=1)
    note("starting golek-tiny seven times")
    figure(BENCH, "ready", median([ready_s() for _ in range(RUNS)]), None, "s", RUNS)
    figure(BENCH, "help", median([seconds([*GOLEK, "--help"]) for _ in range(RUNS)]) * 1e3, None, "ms", RUNS)
    both, nats = import_ms()
    figure(BENCH, "import_client_beyond_nats", both - nats, None, "ms", RUNS)
    note(f"idling for {IDLE_S:.0f} s")
    figure(BENCH, "idle_cpu", idle_share() * 100, None, "% of a core", 1)


if __name__ == "__main__":
    main()
