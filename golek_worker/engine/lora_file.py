"""Is a file a LoRA adapter for models of an architecture?

By its header alone, so that a worker can tell before it starts. Whether its matrices fit a model's is told where that
is at hand, and else by llama.cpp; what it would take and then end the process with is found here.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from golek_worker.gguf import GGUFError, Tensor, read_header, read_tensors

KINDS = {0: "F32", 1: "F16", 8: "Q8_0", 30: "BF16"}
"""What convert_lora_to_gguf.py writes."""
_EMBEDDING = "token_embd.weight"
_EXPERTS = "_exps."


def problem(path: Path, architecture: str, model: Sequence[Tensor] = ()) -> str | None:
    """What is wrong with the file at `path`, beginning with its path; None when nothing is.

    `model` has the tensors that its matrices are for; without any they are not looked at.
    """
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
    tensors = read_tensors(path)
    misfits = _misfits(tensors, {tensor.name: tensor.shape for tensor in model}) if model else ()
    return next((f"{path}: {wrong}" for wrong in chain(_matrices(tensors), misfits)), None)


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


def _misfits(tensors: list[Tensor], model: dict[str, tuple[int, ...]]) -> Iterator[str]:
    """Matrices for another model than the one with tensors of these shapes, as llama.cpp would refuse them."""
    for tensor in tensors:
        name, _, side = tensor.name.rpartition(".")
        if side not in ("lora_a", "lora_b"):
            continue
        shape = model.get(name)
        if shape is None:
            yield f"{name}: the model has no such tensor"
            continue
        if name == _EMBEDDING:  # kept as it is trained, see above: rank x vocabulary and rank x width
            mine, its = tensor.shape[1], shape[1 if side == "lora_a" else 0]
        else:
            mine, its = (tensor.shape[0], shape[0]) if side == "lora_a" else (tensor.shape[1], shape[1])
        if mine != its:
            yield f"{tensor.name}: {_shown(tensor.shape)} does not fit the model's {_shown(shape)}"


def _matrix(tensor: Tensor) -> Iterator[str]:
    dimensions = 3 if _EXPERTS in tensor.name else 2
    if len(tensor.shape) != dimensions:
        yield f"{tensor.name}: {_shown(tensor.shape)} is no matrix of {dimensions} dimensions"
    if tensor.kind not in KINDS:
        yield f"{tensor.name} is of ggml's type {tensor.kind}; adapters are {', '.join(KINDS.values())}"


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
