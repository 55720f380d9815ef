"""Settings: the example file is the manual, and every mistake is told."""

import ast
import inspect
import json
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
import pytest
from msgspec import Meta

from golek_program.settings import SettingsError
from golek_worker import settings
from golek_worker.settings import KEYS, Settings, explain

EXAMPLE = Path("envs/worker.example.env")
HINTS = get_type_hints(Settings, include_extras=True)


class Entry(NamedTuple):
    """One key of the example file."""

    meaning: str
    values: str
    default: str


def example(file: Path = EXAMPLE) -> dict[str, Entry]:
    """The blocks of an example file: meaning, values, default."""
    found = {}
    for block in file.read_text().split("\n\n"):
        lines = block.strip().splitlines()
        if match := re.fullmatch(r"# ([A-Z][A-Z0-9_]*)=(.*)", lines[-1]):
            meaning, values = lines[0].removeprefix("# "), lines[1].removeprefix("# Values: ")
            found[match[1]] = Entry(meaning, values, match[2])
    return found


def docstrings(kind: type[msgspec.Struct] = Settings) -> dict[str, str]:
    """The sentence under each field."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    (base,) = kind.__bases__
    found = docstrings(base) if base is not msgspec.Struct else {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            found[ast.unparse(field.target).upper()] = ast.literal_eval(text.value)
    return found


def test_the_example_file_has_exactly_the_keys_of_settings() -> None:
    """No key is missing from the manual, and it invents none."""
    assert sorted(example()) == sorted(KEYS)


@pytest.mark.parametrize("key", list(KEYS))
def test_the_example_file_says_what_settings_say(key: str) -> None:
    """Meaning, default and choices of each key agree with the code."""
    entry, name = example()[key], KEYS[key]
    assert entry.meaning == docstrings()[key]
    field = next(field for field in msgspec.structs.fields(Settings) if field.name == name)
    if field.required:
        assert entry.values.endswith("Required.")
    else:
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        given = json.loads(entry.default) if isinstance(default, dict) else entry.default
        assert msgspec.convert(given, HINTS[name], strict=False) == default


@pytest.mark.parametrize("key", [key for key, name in KEYS.items() if get_origin(HINTS[name]) is Literal])
def test_the_example_file_lists_the_choices(key: str) -> None:
    """A closed choice is written out in full."""
    assert example()[key].values == ", ".join(map(str, get_args(HINTS[KEYS[key]])))


@pytest.mark.parametrize("key", [key for key, name in KEYS.items() if hasattr(HINTS[name], "__metadata__")])
def test_the_example_file_states_the_limits(key: str) -> None:
    """Each bound of a number stands in its list of values."""
    for meta in HINTS[KEYS[key]].__metadata__:
        assert isinstance(meta, Meta)
        for bound in (meta.ge, meta.gt, meta.le):
            assert bound is None or re.search(rf"(?<![\d.]){bound:.10g}(?![\d.])", example()[key].values)


def test_the_example_uncommented_is_the_default_settings(tmp_path: Path) -> None:
    """Taking every line as it stands changes nothing but the name."""
    file = tmp_path / "worker.all.env"
    file.write_text("".join(f"{key}={entry.default}\n" for key, entry in example().items()))
    assert settings.load(file, {}) == Settings(model_name="golek-tiny")


@pytest.mark.parametrize("file", sorted(Path("envs").glob("worker.*.env")), ids=str)
def test_the_shipped_deployments_load(file: Path) -> None:
    """Each file of envs/ is right; the example lacks only the name."""
    if file == EXAMPLE:
        with pytest.raises(SettingsError) as caught:
            settings.load(file, {})
        assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == ["MODEL_NAME"]
    else:
        settings.load(file, {})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ENGINE=gemini", "ENGINE=gemini"),
        ("WORKER_CONCURRENCY=0", "WORKER_CONCURRENCY=0: Expected `int` >= 1"),
        ("WORKER_CONCURRENCY=many", "WORKER_CONCURRENCY=many: Expected `int`"),
        ("DRAIN_S=0", "DRAIN_S=0: Expected `float` >= 0.001"),
        ("GOLEK_AUDIT_BODY=some", "GOLEK_AUDIT_BODY=some"),
        ("QUEUE_CAPACTY=3", "QUEUE_CAPACTY: unknown key in {file}; did you mean QUEUE_CAPACITY?"),
        ("COLOUR=blue", "COLOUR: unknown key in {file}; envs/worker.example.env and .env.example list all keys"),
        ("MODEL_NAME=two words", "MODEL_NAME=two words: at most 128 of"),
        ("SUBJECT=models.x", "SUBJECT=models.x: a subject below inference.request."),
        ("NATS_URL=127.0.0.1:4222", "NATS_URL=127.0.0.1:4222: a URL like nats://127.0.0.1:4222"),
        ("HTTP_ADDR=5770:", "HTTP_ADDR=5770:: host:port, :port or port, from 1 to 65535, e.g. :5770"),
        ("LITERT_PIXELS=1,-1", "LITERT_PIXELS=1,-1: two numbers with a comma, the smaller one first, such as -1,1"),
        ("LITERT_PIXELS=1", "LITERT_PIXELS=1: two numbers with a comma"),
        ("LITERT_PIXELS=0,nan", "LITERT_PIXELS=0,nan: two numbers with a comma"),
        ("TENSOR_SPLIT=2,x", "TENSOR_SPLIT=2,x: numbers with commas, such as 2,1"),
        ("TENSOR_SPLIT=2,-1", "TENSOR_SPLIT=2,-1: no share below 0, and one above it"),
        ("TENSOR_SPLIT=2,1\nMAIN_GPU=1", "TENSOR_SPLIT=2,1: shares are for several GPUs, MAIN_GPU=1 puts all on one"),
        ("ADAPTERS=pirate", "ADAPTERS=pirate: 'pirate' is no name=path or name=path@scale"),
        ("HTTP_ADDR=:99999", "HTTP_ADDR=:99999: host:port, :port or port"),
        ("GOLEK_OFFLINE=maybe", "GOLEK_OFFLINE=maybe: one of true, false, yes, no, on, off, 1, 0"),
        ("NATS_URL=ann:secret@host", "NATS_URL=host: a URL like"),
        (
            "INFERENCE_BACKEND=gemini",
            (
                "INFERENCE_BACKEND=gemini: a cloud, which a router asks: docs/router.md; here one of llamacpp, echo, "
                "vllm, litert, llama-server, ollama, trtllm, openai, router"
            ),
        ),
        ("NGL=-2", "NGL=-2: Expected `int` >= -1"),
        ("INFERENCE_QUEUE_STRATEGY=lifo", "INFERENCE_QUEUE_STRATEGY=lifo: one of fifo, priority"),
        (
            "INFERENCE_PRIORITY_ENABLED=yes",
            "INFERENCE_PRIORITY_ENABLED=true: contradicts INFERENCE_QUEUE_STRATEGY=fifo",
        ),
        (
            "INFERENCE_QUEUE_STRATEGY=priority\nINFERENCE_PRIORITY_ENABLED=false",
            "INFERENCE_PRIORITY_ENABLED=false: contradicts INFERENCE_QUEUE_STRATEGY=priority",
        ),
        ("INFERENCE_PRIORITY_LEVELS=5", "INFERENCE_PRIORITY_LEVELS=5: one of 3"),
        ("INFERENCE_CRITIQUE_THRESHOLD=2", "INFERENCE_CRITIQUE_THRESHOLD=2: Expected `float` <= 1.0"),
        ("INFERENCE_DEBATE_MAX_ROUNDS=9", "INFERENCE_DEBATE_MAX_ROUNDS=9: Expected `int` <= 8"),
        ("INFERENCE_MODEL_ROLES={x", "INFERENCE_MODEL_ROLES={{x: JSON is malformed"),
        ("GOLEK_NATS_IDENTITY=certs", "GOLEK_NATS_IDENTITY=certs: one of open, keys, accounts"),
        (
            "INFERENCE_QUEUE_STRATGY=fifo",
            "INFERENCE_QUEUE_STRATGY: unknown key in {file}; did you mean INFERENCE_QUEUE",
        ),
    ],
)
def test_a_mistake_names_key_value_and_what_is_right(tmp_path: Path, line: str, said: str) -> None:
    """Each kind of mistake is one line for the person who made it."""
    file = tmp_path / "worker.x.env"
    file.write_text(f"MODEL_NAME=x\n{line}\n")
    with pytest.raises(SettingsError) as caught:
        settings.load(file, {})
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(said.format(file=file))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Nobody fixes a file one error at a time."""
    file = tmp_path / "worker.x.env"
    file.write_text("ENGINE=none\nDRAIN_S=-1\nWHAT=1\n")
    with pytest.raises(SettingsError) as caught:
        settings.load(file, {})
    assert len(caught.value.mistakes) == 4


