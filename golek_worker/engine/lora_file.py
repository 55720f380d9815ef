"""Is a file a LoRA adapter for models of an architecture?

By its header alone, so that a worker can tell before it starts. Whether its matrices fit, the engine finds out.
"""

from pathlib import Path

from golek_worker.gguf import GGUFError, read_header


def problem(path: Path, architecture: str) -> str | None:
    """What is wrong with the file at `path`, beginning with its path; None when nothing is."""
    try:
        header = read_header(path)
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}"
    except GGUFError as error:
        return f"{path}: {error}"
    told = header.metadata.get
    if told("general.type") != "adapter" or told("adapter.type") != "lora":
        return (
            f"{path}: not a LoRA adapter: general.type is {told('general.type')!r} and adapter.type "
            f"{told('adapter.type')!r}, instead of 'adapter' and 'lora'. Adapters in Hugging Face's form are made GGUF "
            "by llama.cpp's convert_lora_to_gguf.py."
        )
    if header.architecture != architecture:
        return f"{path}: an adapter for {header.architecture or 'unnamed'} models; this one is a {architecture}"
    return None
