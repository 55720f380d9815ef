"""A list of models from another service is read as it is, and gives a deployment its defaults."""

from pathlib import Path

import pytest

from golek_worker import settings
from golek_worker.registry import catalog, entries
from golek_worker.registry.entries import CatalogError
from golek_worker.settings import Settings, explain

HASH = "c" * 64
CATALOGUE = f"""
models:
  - id: phi-4
    kind: inference
    source: hf:microsoft/phi-4-gguf/phi-4-Q4_K_S.gguf
    size_bytes: 7900000000
    sha256: {HASH}
    verified: true
    from: tests
    context_length: 16384
    gpu_layers: -1
    roles: [primary]
"""
BY_NAME = """
models:
  phi-4:
    name: Phi 4
    file: phi-4-Q4_K_S.gguf
    size_gb: 7.9
    context_length: 8192
    gpu_layers: 20
    roles: [primary, thinker, coder]
    hardware: mac
  mine:
    hf_repo: own/repo
    filename: models/mine/mine.Q8_0.gguf
    role: coder, fast
    n_ctx: 32K
    size: "4.4GB"
presets:
  S1: {models: [phi-4], mode: single}
"""
AS_LIST = "models:\n  - {name: mine, repo: own/repo, path: mine.Q8_0.gguf, n_gpu_layers: 0}\n"
AT_THE_TOP = "mine:\n  url: https://example.org/mine.gguf\n  context_window: 4096\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a catalogue of one model."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / entries.CATALOG, CATALOGUE)
    return tmp_path


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def deployment(project: Path, text: str) -> Path:
    return write(project / "envs" / "worker.x.env", text)


def test_what_a_list_says_counts_and_the_catalogue_says_the_rest(project: Path) -> None:
    """The same file keeps its source, hash and certainty; what is new is an entry of its own."""
    write(project / "config" / "models.yaml", BY_NAME)
    known = entries.known()
    phi, mine = known["phi-4"], known["mine"]
    assert (phi.context_length, phi.gpu_layers, phi.roles) == (8192, 20, ["primary", "thinker", "coder"])
    assert (phi.source, phi.sha256, phi.verified) == ("hf:microsoft/phi-4-gguf/phi-4-Q4_K_S.gguf", HASH, True)
    assert mine.source == "hf:own/repo/mine.Q8_0.gguf"
    assert (mine.context_length, mine.about_gb, mine.roles, mine.quantization) == (
        32768,
        4.4,
        ["coder", "fast"],
        "Q8_0",
    )
    assert not mine.verified


def test_what_has_no_effect_is_told(project: Path) -> None:
    """Keys that nobody knows, each with its place; presets have effect at routers."""
    file = write(project / "config" / "models.yaml", BY_NAME)
    shown = file.relative_to(project)
    (first, _) = entries.read()
    assert first.remarks == [
        f"{shown}: phi-4: hardware: not known here, without effect",
    ]


@pytest.mark.parametrize(
    ("text", "source"), [(AS_LIST, "hf:own/repo/mine.Q8_0.gguf"), (AT_THE_TOP, "https://example.org/mine.gguf")]
)
def test_other_forms_are_understood(project: Path, text: str, source: str) -> None:
    """Models in a list, and models at the top."""
    write(project / "config" / "model_configs.yaml", text)
    assert entries.known()["mine"].source == source


def test_presets_are_no_models(project: Path) -> None:
    """A file with presets alone names no model; a router reads them, and what else stands there has no effect."""
    file = write(project / "config" / "model_configs.yaml", "S1: {models: [phi-4], mode: single, size: 7.9GB}\n")
    assert set(entries.known()) == {"phi-4"}
    assert entries.read()[0].remarks == []
    write(file, "presets:\n  S1: {models: [phi-4]}\ndefault: S1\n")
    assert [one.partition(": ")[2] for one in entries.read(models_file=str(file))[0].remarks] == [
        "default: has no effect yet",
    ]


def test_another_file_under_a_known_name_is_not_guessed_at(project: Path) -> None:
    """Its hash would be another, and nobody has said which repository has it: that is told, with the way out."""
    write(project / "config" / "models.yaml", "models: {phi-4: {file: phi-4-Q8_0.gguf}}")
    phi = entries.known()["phi-4"]
    assert (phi.source, phi.sha256) == (None, None)
    assert phi.unavailable == (
        "config/models.yaml names no repository of 'phi-4-Q8_0.gguf'; add `repo:` there, or set MODEL_SOURCE"
    )
    assert catalog.wanted(Settings(model_name="phi-4")) is None


