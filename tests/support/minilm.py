"""all-MiniLM-L6-v2 as GGUF, made from its installed package once a machine: later test sessions find it."""

import hashlib
import os
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
