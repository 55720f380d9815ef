"""What would keep vLLM from loading a deployment's model, and how much memory does it take?

Told by the model's folder, without loading vLLM.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from golek_worker.engine.base import EngineLoadError
from golek_worker.engine.llamacpp import memory
from golek_worker.engine.llamacpp.memory import Needs, Shape
from golek_worker.engine.vllm import interpreter
from golek_worker.folder import FolderHeader, read_header
from golek_worker.free_memory import free_bytes
from golek_worker.registry.artifacts import kind_in
from golek_worker.settings import Settings

RUNTIME: Final = 2**30
"""Bytes that vLLM and torch take themselves; measured were 1.1 GiB with version 0.32 on a CPU."""
MOST_KV: Final = 4 * 2**30
"""What a worker gives the KV cache at most on a CPU where nobody says; engine/vllm/arguments.py, which needs vLLM."""
KV_CACHE: Final = "kv_cache_memory_bytes"
"""Argument of vLLM that says how much memory the KV cache takes."""


def missing(chosen: Settings) -> Iterator[str]:
    """What vLLM lacks here, whatever the model is."""
    try:
        interpreter.needed(chosen.vllm_python)
    except EngineLoadError as error:
        yield str(error)


def problems(chosen: Settings, model: Path) -> Iterator[str]:
    """What keeps vLLM from loading this folder; a sentence each. Raises OSError, FolderError."""
    header = read_header(model)
    if kind_in(header) == "rerank":
        yield f"{model} ranks documents, for which ENGINE=vllm is not made here; ENGINE=llamacpp does, with a GGUF file"
    if (too_long := memory.context_problem(chosen.ctx_size, header.context_length, model)) is not None:
        yield too_long
    needed, free = needs(chosen, header), free_bytes()
    if not has_nvidia() and needed.total > free:
        told = needed.shown(shape_of(chosen, header))
        yield f"{model}: needs {told}, {memory.shown(free)} are free: a smaller model would fit, or AWQ, or FP8"


def has_nvidia() -> bool:
    """Whether the driver of NVIDIA GPUs is here: then a model need not fit into this machine's memory."""
    return shutil.which("nvidia-smi") is not None


def shape_of(chosen: Settings, header: FolderHeader) -> Shape:
    """How large an engine with these settings is."""
    trained = header.context_length
    ctx_size = min(chosen.ctx_size or trained, trained or chosen.ctx_size)
    return Shape(kind_in(header), chosen.worker_concurrency, ctx_size, memory.ROWS)


def needs(chosen: Settings, header: FolderHeader) -> Needs:
    """Bytes: the weights, vLLM itself, and its KV cache: what VLLM_ARGS says, else what would hold full slots, as far
    as vLLM is given so much.
    """
    said = chosen.vllm_arguments.get(KV_CACHE)
    full = memory.needs(header, header.size_bytes, shape_of(chosen, header)).cache
    cache = said if isinstance(said, int) else min(full, MOST_KV)
    return Needs(header.size_bytes, cache, RUNTIME)
