"""What a folder of Hugging Face says of its model, and where it is looked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from golek_worker import folder, headers
from golek_worker.engine.llamacpp import memory
from golek_worker.folder import FolderError
from golek_worker.machine import check, vllm_check
from golek_worker.registry import artifacts, entries, source
from golek_worker.registry.artifacts import ArtifactError, fingerprint, kind_of
from golek_worker.registry.catalog import wanted
from golek_worker.registry.entries import CatalogError
from golek_worker.registry.source import RepoSource, SourceError
from golek_worker.settings import Settings
from tests.support import folders

PARAMETERS = 320 * 64 + 64 * 64 + 64


def settings(model_path: Path | str = "", **more: Any) -> Settings:
    return Settings(model_name="m", engine="vllm", model_path=str(model_path), **more)


def test_a_folder_is_described_in_the_words_of_gguf(tmp_path: Path) -> None:
    """Size, numbers, context and template, by config.json and the headers of two files of weights."""
    header = headers.read(folders.write(tmp_path))
    assert (header.architecture, header.context_length, header.embedding_length) == ("qwen3", 512, 64)
    assert (header.parameters, header.quantization) == (PARAMETERS, "BF16")
    assert header.size_bytes == sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert header.chat_template == folders.TEMPLATE
    assert not header.embeds
    quantized = folders.write(tmp_path, quantization_config={"quant_method": "awq"})
    assert headers.read(quantized).quantization == "AWQ"


def test_the_part_about_text_counts_of_a_model_that_sees(tmp_path: Path) -> None:
    """Its config.json has that below `text_config`."""
    inner = {"text_config": folders.CONFIG | {"max_position_embeddings": 4096}, "max_position_embeddings": None}
    seeing = folders.write(tmp_path, architectures=["Qwen3VLForConditionalGeneration"], **inner)
    assert (headers.read(seeing).context_length, kind_of(seeing)) == (4096, "inference")


def test_a_model_whose_config_names_no_architecture(tmp_path: Path) -> None:
    """DeepSeek-VL2 as its makers publish it: vLLM knows it by its type."""
    inner = {"language_config": folders.CONFIG | {"max_position_embeddings": 4096}, "max_position_embeddings": None}
    seeing = folders.write(tmp_path, architectures=None, model_type="deepseek_vl_v2", **inner)
    assert (headers.read(seeing).context_length, kind_of(seeing)) == (4096, "inference")


@pytest.mark.parametrize(
    ("config", "more", "kind"),
    [
        ({}, {}, "inference"),
        ({}, {"1_Pooling/config.json": b"{}"}, "embedding"),
        ({}, {"modules.json": b"[]"}, "embedding"),
        ({"architectures": ["BertModel"]}, {}, "embedding"),
        ({"architectures": ["Idefics3ForConditionalGeneration"]}, {}, "inference"),
        ({"architectures": ["InternVLChatModel"]}, {}, "inference"),
        ({"architectures": ["MiniCPMV"]}, {}, "inference"),
        ({"architectures": ["GPT2LMHeadModel"]}, {}, "inference"),
        ({"architectures": ["XLMRobertaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}, {}, "rerank"),
    ],
)
def test_its_kind_is_told_by_its_files(tmp_path: Path, config: Any, more: dict[str, bytes], kind: str) -> None:
    """Who writes, who makes vectors, who ranks."""
    assert kind_of(folders.write(tmp_path, folders.contents(**config) | more)) == kind


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config.json": b"[]"}, "config.json is no mapping"),
        ({"config.json": b"{"}, "config.json is no JSON"),
        ({"model-2.safetensors": folders.weights({"b": (64, 64)})[:-1]}, "model-2.safetensors: cut off, 1 bytes are"),
        ({"model-2.safetensors": b"\xff" * 64}, "model-2.safetensors: a damaged file, with a header of"),
        ({"config.json": json.dumps({"architectures": ["WhisperForAudio"]}).encode()}, "neither writes nor makes"),
        (
            {"config.json": b'{"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "1": "b"}}'},
            "it sorts texts, which no engine does",
        ),
    ],
)
def test_what_cannot_be_served_is_told(tmp_path: Path, change: dict[str, bytes], says: str) -> None:
    """Which file it is, and what is wrong with it."""
    with pytest.raises(FolderError, match=says):
        headers.read(folders.write(tmp_path, folders.contents() | change))


def test_a_template_may_lie_beside_the_processor_of_images(tmp_path: Path) -> None:
    """As chat_template.json, where the tokenizer has none."""
    files = folders.contents() | {"tokenizer_config.json": b"{}", "chat_template.json": b'{"chat_template": "{{ 1 }}"}'}
    assert headers.read(folders.write(tmp_path, files)).chat_template == "{{ 1 }}"


def test_without_weights_or_config_it_is_none(tmp_path: Path) -> None:
    """Weights in other forms are not served."""
    folders.write(tmp_path, {"config.json": folders.contents()["config.json"], "pytorch_model.bin": b"x"})
    with pytest.raises(FolderError, match=r"no file with weights \(\.safetensors\)"):
        headers.read(tmp_path)
    with pytest.raises(FolderError, match=r"no config\.json"):
        folder.read_header(tmp_path / "nothing")


def test_only_the_files_of_the_model_count() -> None:
    """Of a repository: no other forms of the weights, no second copy, no pictures; config.json first."""
    names = [
        "README.md", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json",
        "pytorch_model.bin", "original/consolidated.00.pth", "consolidated.safetensors", "m-Q4_K_M.gguf", "merges.txt",
        ".gitattributes",
        "tokenizer.model", "tokenizer.json", "chat_template.jinja", "1_Pooling/config.json", "onnx/model.onnx",
        "2_Dense/model.safetensors", "openvino/config.json", "figures/a.json", ".x.part",
    ]  # fmt: skip
    assert folder.chosen(names) == [
        "config.json", "1_Pooling/config.json", "2_Dense/model.safetensors", "chat_template.jinja", "merges.txt",
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json", "tokenizer.model",
    ]  # fmt: skip


def test_places_are_tried_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of files are; the folder itself is the model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(artifacts, "SHARED_MODELS", tmp_path / "shared")
    chosen = settings(inference_models_dir="zoo")
    assert artifacts.find(chosen) is None
    for place in (tmp_path / "shared" / "m", Path("data/models/m"), Path("zoo/m")):
        folders.write(place)
        assert artifacts.find(chosen) == place
    assert artifacts.find(settings("data/models/m")) == Path("data/models/m")


def test_what_is_no_folder_of_a_model_is_told(tmp_path: Path) -> None:
    """A file, a folder without a model, and one of which files are missing; and a folder where a file is wanted."""
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ArtifactError, match=r"m\.gguf: a file; ENGINE=vllm takes a folder, with config\.json in it"):
        artifacts.find(settings(file))
    with pytest.raises(ArtifactError, match=r"no config\.json in it"):
        artifacts.find(settings(tmp_path))
    model = folders.write(tmp_path / "m")
    (model / "model-2.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"m: files are missing in it: model-2\.safetensors"):
        artifacts.find(settings(model))
    with pytest.raises(ArtifactError, match="a folder; name the file in it with MODEL_PATH; it is one for ENGINE=vllm"):
        artifacts.find(Settings(model_name="m", model_path=str(model)))


def test_the_fingerprint_is_that_of_its_model(tmp_path: Path) -> None:
    """Copies have one; another byte in any of the model's files gives another, one in a README does not."""
    one, other = folders.write(tmp_path / "a"), folders.write(tmp_path / "b")
    (other / "README.md").write_text("nothing of the model")
    assert fingerprint(one) == fingerprint(other) != ""
    (other / "tokenizer.json").write_bytes(b'{"version": "2.0"}')
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(tmp_path / "nothing") == ""


