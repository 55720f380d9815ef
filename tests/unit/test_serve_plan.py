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


def test_a_preset_is_not_there_yet(project: Path) -> None:
    """It says so, where it stands, and what to write instead; with that the same file is served on its port."""
    block = (BLOCKS / "service.env").read_text()
    with pytest.raises(PlanError, match=r"INFERENCE_CONFIG=D3 \(in .*\.env\): presets are not there yet; name the mo"):
        planned(project, dotenv=block)
    block = block.replace("# INFERENCE_PRELOAD_MODELS", "INFERENCE_PRELOAD_MODELS")
    assert planned(project, dotenv=block).deployments == ["phi-4", "qwen2.5-7b"]
    service = settings.load_service(project, {})
    assert (service.inference_host, service.inference_port) == ("0.0.0.0", 8085)


def test_all_unknown_names_are_told_at_once(project: Path) -> None:
    """With what may have been meant, and how a model is added."""
    with pytest.raises(PlanError) as caught:
        planned(project, "golek-tyny", "echo", "nothing-of-ours")
    first, second = str(caught.value).splitlines()
    assert first.startswith("golek-tyny: unknown here; did you mean golek-tiny?")
    assert "worker.nothing-of-ours.env" in second
