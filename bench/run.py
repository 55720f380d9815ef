"""Run benchmarks: `python bench/run.py [NAME]`. Their figures go to stdout, and to bench/results/NAME.json.

A file of results holds the machine and the lines of the latest run.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
NOT_A_BENCH = {
    "claims.py", "forwarder.py", "lookalikes.py", "peers.py", "random_folder.py", "random_model.py", "run.py",
    "simulated_fleet.py", "submissions.py", "support.py", "upstream.py", "worker_requests.py",
}  # fmt: skip


def names() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.py") if file.name not in NOT_A_BENCH)


def run(name: str) -> int:
    """Run one bench; show its lines as they come, keep them when it succeeds."""
    print(f"== bench/{name}.py", file=sys.stderr, flush=True)
    lines = []
    with subprocess.Popen([sys.executable, FOLDER / f"{name}.py"], stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        for line in bench.stdout:
            print(line, end="", flush=True)
            lines.append(json.loads(line))
    if bench.returncode == 0:
        results = FOLDER / "results" / f"{name}.json"
        results.parent.mkdir(exist_ok=True)
        results.write_text(json.dumps({"machine": machine(), "figures": lines}, indent=1) + "\n")
    return bench.returncode


def machine() -> dict[str, object]:
    """Enough to compare ratios, not enough to name the machine."""
    return {
        "system": platform.system(),
        "cpu": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def main() -> int:
    """Run the named bench, or all; the exit status is that of the first that failed."""
    wanted = sys.argv[1:] or names()
    unknown = [name for name in wanted if name not in names()]
    if unknown:
        print(f"no such bench: {', '.join(unknown)}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    return next((code for code in [run(name) for name in wanted] if code != 0), 0)


if __name__ == "__main__":
    sys.exit(main())
