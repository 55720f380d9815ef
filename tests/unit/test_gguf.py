"""The reader of GGUF headers: what files say of themselves, and damaged ones."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golek_worker.gguf import GGUFError, Header, read_header, read_tensors
from scripts.minilm.gguf_file import encode_header, write

MODEL = Path("data/models/golek-tiny/model.gguf")
METADATA = {
    "general.architecture": "toy",
    "toy.context_length": 128,
    "toy.embedding_length": 8,
    "toy.scale": 0.5,
    "toy.attention.causal": False,
    "toy.pooling_type": 3,
    "toy.labels": ["one", "zwei"],
    "toy.sizes": [-1, 2, 3],
    "tokenizer.ggml.tokens": [f"token{i}" for i in range(600)],
    "tokenizer.ggml.scores": [0.25] * 600,
    "tokenizer.chat_template": "{{ messages }} ünï",
}
TENSORS = {"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float16)}
TOY = encode_header(METADATA, TENSORS) + b"\0" * 200
KEY = struct.pack("<Q", 1) + b"k"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path to write to, again and again."""
    return tmp_path_factory.mktemp("gguf") / "model.gguf"


def read(file: Path, content: bytes) -> Header:
    file.write_bytes(content)
    return read_header(file)


def test_tensors_are_those_of_the_file(file: Path) -> None:
    """Names, shapes with the innermost dimension first, and ggml's numbers of F32 and F16."""
    file.write_bytes(TOY)
    assert read_tensors(file) == [("a", (4, 3), 0), ("b", (5,), 1)]


def header(*values: bytes, tensors: int = 0, keys: int | None = None) -> bytes:
    """A header of key-value pairs as they are encoded."""
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, len(values) if keys is None else keys) + b"".join(values)


def test_values_are_those_of_the_file(file: Path) -> None:
    """Scalars, strings and short arrays as they are; of long arrays the length."""
    toy = read(file, TOY)
    long = {"tokenizer.ggml.tokens": 600, "tokenizer.ggml.scores": 600}
    assert toy.metadata == METADATA | long
    assert (toy.architecture, toy.context_length, toy.embedding_length, toy.pooling) == ("toy", 128, 8, 3)
    assert (toy.parameters, toy.size_bytes) == (17, len(TOY))
    assert toy.chat_template == METADATA["tokenizer.chat_template"]


@pytest.mark.parametrize(
    ("kind", "code", "value"),
    [
        (0, "B", 255),
        (1, "b", -128),
        (2, "H", 65535),
        (3, "h", -32768),
        (4, "I", 2**32 - 1),
        (5, "i", -(2**31)),
        (6, "f", 0.5),
        (7, "?", True),
        (10, "Q", 2**64 - 1),
        (11, "q", -(2**63)),
        (12, "d", 0.1),
    ],
)
def test_every_type_of_number(file: Path, kind: int, code: str, value: float) -> None:
    """Alone, and in an array of more than one."""
    alone = KEY + struct.pack(f"<I{code}", kind, value)
    both = struct.pack("<Q", 2) + b"kk" + struct.pack(f"<IIQ2{code}", 9, kind, 2, value, value)
    assert read(file, header(alone, both)).metadata == {"k": value, "kk": [value, value]}


def test_the_shipped_model() -> None:
    """A real file: a model that writes."""
    tiny = read_header(MODEL)
    assert (tiny.architecture, tiny.embeds) == ("llama", False)
    assert tiny.parameters > 10**5
    assert tiny.chat_template


def test_version_2_is_read_like_version_3(file: Path) -> None:
    """They differ in nothing that a little-endian machine sees."""
    assert read(file, b"GGUF\x02" + TOY[5:]) == read(file, TOY)