def test_one_list_counts(project: Path) -> None:
    """MODELS_FILE before all others, then that beside the catalogue, then models.yaml before model_configs.yaml."""
    texts = {name: f"models: {{phi-4: {{context_length: {size}}}}}" for size, name in enumerate("abcd", 1)}
    own = write(project / "own.yaml", texts["a"])
    for place, text in zip(entries.LISTS, "bcd", strict=True):
        write(project / place, texts[text])
    assert entries.known(models_file=str(own))["phi-4"].context_length == 1
    for place, size in zip(entries.LISTS, (2, 3, 4), strict=True):
        assert entries.known()["phi-4"].context_length == size
        (project / place).unlink()
    assert entries.known()["phi-4"].context_length == 16384


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {m: {context_length: long}}", "m: context_length='long': a number of tokens, as 16384 or 16K"),
        ("models: {m: {gpu_layers: -2}}", "m: gpu_layers=-2: a number of layers, -1 for all"),
        ("models: {m: {size: big}}", "m: size='big': a size in GB, as 7.9"),
        ("models: {m: {roles: [chef]}}", "m: roles=['chef']: one or more of primary, fast"),
        ("models: {m: {type: poet}}", "m: type='poet': one of inference"),
        ("models: {m: {sha256: abc}}", "m: sha256='abc': 64 hexadecimal digits"),
        ("models: {m: {repo: a/b, file: m.bin}}", "m: hf:a/b/m.bin: the name of a model's file ends in .gguf"),
        ("models: [{size: 3}]", "models: one of id, name, model_id, model must name each model"),
        ("models: [{id: m}, {id: m}]", "models: 2 models with 1 names"),
        ("models: 3", "models: a mapping of model names"),
        ("- a", "a mapping with `models:` was expected"),
        ("models: [", "while parsing"),
    ],
)
def test_a_mistake_names_file_model_and_key(project: Path, text: str, said: str) -> None:
    """And what would be right; the settings of each deployment tell it as well."""
    file = write(project / "own.yaml", text)
    with pytest.raises(CatalogError) as caught:
        entries.known(models_file=str(file))
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)
    env = deployment(project, f"MODEL_NAME=m\nMODELS_FILE={file}\n")
    assert settings.read(env, {})[1] == [str(caught.value)]


def test_a_list_that_is_not_there_is_a_mistake(project: Path) -> None:
    """Who names a file wants it."""
    env = deployment(project, "MODEL_NAME=m\nMODELS_FILE=none.yaml\n")
    assert settings.read(env, {})[1] == ["MODELS_FILE=none.yaml: no such file"]


def test_a_signature_in_a_source_is_not_shown(project: Path) -> None:
    """Neither by `golek config` nor in what is said of the source."""
    env = deployment(project, "MODEL_NAME=m\nMODEL_SOURCE=https://me:pw@h/m.gguf?signature=abc\n")
    rows = {row.key: row.value for row in explain.deployment(env, {})}
    assert rows["MODEL_SOURCE"] == "https://h/m.gguf?…"
    wanted = catalog.wanted(settings.load(env, {}))
    assert wanted is not None
    assert str(wanted.source) == "https://h/m.gguf?…"


def test_context_and_layers_are_defaults_of_a_deployment(project: Path) -> None:
    """The env file wins over the list, the list over the catalogue, and `golek config` says where a value is from."""
    env = deployment(project, "MODEL_NAME=phi-4\n")
    assert settings.load(env, {}).ctx_size == 16384
    for other in ("MODEL_PATH=data/models/mine.gguf", "MODEL_SOURCE=hf:own/repo/mine.gguf"):
        assert settings.load(deployment(project, f"MODEL_NAME=phi-4\n{other}\n"), {}).ctx_size == 0
    deployment(project, "MODEL_NAME=phi-4\nMODEL_PATH=data/models/phi-4/model.gguf\n")
    assert settings.load(env, {}).ctx_size == 16384
    write(project / "config" / "models.yaml", BY_NAME)
    loaded = settings.load(env, {})
    assert (loaded.ctx_size, loaded.gpu_layers) == (8192, 20)
    rows = {row.key: row for row in explain.deployment(env, {})}
    assert rows["CTX_SIZE"].source == str(project / "config/models.yaml")
    assert rows["CTX_SIZE"].overruled == [f"CTX_SIZE=16384 in {project / entries.CATALOG}"]
    deployment(project, "MODEL_NAME=phi-4\nCTX_SIZE=4096\nNGL=5\n")
    loaded = settings.load(env, {})
    assert (loaded.ctx_size, loaded.gpu_layers) == (4096, 5)
