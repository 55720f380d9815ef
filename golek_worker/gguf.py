"""What does a model's file say of itself?

Reads the header of a GGUF file (versions 2 and 3, as described in ggml's docs/gguf.md) without weights and without
building the vocabulary: milliseconds, where a general reader takes seconds. No native code, so every process may do it.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ARRAY_LIMIT = 64
"""Longer arrays are vocabulary: of them only the length is kept."""
NO_POOLING = 0
"""`pooling_type` of a model that gives one vector per token instead of one per text."""

_STRING, _ARRAY = 8, 9
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in _CODES.items()}
_U32, _U64 = struct.Struct("<I").unpack_from, struct.Struct("<Q").unpack_from


class GGUFError(Exception):
    """The file is no GGUF, or damaged; the message says what is wrong with it."""


class Header(NamedTuple):
    """One file's metadata, and what its tensors add up to."""

    metadata: Mapping[str, Any]
    """Scalars, strings and short arrays as in the file; of a longer array its length."""
    parameters: int
    """Elements of all tensors."""
    size_bytes: int

    @property
    def architecture(self) -> str:
        """`llama`, `gemma3`, `bert`, …; empty when the file does not say."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def embeds(self) -> bool:
        """True for a model that turns a text into one vector: token vectors are pooled, or tokens see what follows."""
        pooled = int(self.of_architecture("pooling_type") or NO_POOLING) != NO_POOLING
        return pooled or self.of_architecture("attention.causal") is False

    @property
    def context_length(self) -> int:
        """Tokens the model was trained with; 0 when the file does not say."""
        return int(self.of_architecture("context_length") or 0)

    @property
    def embedding_length(self) -> int:
        """Width of the model; 0 when the file does not say."""
        return int(self.of_architecture("embedding_length") or 0)

    @property
    def chat_template(self) -> str | None:
        """Jinja source, when the file has one."""
        return self.metadata.get("tokenizer.chat_template")

    def of_architecture(self, key: str) -> Any:
        """The value of `<architecture>.<key>`; None when the file has none."""
        return self.metadata.get(f"{self.architecture}.{key}")


def read_header(path: Path) -> Header:
    """The header of the file at `path`.

    Raises OSError when it cannot be read, GGUFError when it is no GGUF, is damaged, or ends before its last tensor
    begins.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            raise GGUFError(f"not a GGUF file; it begins with {magic!r} instead of {MAGIC!r}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _Reader(data).header(size)
            except (struct.error, IndexError, UnicodeDecodeError, KeyError, OverflowError) as error:
                raise GGUFError(f"a damaged GGUF file: its header does not hold together ({error})") from None


class _Reader:
    """Walks over the header, a value at a time."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = len(MAGIC)

    def header(self, size: int) -> Header:
        version = self._u32()
        if version not in VERSIONS:
            raise GGUFError(f"GGUF version {version}; {' and '.join(map(str, VERSIONS))} can be read")
        tensors, keys = self._u64(), self._u64()
        metadata = {}
        for _ in range(keys):
            key = self._string()
            metadata[key] = self._value(self._u32())
        parameters = last = 0
        for _ in range(tensors):
            self._string()
            parameters += math.prod(self._u64() for _ in range(self._u32()))
            self._u32()  # its type
            last = max(last, self._u64())
        alignment = int(metadata.get("general.alignment", 32))
        begins = -(-self._at // alignment) * alignment + last
        if tensors and begins >= size:
            raise GGUFError(f"a GGUF file cut off: its last tensor begins at byte {begins}, the file has {size}")
        return Header(metadata, parameters, size)

    def _u32(self) -> int:
        (value,) = _U32(self._data, self._at)
        self._at += 4
        return int(value)

    def _u64(self) -> int:
        (value,) = _U64(self._data, self._at)
        self._at += 8
        return int(value)

    def _string(self) -> str:
        length = self._u64()
        text = self._data[self._at : self._at + length]
        if len(text) != length:
            raise IndexError(f"a string of {length} bytes at byte {self._at}")
        self._at += length
        return text.decode()

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            scalar = _SCALARS[kind]
            (value,) = scalar.unpack_from(self._data, self._at)
            self._at += scalar.size
            return value
        kind, length = self._u32(), self._u64()
        if length <= ARRAY_LIMIT:
            return [self._value(kind) for _ in range(length)]
        self._skip(kind, length)
        return length

    def _skip(self, kind: int, length: int) -> None:
        """Pass over an array without reading it."""
        if kind == _ARRAY:
            raise GGUFError("a long array of arrays, which no GGUF file has")
        if kind != _STRING:
            self._at += _SCALARS[kind].size * length
            return
        data, at, read = self._data, self._at, _U64
        for _ in range(length):
            at += read(data, at)[0] + 8
        self._at = at