def test_a_repository_is_a_source() -> None:
    """With or without a revision; what looks like a file of a repository without an owner is none."""
    assert source.parse("hf:Qwen/Qwen3-4B-AWQ") == RepoSource("Qwen/Qwen3-4B-AWQ")
    assert str(source.parse("hf:own/repo@v1")) == "hf:own/repo@v1"
    with pytest.raises(SourceError):
        source.parse("hf:own/m.gguf")


def test_a_source_of_another_form_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for an engine that reads folders, a repository for one that reads files: said before a download."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CatalogError, match=r"hf:a/b/c\.gguf is a file; ENGINE=vllm takes hf:<owner>/<repository>$"):
        wanted(settings(model_source="hf:a/b/c.gguf"))
    with pytest.raises(CatalogError, match=r"hf:a/b is a whole repository.*; ENGINE=llamacpp takes .*<file>\.gguf"):
        wanted(Settings(model_name="m", model_source="hf:a/b"))
    with pytest.raises(CatalogError, match="hf:a/b has several files"):
        wanted(settings(model_source="hf:a/b", model_sha256="0" * 64))


CATALOGUE = """
models:
  - {id: big, kind: inference, source: "hf:own/big-AWQ", engine: vllm, context_length: 4096, verified: false,
     from: tests}
"""


