"""What does a model's file say of itself?

Reads the header of a GGUF file (versions 2 and 3, as described in ggml's docs/gguf.md) without weights and without
building the vocabulary: milliseconds, where a general reader takes seconds. No native code, so every process may do it.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ARRAY_LIMIT = 512
"""Longer arrays are vocabulary: of them only the length is kept."""
NO_POOLING = 0
"""`pooling_type` of a model that gives one vector per token instead of one per text."""
RANK_POOLING = 4
"""`pooling_type` of a model that scores pairs of texts."""

# More than any file has, so that a damaged count neither costs seconds nor memory.
KEYS_LIMIT = 2**16
TENSORS_LIMIT = 2**20
STRINGS_LIMIT = 2**22
STRING_LIMIT = 2**24
"""Bytes of one string."""
DIMENSIONS_LIMIT = 4

FILE_TYPES = tuple(
    """
    F32 F16 Q4_0 Q4_1 Q4_1_SOME_F16 Q4_2 Q4_3 Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K
    IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16 Q4_0_4_4 Q4_0_4_8
    Q4_0_8_8 TQ1_0 TQ2_0 MXFP4_MOE NVFP4 Q1_0 Q2_0
    """.split()  # noqa: SIM905 - a table
)
"""What `general.file_type` means: `llama_ftype` in llama.h."""

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
        return self.pooling != NO_POOLING or self.of_architecture("attention.causal") is False

    @property
    def ranks(self) -> bool:
        """True for a model with a classifier that scores pairs of texts."""
        return self.pooling == RANK_POOLING

    @property
    def classifies(self) -> bool:
        """True for a model that says what images show; a GGUF file has none of these."""
        return False

    @property
    def pooling(self) -> int:
        """`pooling_type`, as llama.cpp numbers it; `NO_POOLING` also when the file does not say."""
        return self._count("pooling_type")

    @property
    def context_length(self) -> int:
        """Tokens the model was trained with; 0 when the file does not say."""
        return self._count("context_length")

    @property
    def embedding_length(self) -> int:
        """Width of the model; 0 when the file does not say."""
        return self._count("embedding_length")

    @property
    def quantization(self) -> str:
        """How most of its weights are stored: `Q4_K_M`; `unknown` when the file does not say."""
        number = self.metadata.get("general.file_type")
        return FILE_TYPES[number] if isinstance(number, int) and number < len(FILE_TYPES) else "unknown"

    @property
    def chat_template(self) -> str | None:
        """Jinja source, when the file has one."""
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else None

    def of_architecture(self, key: str) -> Any:
        """The value of `<architecture>.<key>`; None when the file has none."""
        return self.metadata.get(f"{self.architecture}.{key}")

    def _count(self, key: str) -> int:
        value = self.of_architecture(key)
        return value if isinstance(value, int) else 0


class Tensor(NamedTuple):
    """One tensor, as the header describes it."""

    name: str
    shape: tuple[int, ...]
    """The dimension in which its numbers follow each other comes first."""
    kind: int
    """As ggml numbers its types."""


def is_one(path: Path) -> bool:
    """Whether the file at `path` begins as GGUF files do. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_header(path: Path) -> Header:
    """The header of the file at `path`.

    Raises OSError when it cannot be read, GGUFError when it is no GGUF, is damaged, or ends before its last tensor
    begins.
    """
    return _read(path)[0]


def read_tensors(path: Path) -> list[Tensor]:
    """What the file at `path` holds, in its order. Raises as `read_header` does."""
    return _read(path)[1]


