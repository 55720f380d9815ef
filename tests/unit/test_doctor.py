"""`golek doctor`: what this machine can run, and what to install."""

import json
import platform
import stat
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from golek_worker.commands.workers import app
from golek_worker.doctor import deployments, examination, hardware, runtimes, surroundings
from golek_worker.doctor.finding import Finding
from golek_worker.engine.vllm import probe
from golek_worker.machine.modelfiles import Model
from tests.support import folders

FLAGS = "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu sse2 avx avx2 avx512f amx_tile\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with one deployment that needs nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    (tmp_path / "envs").mkdir()
    deploy("plain", "ENGINE=echo\nNATS_URL=nats://127.0.0.1:1\n")
    return tmp_path


def deploy(name: str, says: str) -> None:
    Path("envs", f"worker.{name}.env").write_text(f"MODEL_NAME={name}\n{says}")


def golek(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_the_processors_features_are_those_that_engines_use() -> None:
    """As the kernel names them, on both families of processors."""
    assert hardware.features(FLAGS) == ["AVX2", "AVX512", "AMX"]
    assert hardware.features("Features\t: fp asimd evtstrm sve\n") == ["NEON", "SVE"]
    assert hardware.features("") == []


def test_an_old_processor_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AVX2 there is no vLLM, and models are slow."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(FLAGS.replace(" avx2", ""))
    monkeypatch.setattr(hardware, "CPUINFO", cpuinfo)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    (told,) = [one for one in hardware.findings(tmp_path) if one.about == "processor"]
    assert (told.verdict, "AVX2" in told.do) == ("could be", True)


def test_a_driver_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi may be there and its GPU not; what one that answers says is passed on."""
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for says, verdict in (("exit 9", "could be"), ("true", "cannot"), ("echo 'NVIDIA X, 9000 MiB, 550.1'", "ok")):
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o755)
        (told,) = [one for one in hardware.findings(tmp_path) if one.about == "NVIDIA"]
        assert told.verdict == verdict
    assert told.says == "NVIDIA X, 9000 MiB, 550.1"


def test_a_line_has_verdict_subject_and_what_to_do() -> None:
    """What to do stands at its end, where there is something."""
    assert Finding("vLLM", "could be", "not here", "make build-vllm").line == (
        "could be  vLLM                not here -> make build-vllm"
    )
    assert Finding("disk", "ok", "9.0 GiB free").line.endswith("9.0 GiB free")


def test_models_that_fit_are_counted() -> None:
    """By the size of their files; of those without a known size nothing is said."""
    rows = [Model(name=f"m{n}", state="missing", size_bytes=n * 2**30) for n in range(1, 11)]
    told = surroundings.fitting([*rows, Model(name="who", state="present")], 8 * 2**30)
    assert told.says == "1 here; 8 of 10 fit into 8.0 GiB: m1, m2, m3, m4, m5, m6 and 2 more"
    assert surroundings.fitting(rows, 2**20).verdict == "cannot"


def test_every_engine_has_a_line(project: Path) -> None:
    """And machine, broker, hub, ports, models and each deployment have theirs; all is well where nothing is needed."""
    done = golek("--json")
    found = {one["about"]: one for one in json.loads(done.output)}
    assert done.exit_code == 0
    engines = {"llama.cpp", "vLLM", "llama-server", "ollama", "trtllm", "LiteRT"}
    around = {"Python", "processor", "memory", "disk", "NVIDIA", "broker", "hub", "gateway", "monitor", "models"}
    assert found.keys() == engines | around | {"plain"}
    assert {one["verdict"] for one in found.values()} <= {"ok", "could be", "cannot"}
    assert all(one["do"] for one in found.values() if one["verdict"] == "could be")
    assert found["plain"]["says"] == "ENGINE=echo: has all that it needs"


def test_what_a_named_deployment_lacks_is_an_error(project: Path) -> None:
    """Its engine has a line, then all that its start would say; the exit code says that it would not run."""
    folders.write(project / "data" / "models" / "big")
    deploy("big", "ENGINE=vllm\nVLLM_PYTHON=/nowhere/python\nNATS_URL=nats://127.0.0.1:1\n")
    done = golek("big")
    engine, deployment = done.output.splitlines()
    assert done.exit_code == 1
    assert engine.startswith("could be  vLLM ")
    assert "VLLM_PYTHON=/nowhere/python: no program -> make build-vllm" in engine
    assert deployment.startswith("cannot    big ")
    assert "->" not in deployment  # what is wrong says what helps
    assert golek("plain").exit_code == 0


async def test_a_deployment_counts_once_it_has_run(project: Path) -> None:
    """One that nobody has used is no reason to say that something is missing; its log says that somebody has."""
    deploy("big", "MODEL_PATH=nowhere.gguf\nNATS_URL=nats://127.0.0.1:1\n")
    told = await deployments.of("big")
    assert (told.verdict, told.is_needed) == ("could be", False)
    assert "MODEL_PATH=nowhere.gguf: no such file" in told.says
    (project / "data" / "logs").mkdir(parents=True)
    (project / "data" / "logs" / "big.sqlite").touch()
    told = await deployments.of("big")
    assert (told.verdict, told.is_needed) == ("cannot", True)
    assert not examination.is_well([told])


def test_a_download_that_is_forbidden_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the key that forbids it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = {one["about"]: one for one in json.loads(golek("--json").output)}
    assert found["hub"]["says"] == "HF_HUB_OFFLINE=1: nothing is downloaded"
    assert found["hub"]["do"] == "unset HF_HUB_OFFLINE"


def interpreter(folder: Path, says: str) -> str:
    """A stand-in for an environment's interpreter: what it prints, and how it ends."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{says}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def test_an_environment_is_asked_for_its_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says last counts; noise before it does not."""
    python = interpreter(tmp_path, """echo noise; echo '{"version":"9.9","platform":"cuda","problem":""}'""")
    assert probe.ask(python) == probe.Found(version="9.9", platform="cuda")
    monkeypatch.setenv("VLLM_PYTHON", python)
    assert runtimes.vllm() == Finding("vLLM", "ok", f"9.9 for cuda, {python}")


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        ("echo broken >&2; exit 3", "ended with status 3: broken"),
        ("exec sleep 20", "did not import vLLM within 0 s"),
    ],
)
def test_an_environment_that_does_not_answer_is_told(tmp_path: Path, says: str, problem: str) -> None:
    """It neither hangs nor passes for one without vLLM."""
    assert problem in probe.ask(interpreter(tmp_path, says), patience_s=0.3).problem


def test_this_environment_has_no_vllm() -> None:
    """A real interpreter: which one, and what would install it."""
    if probe.ask(sys.executable).version:
        pytest.skip("vLLM is installed beside the worker")
    assert probe.ask(sys.executable).problem == f"vLLM is not installed for {sys.executable}"


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        ("operator torchvision::nms does not exist", "-m pip uninstall -y torchvision torchaudio torchcodec"),
        ("libc10_cuda.so: cannot open shared object file", "-m pip uninstall -y torchvision torchaudio torchcodec"),
        ("libnuma.so.1: cannot open shared object file", "apt install libnuma1"),
        ("anything else", "make build-vllm"),
    ],
)
def test_what_breaks_vllm_has_a_remedy(error: str, helps: str) -> None:
    """Packages for another torch beside it, a library of the system, or an install that went wrong."""
    assert helps in probe.advice(error)
