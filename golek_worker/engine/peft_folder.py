"""Is a folder a LoRA adapter of Hugging Face's PEFT?

By its `adapter_config.json`, so that a worker can tell before it starts; whether it fits the model is told when it is
loaded.
"""

from pathlib import Path

import msgspec

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


class _Config(msgspec.Struct):
    peft_type: str = ""
    r: int = 0


def problem(path: Path, most_rank: int = 0) -> str | None:
    """What is wrong with the folder at `path`, beginning with its path; None when nothing is.

    With `most_rank` an adapter of a larger rank is wrong as well.
    """
    try:
        config = _read(path)
    except OSError as error:
        if path.is_file():
            return f"{path}: a file; for vLLM an adapter is a folder with {CONFIG}"
        return f"{path / CONFIG}: cannot be read: {error.strerror}"
    except msgspec.MsgspecError as error:
        return f"{path / CONFIG}: {error}"
    wrong = {
        f"not a LoRA adapter: peft_type is {config.peft_type!r}": config.peft_type != "LORA",
        f"there is no {WEIGHTS[0]}": not any((path / name).is_file() for name in WEIGHTS),
        f"its rank is {config.r}, and VLLM_MAX_LORA_RANK={most_rank}": 0 < most_rank < config.r,
    }
    return next((f"{path}: {problem}" for problem, holds in wrong.items() if holds), None)


def rank(path: Path) -> int:
    """The rank of the adapter at `path`; 0 where that is not known."""
    try:
        return _read(path).r
    except (OSError, msgspec.MsgspecError):
        return 0


def _read(path: Path) -> _Config:
    return msgspec.json.decode((path / CONFIG).read_bytes(), type=_Config)
