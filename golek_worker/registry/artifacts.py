"""What must a worker know of its model's file before it is loaded: which one it is, and what it does."""

import hashlib
from pathlib import Path

from golek_wire.subjects import Kind
from golek_worker.gguf import GGUFError, read_header

SAMPLE_BYTES = 1024 * 1024


def fingerprint(path: Path) -> str:
    """SHA-256 over the file's size, first and last MiB: milliseconds, where hashing 20 GB takes a minute.

    The first MiB holds a GGUF's metadata, the last one weights. Empty when there is no such file.
    """
    if not path.is_file():
        return ""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(SAMPLE_BYTES))
        file.seek(max(0, size - SAMPLE_BYTES))
        digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def kind_of(path: Path) -> Kind:
    """What the model in this GGUF file does. Raises OSError, and GGUFError naming the file."""
    try:
        return "embedding" if read_header(path).embeds else "inference"
    except GGUFError as error:
        raise GGUFError(f"{path}: {error}") from None
