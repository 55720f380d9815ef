"""Which tensors are in a safetensors file?

Eight bytes of length (little-endian), a JSON object that gives each tensor its type, shape and place, then the numbers.
"""

import json
from pathlib import Path

import numpy as np

_TYPES = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32}
HEADER_LIMIT = 100_000_000
"""Bytes of the JSON object, as in the format's description."""


def read(path: Path) -> dict[str, np.ndarray]:
    """Every tensor by its name, mapped from the file. Raises ValueError for what is no safetensors file, or cut off."""
    data = np.memmap(path, np.uint8, mode="r")
    length = int(data[:8].view("<u8")[0]) if len(data) > 8 else HEADER_LIMIT + 1
    if length > min(HEADER_LIMIT, len(data) - 8):
        raise ValueError(f"{path}: not a safetensors file, or cut off")
    header = json.loads(data[8 : 8 + length].tobytes())
    numbers = data[8 + length :]
    return {name: _tensor(name, entry, numbers) for name, entry in header.items() if name != "__metadata__"}


def _tensor(name: str, entry: dict[str, object], numbers: np.ndarray) -> np.ndarray:
    dtype = _TYPES.get(str(entry["dtype"]))
    start, end = entry["data_offsets"]
    if dtype is None or end > len(numbers):
        raise ValueError(f"tensor {name}: type {entry['dtype']}, bytes {start} to {end} of {len(numbers)}")
    return numbers[start:end].view(dtype).reshape(entry["shape"])
