"""Is a file a LoRA adapter for models of an architecture?

By its header alone, so that a worker can tell before it starts. Whether its matrices fit the model's, llama.cpp finds
out; what it would take and then end the process with is found here.
"""

from collections.abc import Iterator
from pathlib import Path

from golek_worker.gguf import GGUFError, Tensor, read_header, read_tensors

KINDS = {0: "F32", 1: "F16", 8: "Q8_0", 30: "BF16"}
"""What convert_lora_to_gguf.py writes."""
_EMBEDDING = "token_embd.weight"
_EXPERTS = "_exps."


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
    return next((f"{path}: {wrong}" for wrong in _matrices(read_tensors(path))), None)


def _matrices(tensors: list[Tensor]) -> Iterator[str]:
    """What is wrong with the pairs of matrices."""
    pairs: dict[str, dict[str, Tensor]] = {}
    for tensor in tensors:
        name, _, side = tensor.name.rpartition(".")
        if side in ("lora_a", "lora_b"):
            pairs.setdefault(name, {})[side] = tensor
            yield from _matrix(tensor)
    if not pairs:
        yield "a LoRA adapter without matrices"
    for name, pair in pairs.items():
        if len(pair) != 2:
            yield f"{name} has {min(pair)} alone"
            continue
        a, b = pair["lora_a"].shape, pair["lora_b"].shape
        # llama.cpp keeps the first matrix of this one as it is trained, since it looks rows up in it.
        rank = a[0] if name == _EMBEDDING else a[1]
        if rank != b[0] or a[2:] != b[2:]:
            yield f"{name}: matrices of {_shown(a)} and {_shown(b)} do not belong together"


def _matrix(tensor: Tensor) -> Iterator[str]:
    dimensions = 3 if _EXPERTS in tensor.name else 2
    if len(tensor.shape) != dimensions:
        yield f"{tensor.name}: {_shown(tensor.shape)} is no matrix of {dimensions} dimensions"
    if tensor.kind not in KINDS:
        yield f"{tensor.name} is of ggml's type {tensor.kind}; adapters are {', '.join(KINDS.values())}"


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
