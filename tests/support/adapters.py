"""LoRA adapters of random numbers for a GGUF model: small files that change what it writes."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

TARGETS = ("attn_q", "attn_v", "attn_output", "ffn_up", "ffn_down")
RANK = 4
Matrix = NDArray[Any]
STRENGTH = 1.0
"""Size of the change beside the weight it changes: enough for another text, too little for nonsense everywhere."""


def write(
    path: Path,
    model: Path,
    seed: int,
    *,
    strength: float = STRENGTH,
    architecture: str | None = None,
    wider: int = 0,
) -> Path:
    """An adapter for `model` at `path`; the same seed gives the same file.

    `architecture` says another one than the model's, `wider` adds to the first dimension of each matrix: such files do
    not fit.
    """
    reader = gguf.GGUFReader(str(model))
    random = np.random.default_rng(seed)
    matrices: dict[str, Matrix] = {}
    for tensor in reader.tensors:
        if tensor.name.removesuffix(".weight").rpartition(".")[2] not in TARGETS:
            continue
        width, height = (int(n) for n in tensor.shape)
        size = strength / np.sqrt(width * RANK)
        for name, shape, scale in (("lora_a", (RANK, width + wider), 1.0), ("lora_b", (height, RANK), size)):
            matrices[f"{tensor.name}.{name}"] = (random.standard_normal(shape) * scale).astype(np.float32)
    return write_matrices(path, matrices, architecture or str(reader.fields["general.architecture"].contents()))


def write_matrices(path: Path, matrices: dict[str, Matrix], architecture: str = "llama") -> Path:
    """An adapter at `path` that holds `matrices`, whatever they are."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(RANK))
    for name, matrix in matrices.items():
        writer.add_tensor(name, matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
