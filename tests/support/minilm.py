"""all-MiniLM-L6-v2 as GGUF, made from its installed package once a machine: later test sessions find it."""

import hashlib
import os
import struct
import tempfile
from pathlib import Path

from scripts.minilm import convert, gguf_file, safetensors


def model_file(weights: str = "f32") -> Path:
    """The file with `f32` or `f16` weights; made anew when the converter has changed."""
    code = b"".join(Path(module.__file__).read_bytes() for module in (convert, gguf_file, safetensors))
    folder = Path(tempfile.gettempdir()) / f"golek-tests-{os.getuid()}" / hashlib.sha256(code).hexdigest()[:16]
    path = folder / f"all-minilm-l6-v2-{weights}.gguf"
    if not path.exists():
        convert.convert(convert.source(), path, weights)
    return path


def split_file(folder: Path) -> Path:
    """The first of two files with the model; as llama.cpp's own tool may split it, all weights are in the second."""
    data = model_file().read_bytes()
    tensors, keys = struct.unpack_from("<QQ", data, 8)
    paths = [folder / f"minilm-0000{number}-of-00002.gguf" for number in (1, 2)]
    for number, path in enumerate(paths):
        added = b"".join(
            struct.pack("<Q", len(key)) + key + struct.pack(form, kind, value)
            for key, form, kind, value in (
                (b"split.no", "<IH", 2, number),
                (b"split.count", "<IH", 2, 2),
                (b"split.tensors.count", "<Ii", 5, tensors),
            )
        )
        filler = bytes(-(len(added) + 23) % 32)  # keeps the weights aligned
        added += struct.pack("<Q3sIQ", 3, b"pad", 8, len(filler)) + filler
        path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, tensors if number else 0, keys + 4) + added + data[24:])
    with paths[0].open("r+b") as first:
        first.truncate(len(data) // 100)
    return paths[0]
