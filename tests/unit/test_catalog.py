"""The catalogue and what is to be downloaded: every shipped entry is right, every mistake is named."""

import hashlib
from pathlib import Path

import pytest

from golek_worker.registry import catalog, entries, source
from golek_worker.registry.catalog import Wanted
from golek_worker.registry.entries import CatalogError
from golek_worker.registry.source import FileSource, HubSource, S3Source, Source, SourceError, WebSource
from golek_worker.settings import Settings

ENTRY = "models:\n  - {id: m, kind: inference, source: 'hf:own/repo/m.gguf', verified: true, from: tests}\n"
HASH = "a" * 64


def a_catalogue(folder: Path, text: str = ENTRY) -> Path:
    file = folder / entries.CATALOG
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_shipped_catalogue_has_every_model_that_is_named() -> None:
    """Each model of the documents has an entry, and the file holds no other but that for vLLM."""
    assert set(entries.load()) == {
        "golek-tiny", "golek-quiz-a", "golek-quiz-b", "golek-quiz-c", "gemma3-270m", "qwen3-4b",
        "gpt-oss-20b", "all-minilm-l6-v2", "nomic-embed-v1.5", "nomic-embed-v2-moe",
        "llama-3.2-3b", "qwen2.5-7b", "deepseek-r1-7b", "granite-8b-code-128k", "phi-4", "phi-3-medium-128k",
        "granite-20b-code", "qwen3-8b", "qwen3-coder-30b-a3b", "deepseek-vl",
        "smolvlm-500m", "qwen3-0.6b",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["golek-tiny", "golek-quiz-a", "golek-quiz-b", "golek-quiz-c"])
def test_a_model_that_ships_is_the_one_the_catalogue_names(name: str) -> None:
    """`golek models verify golek-tiny` holds it against this."""
    entry, file = entries.load()[name], Path("data/models") / name / "model.gguf"
    assert (entry.sha256, entry.size_bytes) == (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)


@pytest.mark.parametrize("entry", entries.load().values(), ids=lambda entry: entry.id)
def test_each_shipped_entry_says_what_it_promises(entry: entries.Entry) -> None:
    """A size for people, where the name comes from, and a hash and exact size wherever it calls itself verified."""
    assert entry.origin
    assert entry.size_bytes or entry.about_gb or entry.unavailable
    if entry.source is not None and entry.verified:
        assert entry.sha256
        assert entry.size_bytes
    wanted = catalog.of_entry(entry)
    assert (wanted is None) == (entry.made_by is not None or entry.unavailable is not None)
    if wanted is not None:
        assert bool(wanted.doubt) != entry.verified
        assert "GB" in wanted.size or "MB" in wanted.size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ENTRY.replace("from:", "frm:"), "unknown field `frm`"),
        (ENTRY + "sizes: 3\n", "unknown field `sizes`"),
        (ENTRY.replace("kind: inference", "kind: chat"), "chat"),
        (ENTRY.replace("verified: true", "verified: maybe"), "verified"),
        (ENTRY.replace("from: tests", f"from: tests, sha256: {HASH[:-1]}"), "sha256"),
        (ENTRY + ENTRY.partition("\n")[2], "two entries with the id 'm'"),
        (
            ENTRY.replace("m.gguf", "m-00001-of-00002.gguf").replace("from: tests", f"from: tests, sha256: {HASH}"),
            "m: one sha256 for several files",
        ),
        (
            ENTRY.replace("source: 'hf:own/repo/m.gguf', ", ""),
            "m: exactly one of `source`, `made_by` and `unavailable`",
        ),
        (ENTRY.replace("hf:own/repo/m.gguf", "own/repo/m.gguf"), "m: own/repo/m.gguf: hf:<owner>"),
        ("models: [", "while parsing"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    """Nothing unknown is passed over."""
    file = a_catalogue(tmp_path, text)
    with pytest.raises(CatalogError) as caught:
        entries.load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_what"),
    [
        ("hf:own/repo/m.gguf", HubSource("m.gguf", "own/repo")),
        ("hf:own/repo-2.5/deep/er/m.Q8_0.gguf@v1", HubSource("deep/er/m.Q8_0.gguf", "own/repo-2.5", "v1")),
        ("s3://zoo/deep/m.gguf", S3Source("deep/m.gguf", "zoo")),
        ("https://me:pw@h:8/a/m.gguf?k=v", WebSource("/a/m.gguf", "https://h:8", "me:pw", "k=v")),
        ("/models/m.gguf", FileSource("/models/m.gguf")),
    ],
)
def test_a_source_reads_back_as_written(text: str, is_what: Source) -> None:
    """Place, file, folders and revision are told apart, and `text` gives the same text."""
    assert source.parse(text) == is_what
    assert is_what.text == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("m.gguf", "hf:<owner>/<repository>/<file>.gguf"),
        ("ftp://example.org/m.gguf", "https://<host>/<path>"),
        ("https://example.org/", "https://example.org/: no file"),
        ("s3://bucket", "s3://<bucket>/<key>.gguf"),
        ("/models/m.bin", "a path to a file of this machine"),
        ("./README.md", "the name of a model's file ends in .gguf"),
        ("hf:../repo/m.gguf", "hf:<owner>/<repository>/<file>.gguf"),
        ("hf:repo/m.gguf", "hf:<owner>/<repository>/<file>.gguf"),
        ("hf:own/repo/m.safetensors", "hf:<owner>/<repository>/<file>.gguf"),
        ("hf:own/repo/../../m.gguf", "hf:<owner>/<repository>/<file>.gguf"),
        ("hf:own/repo/m-00002-of-00002.gguf", "name the first of the model's files, …-00001-of-00002.gguf"),
    ],
)
def test_what_is_no_source_is_refused(text: str, said: str) -> None:
    """The message repeats the value and shows the form."""
    with pytest.raises(SourceError) as caught:
        source.parse(text)
    assert str(caught.value).startswith(f"{text}: ")
    assert said in str(caught.value)