def test_the_catalogue_names_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that wants another engine than llama.cpp is started with it, by its name alone."""
    from golek_worker import settings as all_settings

    monkeypatch.chdir(tmp_path)
    entries.CATALOG.parent.mkdir(parents=True)
    entries.CATALOG.write_text(CATALOGUE)
    chosen = all_settings.load(all_settings.env_file("big"), {})
    assert (chosen.engine, chosen.ctx_size, str(chosen.model_file)) == ("vllm", 4096, "data/models/big")
    assert entries.known()["big"].quantization == "AWQ"
    entries.CATALOG.write_text(CATALOGUE.replace("engine: vllm, ", "").replace("id: big", "id: wrong"))
    with pytest.raises(CatalogError, match="source hf:own/big-AWQ, engine llamacpp: a repository goes with"):
        entries.known()


def test_memory_is_told_before_a_start(tmp_path: Path) -> None:
    """Weights, the KV cache for full slots unless it is given, and what vLLM takes itself."""
    model = folders.write(tmp_path)
    header = folder.read_header(model)
    needed = vllm_check.needs(settings(model, worker_concurrency=4), header)
    assert (needed.weights, needed.compute) == (header.size_bytes, vllm_check.RUNTIME)
    assert needed.cache == 4 * 512 * 2 * (16 + 16) * 2 * 2
    given = settings(model, vllm_kv_cache_memory_bytes=64 * memory.MIB)
    assert vllm_check.needs(given, header).cache == 64 * memory.MIB
    assert check.memory_note(settings(model), {})[0].startswith(
        "memory: needs 1.0 GiB (weights 0.0, KV cache 0.0 for 4 "
    )


def test_what_keeps_vllm_from_loading_it_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More context than it was trained with, too little memory, and a kind that is not served."""
    model = folders.write(tmp_path / "m")
    assert list(vllm_check.problems(settings(model), model)) == []
    (told,) = vllm_check.problems(settings(model, ctx_size=1024), model)
    assert told.startswith(f"CTX_SIZE=1024: {model} was trained with at most 512 tokens")
    monkeypatch.setattr(vllm_check, "free_bytes", lambda: 10**6)
    monkeypatch.setattr(vllm_check, "has_nvidia", lambda: False)
    (told,) = vllm_check.problems(settings(model), model)
    assert "are free: a smaller model would fit" in told
    monkeypatch.undo()
    ranker = folders.write(tmp_path / "r", architectures=["BertForSequenceClassification"], id2label={"0": "x"})
    (told,) = vllm_check.problems(settings(ranker), ranker)
    assert "ranks documents, for which ENGINE=vllm is not made here" in told