@pytest.mark.parametrize(
    ("pooling", "causal", "embeds"),
    [(None, None, False), (None, True, False), (None, False, True), (1, None, True), (0, None, False), (3, True, True)],
)
def test_which_models_embed(file: Path, pooling: int | None, causal: bool | None, embeds: bool) -> None:
    """Those that pool, and those whose tokens see what follows."""
    said = {"toy.pooling_type": pooling, "toy.attention.causal": causal}
    metadata = {"general.architecture": "toy"} | {key: value for key, value in said.items() if value is not None}
    assert read(file, encode_header(metadata, {})).embeds == embeds


def test_properties_do_not_trust_types(file: Path) -> None:
    """A context length that is a string is none, a template that is a number too."""
    odd = {"general.architecture": "toy", "toy.context_length": "long", "tokenizer.chat_template": 1}
    toy = read(file, encode_header(odd, {}))
    assert (toy.context_length, toy.chat_template) == (0, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with b''"),
        (b"PK\x03\x04", "not a GGUF file"),
        (b"GGUF", "damaged"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1; 2 and 3 can be read"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (header(keys=2**40), "keys"),
        (header(tensors=2**63), "tensors"),
        (header(struct.pack("<Q", 2**63)), "bytes of a string"),
        (header(struct.pack("<Q", 1000) + b"short"), "a value ends at byte"),
        (header(KEY + struct.pack("<I", 77)), "type 77"),
        (header(KEY + struct.pack("<IIQ", 9, 8, 2**60)), "strings of an array"),
        (header(KEY + struct.pack("<IIQ", 9, 8, 1000) + b"\xff" * 9000), "damaged"),
        (header(KEY + struct.pack("<IIQ", 9, 4, 2**60)), "a value ends at byte"),
        (header(KEY + struct.pack("<IIQ", 9, 9, 1)), "array of arrays"),
        (header(KEY + struct.pack("<IB", 0, 1), KEY + struct.pack("<IB", 0, 2)), "'k' twice"),
        (header(struct.pack("<Q", 1) + b"\xff" + struct.pack("<IB", 0, 1)), "damaged"),
        (header(KEY + struct.pack("<I", 2**31), tensors=1, keys=0), "dimensions of a tensor"),
        (encode_header({"general.alignment": 0}, {}), "an alignment of 0"),
        (encode_header({"general.alignment": "wide"}, {}), "an alignment of 'wide'"),
        (encode_header(METADATA, TENSORS), "cut off"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_file_is_said(file: Path, content: bytes, words: str) -> None:
    """No count, however absurd, is believed before it is compared with the file."""
    with pytest.raises(GGUFError, match=".*" + words):
        read(file, content)


@settings(max_examples=400, deadline=500)
@given(
    cut=st.integers(0, len(TOY)),
    changes=st.lists(st.tuples(st.integers(0, len(TOY) - 1), st.binary(min_size=1, max_size=9)), max_size=4),
)
def test_damage_is_never_anything_but_an_error(file: Path, cut: int, changes: list[tuple[int, bytes]]) -> None:
    """Whatever is overwritten or cut off: a header whose properties can be asked for, or GGUFError."""
    content = bytearray(TOY)
    for at, patch in changes:
        content[at : at + len(patch)] = patch
    with contextlib.suppress(GGUFError):
        found = read(file, bytes(content[:cut]))
        assert isinstance((found.embeds, found.context_length, found.embedding_length, found.chat_template), tuple)


def test_a_cut_is_noticed(file: Path) -> None:
    """Wherever it is, up to where the last tensor begins."""
    for cut in range(0, len(encode_header(METADATA, TENSORS)), 7):
        with pytest.raises(GGUFError):
            read(file, TOY[:cut])


def test_a_file_that_is_missing_is_an_os_error(tmp_path: Path) -> None:
    """As is one that may not be read, or a folder."""
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(OSError, match=r"none\.gguf|directory"):
            read_header(path)


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    """Files of the converter can be compared by their digest."""
    for name in ("one", "two"):
        write(tmp_path / name, METADATA, TENSORS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["one", "two"]
    assert read_header(tmp_path / "one").parameters == 17
