"""What does a TFLite file say of its model?

Reads the parts of the flatbuffer (TensorFlow Lite's schema, version 3) that say what goes in and what comes out, and
the metadata that models may carry (normalization, and files such as `labels.txt` in a zip archive behind the
flatbuffer). Without native code, so every process may do it; a damaged file is told here, where a runtime would crash.
"""

import mmap
import struct
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from golek_worker.gguf import GGUFError, Header

MAGIC: Final = b"TFL3"
ENDING: Final = ".tflite"
TYPES: Final = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8",
)  # fmt: skip
"""As the schema numbers them."""
PROBABILITIES: Final = ("SOFTMAX", "LOGISTIC")
_OPERATORS: Final = {6: "DEQUANTIZE", 14: "LOGISTIC", 22: "RESHAPE", 25: "SOFTMAX", 43: "SQUEEZE", 114: "QUANTIZE"}
_PASSING: Final = ("DEQUANTIZE", "RESHAPE", "SQUEEZE", "QUANTIZE")
"""What they give means the same as what they are given."""
_METADATA: Final = "TFLITE_METADATA"
_NORMALIZATION: Final = 1
"""Of the metadata's process units."""
_LIMIT: Final = 2**24
"""Elements of a vector in the schema, more than any model has."""


class TFLiteError(GGUFError):
    """The file is no TFLite model, or damaged; the message says what is wrong with it."""


class Tensor(NamedTuple):
    """What goes in, or comes out."""

    name: str
    type: str
    shape: tuple[int, ...]
    """-1 stands for any number."""

    def __str__(self) -> str:
        return f"{self.name} {self.type}{list(self.shape)}"

    @property
    def is_image(self) -> bool:
        """True for rows and columns of pixels with one or three channels."""
        return len(self.shape) == 4 and bool({1, 3} & {self.shape[1], self.shape[3]})


class Model(NamedTuple):
    """One file's model."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    ends_with: str
    """The operator that gives the first output, where it is one of those that give probabilities."""
    mean: list[float]
    """Of an image: taken off its pixels (0 to 255), for all channels or for each; empty where the file does not say."""
    std: list[float]
    """They are divided by this then."""
    size_bytes: int

    @property
    def classifies(self) -> bool:
        """True for a model that says what an image shows."""
        return len(self.inputs) == 1 and self.inputs[0].is_image


def is_one(path: Path) -> bool:
    """Whether the file at `path` begins as TFLite files do. Raises OSError."""
    with path.open("rb") as file:
        return file.read(8)[4:] == MAGIC


def read(path: Path) -> Model:
    """The model in the file at `path`. Raises OSError, TFLiteError."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if size < 8 or file.read(8)[4:] != MAGIC:
            raise TFLiteError("it is no TFLite file: the letters TFL3 are not at its beginning")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _model(data)
            except (struct.error, IndexError, UnicodeDecodeError) as error:
                raise TFLiteError(f"it is damaged or incomplete: {error}") from None


class TFLiteHeader(Header):
    """The header of a TFLite file."""

    @property
    def classifies(self) -> bool:
        return bool(self.metadata["classifies"])

    @property
    def embeds(self) -> bool:
        return not self.classifies


def read_header(path: Path) -> TFLiteHeader:
    """The same in the words of GGUF, as far as it has them. Raises OSError, TFLiteError."""
    model = read(path)
    return TFLiteHeader({"general.architecture": "tflite", "classifies": model.classifies}, 0, model.size_bytes)


def attached(path: Path, word: str) -> str | None:
    """The text file whose name has `word`, from the archive behind the model; None where there is none."""
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if word in name.lower() and name.endswith(".txt"):
                return archive.read(name).decode()
    return None


def _model(data: mmap.mmap) -> Model:
    root = _Table.root(data)
    buffers = [_bytes_of(buffer) for buffer in root.tables(4)]
    graph = next(root.tables(2))
    tensors = list(graph.tables(0))
    mean, std = _normalization(data, root, buffers)
    return Model(
        [_tensor(tensors[i]) for i in graph.numbers(1)],
        [_tensor(tensors[i]) for i in graph.numbers(2)],
        _ends_with(root, graph),
        mean,
        std,
        len(data),
    )


