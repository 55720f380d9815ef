"""Env files of other products: each key is known, and it is clear which of several values counts."""

from pathlib import Path

import pytest

from golek_program.settings import SettingsError, names
from golek_worker import settings
from golek_worker.machine import check
from golek_worker.settings import Settings, explain
from tests.support.ports import free_port

BLOCKS = sorted(Path(__file__).with_name("env_blocks").glob("*.env"))
SERVICE = next(path for path in BLOCKS if path.name == "service.env").read_text()


class Project:
    """A folder with one deployment, `x`, that runs without a model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "envs" / "worker.x.env"
        self.file.parent.mkdir()

    def load(self, text: str = "", dotenv: str | None = None, **environment: str) -> Settings:
        self.write(text, dotenv)
        return settings.load(self.file, environment)

    def write(self, text: str = "", dotenv: str | None = None) -> None:
        self.file.write_text(f"MODEL_NAME=x\n{text}\n")
        if dotenv is not None:
            (self.folder / ".env").write_text(f"{dotenv}\n")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda path: path.stem)
def test_a_block_is_understood_unchanged(project: Project, block: Path) -> None:
    """Comments, quotes and JSON included, in a worker's file as in .env."""
    project.load(block.read_text())
    project.load(dotenv=block.read_text())
    assert not [line for line in settings.remarks(project.file, {}) if "unknown" in line]


def test_what_the_service_block_says(project: Project) -> None:
    """Aliases are in effect, values in their types."""
    loaded = project.load(SERVICE)
    assert (loaded.worker_concurrency, loaded.gpu_layers, loaded.engine) == (1, -1, "llamacpp")
    assert (loaded.golek_log_level, loaded.inference_request_timeout) == ("info", 120.0)


async def test_the_service_block_has_effect_and_is_no_trouble(project: Project) -> None:
    """The check finds nothing wrong in it, and there is nothing to remark: all of its keys are read."""
    url, data = f"nats://127.0.0.1:{free_port()}", project.folder / "data"
    project.write(f"ENGINE=echo\nNATS_URL={url}\nGOLEK_DATA={data}\n{SERVICE}")
    assert await check.problems(project.file, {}) == []
    assert settings.remarks(project.file, {}) == []
    loaded = settings.load(project.file, {})
    assert (loaded.inference_config, loaded.inference_orchestration_mode) == ("D3", "critique")


def test_another_gateways_settings_are_no_trouble(project: Project) -> None:
    """They may share the `.env`: nobody is warned, `golek config` says whose they are, and a wrong value is one."""
    project.write("ENGINE=echo", "LLM_GATEWAY_INFERENCE_ENABLED=true\n")
    assert settings.remarks(project.file, {}) == []
    (said,) = [one for one in explain.lines(explain.deployment(project.file, {})) if "INFERENCE_ENABLED" in one]
    assert said.endswith("not read by Golek: a setting of another gateway)")
    assert "waits" not in said
    with pytest.raises(SettingsError, match="LLM_GATEWAY_INFERENCE_ENABLED"):
        project.load("", "LLM_GATEWAY_INFERENCE_ENABLED=perhaps\n")


SLOTS = (
    "WORKER_CONCURRENCY",
    "INFERENCE_MAX_CONCURRENT_PER_MODEL",
    "INFERENCE_MAX_CONCURRENT_REQUESTS",
    "MAX_CONCURRENT_REQUESTS",
)


@pytest.mark.parametrize("winner", range(len(SLOTS)))
def test_the_first_name_given_wins(project: Project, winner: int) -> None:
    """The setting's own name, then INFERENCE_*, then the bare name, in whatever order they are written."""
    given = list(reversed(SLOTS[winner:]))
    loaded = project.load("\n".join(f"{name}={SLOTS.index(name) + 10}" for name in given))
    assert loaded.worker_concurrency == winner + 10


def test_a_setting_s_own_name_wins_wherever_it_stands(project: Project) -> None:
    """In .env it beats an alias in the environment."""
    assert project.load("NGL=3", "GPU_LAYERS=1", INFERENCE_GPU_LAYERS="2").gpu_layers == 1
    assert project.load("NGL=3", "", INFERENCE_GPU_LAYERS="2").gpu_layers == 2


def test_environment_then_file_then_dotenv(project: Project) -> None:
    """Under one name the nearest source counts."""
    assert project.load("CTX_SIZE=2", "CTX_SIZE=3", CTX_SIZE="1").ctx_size == 1
    assert project.load("CTX_SIZE=2").ctx_size == 2
    assert project.load("").ctx_size == 3
    assert project.load("", "").ctx_size == 0


def test_an_empty_value_takes_back_what_later_sources_say(project: Project) -> None:
    """It is as if the name stood nowhere; an alias may still speak."""
    assert project.load("CTX_SIZE=2", CTX_SIZE="").ctx_size == 0
    assert project.load("GPU_LAYERS=", "GPU_LAYERS=5").gpu_layers == -1
    assert project.load("GPU_LAYERS=", "GPU_LAYERS=5\nNGL=7").gpu_layers == 7


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("Yes", True), ("ON", True), ("no", False), ("off", False)]
)
def test_switches_take_the_usual_words(project: Project, text: str, value: bool) -> None:
    """true, false, 1, 0, yes, no, on, off, in any case."""
    assert project.load(f"GOLEK_OFFLINE={text}").golek_offline is value


@pytest.mark.parametrize(
    "line", ["HTTP_ADDR=5770", "HTTP_ADDR=:5770", "HTTP_ADDR=0.0.0.0:5770", "HTTP_ADDR=[::1]:5770"]
)
def test_addresses_with_and_without_a_host(project: Project, line: str) -> None:
    """A bare port will do."""
    assert project.load(line).http_addr


