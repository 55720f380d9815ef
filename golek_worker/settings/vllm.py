"""Which settings has vLLM, beyond those of every engine?

They bear the names of vLLM's own engine arguments; the others are in VLLM_ARGS.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from golek_program.settings.fleet import Positive
from golek_program.settings.http import Http
from golek_worker.engine.vllm.config import STALL_S

LEAST_RANK = 16


class VLLM(Http, frozen=True, kw_only=True):
    """With ENGINE=vllm."""

    vllm_python: str = ""
    """Interpreter of the environment that vLLM is in; default this one, or `.venv-vllm/bin/python`."""
    vllm_tensor_parallel_size: Positive = 1
    """GPUs that share each layer of the model."""
    vllm_pipeline_parallel_size: Positive = 1
    """Groups of GPUs, each with a part of the layers."""
    vllm_distributed_executor_backend: Literal["auto", "mp", "ray"] = "auto"
    """How vLLM reaches several GPUs: `mp` on this machine, `ray` on several machines."""
    vllm_quantization: str = ""
    """How the weights are quantized; default what the model's folder says."""
    vllm_dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Numbers that vLLM computes with; `auto` is what the model's folder says."""
    vllm_gpu_memory_utilization: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Share of a GPU's memory that vLLM takes; 0 is its own."""
    vllm_kv_cache_memory_bytes: Annotated[int, Meta(ge=0)] = 0
    """KV cache in bytes; 0 is what a GPU has left, or a quarter of the free memory of a CPU, at most 4 GiB."""
    vllm_max_loras: Annotated[int, Meta(ge=0)] = 0
    """LoRA adapters that may be loaded; 0 is as many as ADAPTERS names."""
    vllm_max_lora_rank: Annotated[int, Meta(ge=0, le=512)] = 0
    """The largest rank among them; 0 is the largest that ADAPTERS names, at least 16."""
    vllm_stall_s: Annotated[float, Meta(ge=1)] = STALL_S
    """Without a step for so many seconds, while sequences run, vLLM is restarted."""
    vllm_args: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """Further engine arguments of vLLM's, as JSON."""

    @property
    def vllm_arguments(self) -> dict[str, Any]:
        """What vLLM is told of all that; nothing of what is left to it."""
        named = {
            "tensor_parallel_size": self.vllm_tensor_parallel_size,
            "pipeline_parallel_size": self.vllm_pipeline_parallel_size,
            "distributed_executor_backend": _given(self.vllm_distributed_executor_backend),
            "quantization": self.vllm_quantization or None,
            "dtype": _given(self.vllm_dtype),
            "gpu_memory_utilization": self.vllm_gpu_memory_utilization or None,
            "kv_cache_memory_bytes": self.vllm_kv_cache_memory_bytes or None,
        }
        return self.vllm_args | {name: value for name, value in named.items() if value is not None}


def mistakes(settings: VLLM) -> list[str]:
    """What is wrong with them; a sentence each."""
    own = settings.__struct_fields__
    return [
        f"VLLM_ARGS: {name} has a setting of its own, VLLM_{name.upper()}; say it there"
        for name in settings.vllm_args
        if f"vllm_{name}" in own
    ]


def _given(choice: str) -> str | None:
    return None if choice == "auto" else choice