def _read(path: Path) -> tuple[Header, list[Tensor]]:
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            raise GGUFError(f"not a GGUF file; it begins with {magic!r} instead of {MAGIC!r}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                reader = _Reader(data)
                return reader.header(), reader.tensors
            except (struct.error, OverflowError, UnicodeDecodeError) as error:
                raise _damaged(str(error)) from None


def _damaged(why: str) -> GGUFError:
    return GGUFError(f"a damaged GGUF file: its header does not hold together ({why})")


class _Reader:
    """Walks over the header, a value at a time. Reading past the file's end raises struct.error."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._size = len(data)
        self._at = len(MAGIC)
        self.tensors: list[Tensor] = []

    def header(self) -> Header:
        version = self._u32()
        if version.to_bytes(4, "big") in {v.to_bytes(4, "little") for v in VERSIONS}:
            raise GGUFError("a GGUF file for big-endian machines; take the usual, little-endian one")
        if version not in VERSIONS:
            raise GGUFError(f"GGUF version {version}; {' and '.join(map(str, VERSIONS))} can be read")
        tensors = self._at_most(TENSORS_LIMIT, self._u64(), "tensors")
        keys = self._at_most(KEYS_LIMIT, self._u64(), "keys")
        metadata = self._metadata(keys)
        parameters, last = self._tensors(tensors)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0:
            raise _damaged(f"an alignment of {alignment!r}")
        begins = -(-self._at // alignment) * alignment + last
        if tensors and begins >= self._size:
            raise GGUFError(f"a GGUF file cut off: its last tensor begins at byte {begins}, the file has {self._size}")
        return Header(metadata, parameters, self._size)

    def _metadata(self, keys: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = self._string()
            if key in metadata:
                raise _damaged(f"the key {key[:64]!r} twice")
            metadata[key] = self._value(self._u32())
        return metadata

    def _tensors(self, tensors: int) -> tuple[int, int]:
        """The elements of all tensors, and where behind the header the last of them begins."""
        parameters = last = 0
        for _ in range(tensors):
            name = self._string()
            dimensions = self._at_most(DIMENSIONS_LIMIT, self._u32(), "dimensions of a tensor")
            shape = tuple([self._u64() for _ in range(dimensions)])
            parameters += math.prod(shape)
            self.tensors.append(Tensor(name, shape, self._u32()))
            last = max(last, self._u64())
        return parameters, last

    def _at_most(self, limit: int, count: int, what: str) -> int:
        if count > limit:
            raise _damaged(f"{count} {what} at byte {self._at}; no file has more than {limit}")
        return count

    def _u32(self) -> int:
        (value,) = _U32(self._data, self._at)
        self._at += 4
        return int(value)

    def _u64(self) -> int:
        (value,) = _U64(self._data, self._at)
        self._at += 8
        return int(value)

    def _string(self) -> str:
        length = self._at_most(STRING_LIMIT, self._u64(), "bytes of a string")
        end = self._within(self._at + length)
        text = self._data[self._at : end]
        self._at = end
        return text.decode()

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(self._u32(), self._u64())
        scalar = self._scalar(kind)
        (value,) = scalar.unpack_from(self._data, self._at)
        self._at += scalar.size
        return value

    def _array(self, kind: int, length: int) -> Any:
        if kind == _ARRAY:
            raise _damaged("an array of arrays, which no file has")
        if length <= ARRAY_LIMIT:
            return [self._value(kind) for _ in range(length)]
        if kind == _STRING:
            self._skip_strings(self._at_most(STRINGS_LIMIT, length, "strings of an array"))
        else:
            self._at = self._within(self._at + self._scalar(kind).size * length)
        return length

    def _skip_strings(self, length: int) -> None:
        # The time of reading a header is spent here.
        data, at, read = self._data, self._at, _U64
        for _ in repeat(None, length):
            (size,) = read(data, at)
            at += size + 8
        self._at = self._within(at)

    def _scalar(self, kind: int) -> struct.Struct:
        try:
            return _SCALARS[kind]
        except KeyError:
            raise _damaged(f"a value of type {kind} before byte {self._at}") from None

    def _within(self, end: int) -> int:
        if end > self._size:
            raise _damaged(f"a value ends at byte {end}, the file at {self._size}")
        return end
