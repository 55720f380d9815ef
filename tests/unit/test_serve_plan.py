"""Which deployments `golek serve` starts, by table, and the env files that its users come with."""

import shutil
from pathlib import Path

import pytest

from golek_worker import settings
from golek_worker.supervisor.plan import Plan, PlanError, plan
from tests.support.workers import ROOT

BLOCKS = Path(__file__).with_name("env_blocks")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The deployments and the catalogue that ship, in a folder of its own."""
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(project: Path, *arguments: str, dotenv: str = "", **environment: str) -> Plan:
    (project / ".env").write_text(dotenv)
    return plan(arguments, settings.load_service(project, environment), project / "envs", environment)


@pytest.mark.parametrize(
    ("arguments", "dotenv", "deployments"),
    [
        ((), "", ["golek-tiny"]),
        (("echo",), "INFERENCE_PRELOAD_MODELS=phi-4\nLLM_MODEL=/srv/x.gguf", ["echo"]),
        ((), "INFERENCE_PRELOAD_MODELS=phi-4, qwen2.5-7b\nINFERENCE_CONFIG=D3", ["phi-4", "qwen2.5-7b"]),
        ((), "INFERENCE_PRELOAD_MODELS=phi-4,echo\nINFERENCE_ORCHESTRATION_MODE=debate", ["phi-4", "echo", "router"]),
        ((), "INFERENCE_CONFIG=D3\nLLM_MODEL=/srv/x.gguf", ["phi-4", "deepseek-r1-7b", "router"]),
        (("D3",), "INFERENCE_CONFIG=D4", ["phi-4", "deepseek-r1-7b", "router"]),
        (("S4", "echo"), "", ["llama-3.2-3b", "router", "echo"]),
        ((), "INFERENCE_PRELOAD_MODELS=phi-4\nLLM_MODEL=/srv/x.gguf", ["phi-4"]),
        ((), "LLM_MODEL=/models/x.gguf", ["x"]),
        ((), "MODEL_NAME=mine\nMODEL_PATH=/models/x.gguf", ["mine"]),
        ((), "MODEL_NAME=team/mine\nMODEL_PATH=/models/x.gguf", ["team_mine"]),
        ((), "MODEL_NAME=echo", ["echo"]),
        (("golek-tiny", "golek-tiny", "phi-4"), "", ["golek-tiny", "phi-4"]),
    ],
)  # fmt: skip
def test_who_names_them(project: Path, arguments: tuple[str, ...], dotenv: str, deployments: list[str]) -> None:
    """What is typed, INFERENCE_PRELOAD_MODELS, the one model of `.env`, the demo model; each deployment once."""
    found = planned(project, *arguments, dotenv=dotenv)
    assert found.deployments == deployments
    for deployment in deployments:
        assert settings.find(settings.env_file(deployment, project / "envs")) is not None


def test_one_file_and_no_more_is_a_service(project: Path) -> None:
    """`LLM_MODEL=… golek serve`, with the settings that such a service has."""
    found = planned(project, dotenv=(BLOCKS / "single_names.env").read_text())
    assert found.deployments == ["any"]
    assert found.why == f"by LLM_MODEL in {project / '.env'}"
    chosen = settings.load(settings.env_file("any", project / "envs"), {})
    assert (chosen.model_name, chosen.model_path, chosen.worker_concurrency) == ("any", "data/models/any/model.gguf", 3)
    assert (chosen.gpu_layers, chosen.worker_type) == (99, "instruct")


def test_the_env_file_of_a_service_with_a_preset(project: Path) -> None:
    """As it stands it starts the preset's models and a router; with the explicit list these, and a router as the mode
    wants them to answer together."""
    block = (BLOCKS / "service.env").read_text()
    found = planned(project, dotenv=block)
    assert (found.deployments, found.why) == (["phi-4", "deepseek-r1-7b", "router"], "by INFERENCE_CONFIG=D3")
    block = block.replace("# INFERENCE_PRELOAD_MODELS", "INFERENCE_PRELOAD_MODELS")
    assert planned(project, dotenv=block).deployments == ["phi-4", "qwen2.5-7b", "router"]
    service = settings.load_service(project, {})
    assert (service.inference_host, service.inference_port) == ("0.0.0.0", 8085)


def test_a_preset_that_there_is_not(project: Path) -> None:
    """Where it is named, and what may have been meant."""
    with pytest.raises(PlanError, match=r"INFERENCE_CONFIG \(in .*\.env\): D33: no such preset; did you mean D3\?"):
        planned(project, dotenv="INFERENCE_CONFIG=D33")


def test_a_preset_of_ones_own(project: Path) -> None:
    """From config/presets.yaml; aliases and clouds of it are started by nobody here."""
    (project / "config").mkdir()
    (project / "config" / "presets.yaml").write_text("X1: {models: [echo, golek-tiny, 'openai:gpt-5'], mode: debate}\n")
    assert planned(project, "X1").deployments == ["echo", "golek-tiny", "router"]
    (project / "config" / "presets.yaml").write_text("X1: {models: [echo, nobodys], mode: debate}\n")
    with pytest.raises(PlanError, match="nobodys: unknown here"):
        planned(project, "X1")


def test_all_unknown_names_are_told_at_once(project: Path) -> None:
    """With what may have been meant, and how a model is added."""
    with pytest.raises(PlanError) as caught:
        planned(project, "golek-tyny", "echo", "nothing-of-ours")
    first, second = str(caught.value).splitlines()
    assert first.startswith("golek-tyny: unknown here; did you mean golek-tiny?")
    assert "worker.nothing-of-ours.env" in second