def test_the_environment_wins_and_empty_is_the_default(tmp_path: Path) -> None:
    """Environment over file over default; an empty value asks for the default."""
    file = tmp_path / "worker.x.env"
    file.write_text("MODEL_NAME=x\nDRAIN_S=5\nCTX_SIZE=\nSTALL_S=7\n")
    loaded = settings.load(file, {"DRAIN_S": "6", "STALL_S": "", "PATH": "/bin"})
    assert (loaded.drain_s, loaded.ctx_size, loaded.stall_s) == (6.0, 0, 10.0)


def test_a_line_that_assigns_nothing_is_named(tmp_path: Path) -> None:
    """File, line and text of what is not KEY=VALUE."""
    file = tmp_path / "worker.x.env"
    file.write_text("MODEL_NAME=x\njust a line\nENGINE=echo\n")
    with pytest.raises(SettingsError, match=r"worker\.x\.env:2: not KEY=VALUE: 'just a line'"):
        settings.load(file, {})


def test_a_choice_names_all_there_are(tmp_path: Path) -> None:
    """A wrong word is answered with the right ones."""
    file = tmp_path / "worker.x.env"
    file.write_text("MODEL_NAME=x\nENGINE=gemini\n")
    with pytest.raises(
        SettingsError,
        match=r"ENGINE=gemini: a cloud, which a router asks: docs/router\.md; here one of llamacpp, echo, vllm, "
        "litert, llama-server, ollama, trtllm, openai, router",
    ):
        settings.load(file, {})