def test_a_split_model_is_several_files(tmp_path: Path) -> None:
    """Named by its first, it lies beside where one file would, under names that llama.cpp understands."""
    split = source.parse("hf:own/repo/q4/big-00001-of-00003.gguf@v1")
    assert [one.path for one in split.files()] == [f"q4/big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert {one.revision for one in split.files() if isinstance(one, HubSource)} == {"v1"}
    names = [f"model-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert [target.name for target in split.targets(tmp_path / "model.gguf")] == names
    assert [target.name for target in split.targets(tmp_path / names[0])] == names
    assert HubSource("m.gguf", "own/repo").targets(tmp_path / "model.gguf") == [tmp_path / "model.gguf"]


def test_the_env_file_wins_over_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MODEL_SOURCE replaces the entry with its hash and its doubt; MODEL_SHA256 alone replaces only the hash."""
    doubtful = ENTRY.replace("verified: true", f"verified: false, sha256: {HASH}, size_bytes: 2500000000")
    monkeypatch.chdir(tmp_path)
    assert catalog.wanted(Settings(model_name="m")) is None
    a_catalogue(tmp_path, doubtful)
    mine = HubSource("m.gguf", "own/repo")
    known = catalog.wanted(Settings(model_name="m"))
    assert known is not None
    assert (known.source, known.sha256, known.size) == (mine, HASH, "2.5 GB")
    assert known.doubt == "nobody has checked that this file is there; named by: tests"
    other = catalog.wanted(Settings(model_name="m", model_source="hf:own/repo/o.gguf"))
    assert other == Wanted(HubSource("o.gguf", "own/repo"))
    same = catalog.wanted(Settings(model_name="m", model_source="hf:own/repo/m.gguf", model_sha256="B" * 64))
    assert same is not None
    assert (same.sha256, same.size) == ("b" * 64, "2.5 GB")
    assert catalog.wanted(Settings(model_name="unknown")) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_sha256": "abc"}, "MODEL_SHA256=abc: 64 hexadecimal digits"),
        (
            {"model_sha256": HASH, "model_source": "hf:own/repo/m-00001-of-00002.gguf"},
            f"MODEL_SHA256={HASH}: hf:own/repo/m-00001-of-00002.gguf has several files; leave it out",
        ),
        ({"model_source": "somewhere"}, "MODEL_SOURCE=somewhere: hf:<owner>"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], said: str
) -> None:
    """Key, value, and what would be right."""
    monkeypatch.chdir(tmp_path)
    a_catalogue(tmp_path)
    with pytest.raises(CatalogError) as caught:
        catalog.wanted(Settings(model_name="m", **values))
    assert str(caught.value).startswith(said)


def test_what_forbids_a_download_is_named() -> None:
    """Golek's own switch for all but this machine, and that of the hub's client for the hub."""
    mine, offline = Settings(model_name="m"), Settings(model_name="m", golek_offline=True)
    hub, s3, here = (source.parse(text) for text in ("hf:own/repo/m.gguf", "s3://zoo/m.gguf", "/models/m.gguf"))
    assert [catalog.is_offline(offline, place, {}) for place in (hub, s3, here)] == ["GOLEK_OFFLINE=1"] * 2 + [""]
    assert catalog.is_offline(mine, hub, {"HF_HUB_OFFLINE": "yes"}) == "HF_HUB_OFFLINE=yes"
    assert catalog.is_offline(mine, s3, {"HF_HUB_OFFLINE": "yes"}) == ""
    assert catalog.is_offline(mine, hub, {"HF_HUB_OFFLINE": "0"}) == ""


@pytest.mark.parametrize(
    ("size", "shown"), [(1, "1 kB"), (291_545_600, "292 MB"), (2_497_280_256, "2.5 GB"), (11_624_759_488, "11.6 GB")]
)
def test_sizes_for_people(size: int, shown: str) -> None:
    """Powers of ten, as disks and downloads are counted."""
    assert catalog.shown_size(size) == shown
