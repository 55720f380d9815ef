"""How is a GGUF file written?

Version 3, little-endian, as ggml's docs/gguf.md describes it. Metadata and tensors come in the order given, so the same
values give the same bytes.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

ALIGNMENT = 32
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
_TENSOR_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1}

Value = bool | int | float | str | Sequence[int] | Sequence[float] | Sequence[str]
"""An int is written as uint32 (in an array as int32), a float as float32."""


def write(path: Path, metadata: Mapping[str, Value], tensors: Mapping[str, np.ndarray]) -> None:
    """Write `path`, whole or not at all. Tensors are float32 or float16, with numpy's order of dimensions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    with unfinished.open("wb") as file:
        header = encode_header(metadata, tensors)
        file.write(header + b"\0" * _padding(len(header)))
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).data)
            file.write(b"\0" * _padding(tensor.nbytes))
    unfinished.replace(path)


def encode_header(metadata: Mapping[str, Value], tensors: Mapping[str, np.ndarray]) -> bytes:
    """Everything before the tensors' numbers, without the padding after it."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [_string(key), _value(value)]
    offset = 0
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        place = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _TENSOR_TYPES[tensor.dtype], offset)
        parts += [_string(name), place]
        offset += tensor.nbytes + _padding(tensor.nbytes)
    return b"".join(parts)


def _padding(length: int) -> int:
    return -length % ALIGNMENT


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Value) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return struct.pack("<II", UINT32, value)
        case float():
            return struct.pack("<If", FLOAT32, value)
        case str():
            return struct.pack("<I", STRING) + _string(value)
        case [str(), *_]:
            return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_string, value))
        case [float(), *_]:
            return struct.pack(f"<IIQ{len(value)}f", ARRAY, FLOAT32, len(value), *value)
        case _:
            return struct.pack(f"<IIQ{len(value)}i", ARRAY, INT32, len(value), *value)