@pytest.mark.parametrize(
    ("subject", "taken"),
    [
        ("", ("inference.request.m.v1.5", "inference.request.m_v1_5")),
        ("inference.request.m.v1.5", ("inference.request.m.v1.5", "inference.request.m_v1_5")),
        ("embedding.request.m.v1.5", ("embedding.request.m.v1.5", "embedding.request.m_v1_5")),
        ("inference.request.other", ("inference.request.other",)),
    ],
)
def test_a_subject_that_is_the_default_takes_nothing_away(subject: str, taken: tuple[str, ...]) -> None:
    """An env file that writes the default out serves literal name and token, as one without it does."""
    chosen = Settings(model_name="m.v1.5", subject=subject)
    assert chosen.request_subjects(chosen.guessed_kind) == taken


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A deployment that does not exist says how to find those that do."""
    with pytest.raises(SettingsError, match=r"worker.nope.env: no such file; `make list-workers`"):
        settings.load(settings.env_file("nope", tmp_path), {})


PATHS = {"MODEL_PATH": "data/models/x/model.gguf", "DB_PATH": "./data/logs/x.sqlite"}
PATHS |= {"PROMPT_TEMPLATE": "data/t.json", "INFERENCE_MODELS_DIR": "data/models"}


def load_in(project: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    """The settings of a deployment whose paths begin with `data/`, in a project of its own."""
    (project / "envs").mkdir()
    file = project / "envs" / "worker.x.env"
    file.write_text("MODEL_NAME=x\n" + "".join(f"{key}={path}\n" for key, path in PATHS.items()))
    monkeypatch.chdir(project)
    return settings.load(file.relative_to(project), environment)


def test_paths_below_data_move_with_golek_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data/` at the beginning of a path is GOLEK_DATA, wherever that is."""
    loaded = load_in(tmp_path, monkeypatch, GOLEK_DATA="/srv/golek")
    assert loaded.model_path == "/srv/golek/models/x/model.gguf"
    assert loaded.db_path == "/srv/golek/logs/x.sqlite"
    assert loaded.prompt_template == "/srv/golek/t.json"
    assert loaded.inference_models_dir == "/srv/golek/models"


