"""What does a model say of itself, whatever it lies in?"""

from pathlib import Path

from golek_worker import folder, gguf, tflite
from golek_worker.gguf import Header


def read(model: Path) -> Header:
    """The header of a GGUF file, of a TFLite file or of a folder. Raises OSError, GGUFError."""
    if model.is_dir():
        return folder.read_header(model)
    is_tflite = model.suffix == tflite.ENDING or tflite.is_one(model)
    return tflite.read_header(model) if is_tflite else gguf.read_header(model)