def test_names_of_single_settings(project: Project) -> None:
    """What other products call the model's file, the GPU's layers and the engine."""
    loaded = project.load("LLM_MODEL=m.gguf\nNGL=99\nINFERENCE_GPU_LAYERS=7\nINFERENCE_BACKEND=LlamaCpp")
    assert (loaded.model_path, loaded.gpu_layers, loaded.engine) == ("m.gguf", 7, "llamacpp")


def test_levels_in_capitals(project: Project) -> None:
    """INFERENCE_LOG_LEVEL=WARNING is `warning`."""
    assert project.load("INFERENCE_LOG_LEVEL=WARNING").golek_log_level == "warning"


def test_a_mistake_names_the_alias_and_where_it_stands(project: Project) -> None:
    """Who wrote NGL in .env reads NGL and .env."""
    with pytest.raises(SettingsError) as caught:
        project.load("", "NGL=many", INFERENCE_BACKEND="gemini")
    said = caught.value.mistakes
    assert said[0] == (
        "INFERENCE_BACKEND=gemini: a cloud, which a router asks: docs/router.md; here one of llamacpp, echo, vllm, "
        "litert, llama-server, ollama, trtllm, openai, router (in the environment)"
    )
    assert said[1].startswith("NGL=many: Expected `int`")
    assert said[1].endswith(f"(in {project.folder / '.env'})")


def test_a_value_that_does_not_count_is_no_mistake(project: Project) -> None:
    """Only what would be used is checked."""
    assert project.load("ENGINE=echo\nINFERENCE_BACKEND=gemini").engine == "echo"


def test_strangers_in_dotenv_are_left_alone(project: Project) -> None:
    """A key of ours that is mistyped gets a word, one of another program none, and neither stops anything."""
    project.load("", "POSTGRES_USER=ann\nINFERENCE_CONFG=D3\nexport EDITOR\n")
    nothing, typo = settings.remarks(project.file, {})
    assert "not KEY=VALUE: 'export EDITOR'" in nothing
    assert typo == f"INFERENCE_CONFG: unknown key in {project.folder / '.env'}; did you mean INFERENCE_CONFIG?"


def test_no_name_has_two_meanings() -> None:
    """Settings, aliases and keys of other programs are apart."""
    assert len(set(settings.KNOWN)) == len(settings.KNOWN)
    assert set(names.ALIASES) <= set(settings.KEYS)


def test_each_value_names_its_source(project: Project) -> None:
    """Environment, file, .env, the alias, or default; what lost is named too."""
    project.write("ENGINE=echo\nCTX_SIZE=\nMAX_CONCURRENT_REQUESTS=9\nINFERENCE_MAX_CONCURRENT_PER_MODEL=1", "NGL=3")
    rows = explain.deployment(project.file, {"ENGINE": "llamacpp", "INFERENCE_CONFIG": "D3"})
    said = {row.key: row for row in rows}
    file, dotenv = str(project.file), str(project.folder / ".env")
    assert list(said) == [*settings.KEYS, *names.NOT_READ]
    assert (said["MODEL_NAME"].value, said["MODEL_NAME"].source) == ("x", file)
    assert (said["ENGINE"].value, said["ENGINE"].source) == ("llamacpp", "environment")
    assert said["ENGINE"].overruled == [f"ENGINE=echo in {file}"]
    assert (said["CTX_SIZE"].value, said["CTX_SIZE"].source, said["CTX_SIZE"].changed) == ("0", "default", False)
    slots = said["WORKER_CONCURRENCY"]
    assert (slots.value, slots.source) == ("1", f"INFERENCE_MAX_CONCURRENT_PER_MODEL in {file}")
    assert slots.overruled == [f"MAX_CONCURRENT_REQUESTS=9 in {file}"]
    assert said["GPU_LAYERS"].source == f"NGL in {dotenv}"
    assert (said["INFERENCE_CONFIG"].value, said["INFERENCE_CONFIG"].source) == ("D3", "environment")
    assert [row.key for row in rows if row.changed] == [
        "MODEL_NAME",
        "WORKER_CONCURRENCY",
        "GPU_LAYERS",
        "INFERENCE_CONFIG",
    ]


def test_secrets_in_urls_are_not_shown(project: Project) -> None:
    """Neither the value that counts nor the one that lost, nor in a remark."""
    traces = "OTEL_EXPORTER_OTLP_ENDPOINT=http://ann:hush2@two\nOTEL_EXPORTER_OTLP_HEADERS=x-api-key=hush4"
    project.write("NATS_URL=nats://ann:hush1@one:4222", traces)
    rows = explain.deployment(project.file, {"NATS_URL": "nats://ann:hush3@three:4222"})
    text = "\n".join([*explain.lines(rows), *settings.remarks(project.file, {})])
    assert "nats://three:4222  (environment; overrules NATS_URL=nats://one:4222 in" in text
    assert "hush" not in text


def test_what_is_said_to_all_deployments(project: Project) -> None:
    """Without a deployment: only what environment and .env give."""
    project.write("ENGINE=echo", "NATS_URL=nats://elsewhere:4222\nINFERENCE_CONFIG=D3\nPOSTGRES_USER=ann")
    rows = explain.shared({"GOLEK_DATA": "data", "PATH": "/bin"}, project.folder)
    assert [(row.key, row.changed) for row in rows] == [
        ("INFERENCE_CONFIG", True),
        ("NATS_URL", True),
        ("GOLEK_DATA", False),
    ]
    assert settings.shared("NATS_URL", {}, project.folder) == "nats://elsewhere:4222"
    assert settings.shared("DB_PATH", {}, project.folder) is None