def test_other_paths_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute paths, and relative ones that do not begin with `data/`."""
    paths = {"MODEL_PATH": "/models/data/x.gguf", "DB_PATH": "database/x.sqlite"}
    loaded = load_in(tmp_path, monkeypatch, GOLEK_DATA="/srv/golek", **paths)
    assert (loaded.model_path, loaded.db_path) == ("/models/data/x.gguf", "database/x.sqlite")


def test_a_model_that_ships_is_found_in_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GOLEK_DATA's first, else the project's own; a log is never looked for there."""
    data = tmp_path / "elsewhere"
    for path in PATHS.values():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    own = load_in(tmp_path, monkeypatch, GOLEK_DATA=str(data))
    assert own.model_path == "data/models/x/model.gguf"
    assert own.db_path == str(data / "logs" / "x.sqlite")
    assert Settings(model_name="x", golek_data=str(data)).model_file == Path("data/models/x/model.gguf")
    (data / "models" / "x").mkdir(parents=True)
    (data / "models" / "x" / "model.gguf").touch()
    moved = settings.load(tmp_path / "envs" / "worker.x.env", {"GOLEK_DATA": str(data)})
    assert moved.model_path == str(data / "models" / "x" / "model.gguf")
    assert Settings(model_name="x", golek_data=str(data)).model_file == data / "models" / "x" / "model.gguf"


@pytest.mark.parametrize(
    ("url", "said", "kept"),
    [
        ("nats://127.0.0.1:4222", "auto", "full"),
        ("nats://localhost:4222", "auto", "full"),
        ("nats://10.0.0.5:4222", "auto", "hash"),
        ("nats://127.0.0.1:4222,nats://127.0.0.1:4223", "auto", "full"),
        ("nats://127.0.0.1:4222,nats://10.0.0.5:4222", "auto", "hash"),
        ("tls://bus.example:4222", "auto", "hash"),
        ("tls://bus.example:4222", "full", "full"),
        ("nats://127.0.0.1:4222", "none", "none"),
    ],
)
def test_prompts_are_kept_where_only_this_machine_asks(url: str, said: Any, kept: str) -> None:
    """Elsewhere only their hash, unless the deployment says otherwise."""
    assert Settings(model_name="m", nats_url=url, golek_audit_body=said).audit_body == kept


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    """`golek config` says that there is one, and who said so."""
    file = tmp_path / "worker.x.env"
    file.write_text("MODEL_NAME=x\nNATS_USER=ann\nNATS_PASSWORD=s3cr3t\n")
    shown = "\n".join(explain.lines(explain.deployment(file, {"NATS_PASSWORD": "0ther-s3cr3t"})))
    assert "s3cr3t" not in shown
    assert "(secret)  (environment; overrules NATS_PASSWORD=(secret) in" in shown


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ENGINE": "openai"}, "SERVER_URL"),
        ({"ENGINE": "openai", "SERVER_URL": "127.0.0.1:80"}, "http://127.0.0.1:8080"),
        ({"ENGINE": "ollama", "SERVER_COMMAND": "ollama 'serve"}, "SERVER_COMMAND"),
        ({"ENGINE": "echo", "SERVER_ARGS": "-x"}, "ENGINE=echo"),
        ({"ENGINE": "vllm", "VLLM_ARGS": '{"dtype": "float16"}'}, "VLLM_DTYPE"),
    ],
)
def test_settings_of_a_server_are_checked(given: dict[str, str], said: str, tmp_path: Path) -> None:
    """Each mistake is told with what would have been right."""
    file = tmp_path / "envs" / "worker.x.env"
    file.parent.mkdir()
    file.write_text("MODEL_NAME=x\n")
    _, mistakes = settings.read(file, given)
    assert any(said in mistake for mistake in mistakes), mistakes


def test_an_engine_may_be_spelt_otherwise(tmp_path: Path) -> None:
    """As other products spell it."""
    file = tmp_path / "envs" / "worker.x.env"
    file.parent.mkdir()
    file.write_text("MODEL_NAME=x\nSERVER_MODEL=y\n")
    chosen, mistakes = settings.read(file, {"INFERENCE_BACKEND": "TensorRT"})
    assert (mistakes, chosen.engine if chosen else None) == ([], "trtllm")
