"""What does a loaded model say of itself?"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from vllm.platforms import current_platform

from golek_wire.signals import ModelInfo
from golek_worker.engine.count import count_text
from golek_worker.engine.vllm.runtime import Runtime

_HEADER = 8
"""Bytes of a safetensors file that say how long its header is."""


def info(runtime: Runtime, folder: Path, modalities: list[str]) -> ModelInfo:
    """The model as vLLM runs it."""
    model = runtime.config.model_config
    architecture = model.architecture
    return ModelInfo(
        architecture=str(getattr(model.hf_config, "model_type", "") or architecture),
        modalities=modalities,
        parameter_count=count_text(_parameters(folder)),
        context_size=model.max_model_len,
        embedding_size=model.get_hidden_size(),
        quantization=str(model.quantization or str(model.dtype).rpartition(".")[2]),
        model_family=architecture,
        vocab_size=model.get_vocab_size(),
        size_bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
    )


def device() -> str:
    """What vLLM computes on: `cpu`, or such as `cuda (NVIDIA H100)`."""
    kind = current_platform.device_type
    return "cpu" if kind == "cpu" else f"{kind} ({current_platform.get_device_name()})"


def ends(runtime: Runtime) -> frozenset[int]:
    """The tokens that end a text: the tokenizer's, and what the model's generation_config.json adds."""
    found: set[int] = set()
    said: Any = runtime.config.model_config.try_get_generation_config().get("eos_token_id")
    found.update(said if isinstance(said, list) else [said] if said is not None else [])
    eos = runtime.llm.get_tokenizer().eos_token_id
    return frozenset(found if eos is None else found | {eos})


def chat_template(runtime: Runtime) -> str | None:
    """Jinja source, where the folder has one; of several the usual one.

    A model that sees may have it beside its processor alone (chat_template.json).
    """
    found = _template(runtime.llm.get_tokenizer())
    if found is None and runtime.config.model_config.supports_multimodal_inputs:
        found = _template(runtime.llm.renderer.get_mm_processor().info.get_hf_processor())
    return found


def _template(owner: Any) -> str | None:
    found = getattr(owner, "chat_template", None)
    if isinstance(found, dict):
        found = found.get("default")
    return found if isinstance(found, str) else None


def _parameters(folder: Path) -> int:
    """By the headers of the weights; packed ones count as they lie there."""
    count = 0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(_HEADER), "little")))
        count += sum(math.prod(about["shape"]) for name, about in header.items() if name != "__metadata__")
    return count
