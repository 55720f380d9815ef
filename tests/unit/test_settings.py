"""Settings: the example file is the manual, and every mistake is told."""

import ast
import inspect
import re
from pathlib import Path
from typing import Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
import pytest
from msgspec import Meta

from golek_worker import settings
from golek_worker.settings import KEYS, Settings, SettingsError

EXAMPLE = Path("envs/worker.example.env")
HINTS = get_type_hints(Settings, include_extras=True)


class Entry(NamedTuple):
    """One key of the example file."""

    meaning: str
    values: str
    default: str


def example() -> dict[str, Entry]:
    """The example file's blocks of three lines: meaning, values, default."""
    found = {}
    for block in EXAMPLE.read_text().split("\n\n"):
        lines = block.strip().splitlines()
        if match := re.fullmatch(r"# ([A-Z][A-Z0-9_]*)=(.*)", lines[-1]):
            meaning, values = lines[0].removeprefix("# "), lines[1].removeprefix("# Values: ")
            found[match[1]] = Entry(meaning, values, match[2])
    return found


def docstrings() -> dict[str, str]:
    """The sentence under each field of Settings."""
    (definition,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            found[ast.unparse(field.target).upper()] = ast.literal_eval(text.value)
    return found


def test_the_example_file_has_exactly_the_keys_of_settings() -> None:
    """No key is missing from the manual, and it invents none."""
    assert list(example()) == list(KEYS)


@pytest.mark.parametrize("key", list(KEYS))
def test_the_example_file_says_what_settings_say(key: str) -> None:
    """Meaning, default and choices of each key agree with the code."""
    entry, name = example()[key], KEYS[key]
    assert entry.meaning == docstrings()[key]
    field = next(field for field in msgspec.structs.fields(Settings) if field.name == name)
    if field.default is msgspec.NODEFAULT:
        assert entry.values.endswith("Required.")
    else:
        assert msgspec.convert(entry.default, HINTS[name], strict=False) == field.default


@pytest.mark.parametrize("key", [key for key, name in KEYS.items() if get_origin(HINTS[name]) is Literal])
def test_the_example_file_lists_the_choices(key: str) -> None:
    """A closed choice is written out in full."""
    assert example()[key].values == ", ".join(get_args(HINTS[KEYS[key]]))


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
        ("ENGINE=vllm", "ENGINE=vllm"),
        ("WORKER_CONCURRENCY=0", "WORKER_CONCURRENCY=0: Expected `int` >= 1"),
        ("WORKER_CONCURRENCY=many", "WORKER_CONCURRENCY=many: Expected `int`"),
        ("DRAIN_S=0", "DRAIN_S=0: Expected `float` >= 0.001"),
        ("GOLEK_AUDIT_BODY=some", "GOLEK_AUDIT_BODY=some"),
        ("QUEUE_CAPACTY=3", "QUEUE_CAPACTY: unknown key in {file}; did you mean QUEUE_CAPACITY?"),
        ("COLOUR=blue", "COLOUR: unknown key in {file}; envs/worker.example.env lists all keys"),
        ("MODEL_NAME=two words", "MODEL_NAME=two words: at most 128 of"),
        ("SUBJECT=models.x", "SUBJECT=models.x: a subject below inference.request."),
        ("NATS_URL=127.0.0.1:4222", "NATS_URL=127.0.0.1:4222: a URL like nats://127.0.0.1:4222"),
        ("HTTP_ADDR=5770", "HTTP_ADDR=5770: host:port or :port with a port from 1 to 65535, e.g. :5770"),
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
    file.write_text("MODEL_NAME=x\nENGINE=vllm\n")
    with pytest.raises(SettingsError, match="ENGINE=vllm: one of llamacpp, echo"):
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
    assert Settings(model_name="m.v1.5", subject=subject).request_subjects == taken


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A deployment that does not exist says how to find those that do."""
    with pytest.raises(SettingsError, match=r"worker.nope.env: no such file; `make list-workers`"):
        settings.load(settings.env_file("nope", tmp_path), {})
