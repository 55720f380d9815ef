"""Deployments without an env file: what `.env` or the environment name, and what the catalogue knows."""

from pathlib import Path

import pytest

from golek_program.settings import SettingsError
from golek_worker import settings
from golek_worker.settings import explain
from golek_worker.settings.made import named_by

CATALOG = """
models:
  - {id: phi-4, kind: inference, source: "hf:a/b/phi-4-Q4_K_M.gguf", verified: false, from: a test,
     context_length: 16384}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "envs").mkdir()
    (tmp_path / "data" / "catalog").mkdir(parents=True)
    (tmp_path / "data" / "catalog" / "models.yaml").write_text(CATALOG)
    return tmp_path


def load(project: Path, name: str, **environment: str) -> settings.Settings:
    return settings.load(settings.env_file(name, project / "envs"), environment)


def test_a_model_of_the_catalogue_needs_no_env_file(project: Path) -> None:
    """Its deployment has its name, and what the catalogue says of its settings."""
    chosen = load(project, "phi-4")
    assert (chosen.model_name, chosen.ctx_size) == ("phi-4", 16384)
    rows = {row.key: row for row in explain.deployment(settings.env_file("phi-4", project / "envs"), {})}
    assert rows["MODEL_NAME"].source == "the catalogue"


@pytest.mark.parametrize(
    ("file", "engine"), [("model.gguf", "llamacpp"), ("model.tflite", "litert"), ("config.json", "vllm")]
)
def test_a_model_that_lies_there_needs_no_env_file(project: Path, file: str, engine: str) -> None:
    """Its deployment has its folder's name, and the engine that its form wants, whatever is named for all."""
    folder = project / "there" / "models" / "eyes"
    folder.mkdir(parents=True)
    (folder / file).touch()
    (project / ".env").write_text("LLM_MODEL=/srv/any.gguf\nENGINE=echo\n")
    chosen = load(project, "eyes", GOLEK_DATA=str(project / "there"))
    assert (chosen.model_name, chosen.engine) == ("eyes", engine)
    assert chosen.model_file == (folder if file == "config.json" else folder / file)
    with pytest.raises(SettingsError, match="no such file"):
        load(project, "eyes")


def test_a_file_named_for_all_is_not_another_models(project: Path) -> None:
    """LLM_MODEL in `.env` is a service of its own; the catalogue's models keep their files beside it."""
    (project / ".env").write_text("LLM_MODEL=/srv/any.gguf\n")
    assert load(project, "any").model_path == "/srv/any.gguf"
    assert load(project, "phi-4").model_path == "data/models/phi-4/model.gguf"


def test_one_line_of_dotenv_is_a_deployment(project: Path) -> None:
    """Its name is the model's: MODEL_NAME, else as its file is called."""
    assert load(project, "x", MODEL_PATH="/models/x.gguf").model_name == "x"
    assert load(project, "mine", LLM_MODEL="/models/x.gguf", MODEL_NAME="mine").model_path == "/models/x.gguf"
    with pytest.raises(SettingsError, match="no such file"):
        load(project, "x", LLM_MODEL="/models/x.gguf", MODEL_NAME="mine")


@pytest.mark.parametrize("name", ["phi-5", "../envs/phi-4", "", "a/b"])
def test_what_nobody_knows_is_no_deployment(project: Path, name: str) -> None:
    """Neither a mistyped name nor one that leads out of the folder."""
    with pytest.raises(SettingsError, match="no such file"):
        load(project, name)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/models/x.gguf", "x"),
        ("data/models/any/model.gguf", "any"),
        ("Qwen3-8B-Q4_K_M-00001-of-00003.gguf", "Qwen3-8B-Q4_K_M"),
        ("/m/my model (1).gguf", "my-model-1"),
        ("model.gguf", "model"),
        ("/", ""),
    ],
)
def test_a_model_is_called_as_its_file(path: str, name: str) -> None:
    """Or as its folder, where the file is called as all are; what no name may have becomes a dash."""
    assert named_by(path) == name


def test_a_list_of_models_has_each_once(project: Path) -> None:
    """INFERENCE_PRELOAD_MODELS may have blanks, and names twice."""
    loaded = settings.load_service(project, {"INFERENCE_PRELOAD_MODELS": " phi-4, qwen2.5-7b,,phi-4 "})
    assert loaded.preloaded == ["phi-4", "qwen2.5-7b"]
    assert loaded.inference_port == 8000