def _bytes_of(buffer: "_Table") -> tuple[int, int]:
    """Where it begins in the file, and how long it is; checks that it is there."""
    begin, size = buffer.vector(0)
    if begin + size > len(buffer.data):
        raise IndexError(f"a buffer of {size} bytes at {begin}, the file has {len(buffer.data)}")
    return begin, size


def _tensor(table: "_Table") -> Tensor:
    number = table.scalar(1, "b", 0)
    shape = table.numbers(7) or table.numbers(0)
    kind = TYPES[number] if 0 <= number < len(TYPES) else f"type {number}"
    return Tensor(table.string(3), kind, tuple(shape))


def _ends_with(root: "_Table", graph: "_Table") -> str:
    codes = [max(code.scalar(0, "b", 0), code.scalar(3, "i", 0)) for code in root.tables(1)]
    makers = {output: operator for operator in graph.tables(3) for output in operator.numbers(2)}
    tensor = next(iter(graph.numbers(2)), -1)
    while (operator := makers.pop(tensor, None)) is not None:
        name = _OPERATORS.get(codes[operator.scalar(0, "I", 0)], "")
        if name not in _PASSING:
            return name
        tensor = operator.numbers(1)[0]
    return ""


def _normalization(data: mmap.mmap, root: "_Table", buffers: list[tuple[int, int]]) -> tuple[list[float], list[float]]:
    """What the metadata says of the first input: ModelMetadata, SubGraphMetadata, TensorMetadata, ProcessUnit."""
    for entry in root.tables(6):
        if entry.string(0) != _METADATA:
            continue
        begin, size = buffers[entry.scalar(1, "I", 0)]
        metadata = _Table.root(data[begin : begin + size])
        for graph in metadata.tables(3):
            for tensor in graph.tables(2):
                for unit in tensor.tables(4):
                    if unit.scalar(0, "B", 0) == _NORMALIZATION and (options := unit.table(1)) is not None:
                        return options.reals(0), options.reals(1)
                return [], []
    return [], []


class _Table:
    """A table of a flatbuffer: its fields are found through a table of offsets."""

    def __init__(self, data: mmap.mmap | bytes, at: int) -> None:
        self.data = data
        self._at = at
        self._fields = at - self._read("i", at)
        self._fields_size = self._read("H", self._fields)

    @classmethod
    def root(cls, data: mmap.mmap | bytes) -> "_Table":
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _read(self, code: str, at: int) -> int:
        if at < 0:
            raise IndexError(f"a place before the file's beginning: {at}")
        return int(struct.unpack_from(f"<{code}", self.data, at)[0])

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = self._read("H", self._fields + entry) if entry < self._fields_size else 0
        return self._at + offset if offset else None

    def _follow(self, at: int) -> int:
        return at + self._read("I", at)

    def scalar(self, field: int, code: str, default: int) -> int:
        place = self._place(field)
        return default if place is None else self._read(code, place)

    def table(self, field: int) -> "_Table | None":
        place = self._place(field)
        return None if place is None else _Table(self.data, self._follow(place))

    def vector(self, field: int) -> tuple[int, int]:
        """Where its first element begins, and how many it has."""
        place = self._place(field)
        if place is None:
            return 0, 0
        begin = self._follow(place)
        return begin + 4, self._read("I", begin)

    def tables(self, field: int) -> Iterator["_Table"]:
        begin, count = self._bounded(field)
        for at in range(begin, begin + 4 * count, 4):
            yield _Table(self.data, self._follow(at))

    def numbers(self, field: int) -> list[int]:
        begin, count = self._bounded(field)
        return list(struct.unpack_from(f"<{count}i", self.data, begin))

    def reals(self, field: int) -> list[float]:
        begin, count = self._bounded(field)
        return list(struct.unpack_from(f"<{count}f", self.data, begin))

    def string(self, field: int) -> str:
        begin, count = self._bounded(field)
        return bytes(self.data[begin : begin + count]).decode()

    def _bounded(self, field: int) -> tuple[int, int]:
        begin, count = self.vector(field)
        if count > _LIMIT:
            raise IndexError(f"a list of {count} elements at {begin}")
        return begin, count
