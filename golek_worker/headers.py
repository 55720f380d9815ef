"""What does a model say of itself, whatever it lies in?"""

from pathlib import Path

from golek_worker import folder, gguf, tflite
from golek_worker.gguf import Header


def read(model: Path) -> Header:
    """The header of a GGUF file, of a TFLite file or of a folder. Raises OSError, GGUFError."""
    if model.suffix == tflite.ENDING:
        return tflite.read_header(model)
    return folder.read_header(model) if model.is_dir() else gguf.read_header(model)
