"""What is vLLM told?

An engine's configuration as `AsyncEngineArgs`. What the worker decides (model, slots, context) is not for VLLM_ARGS.
"""

from __future__ import annotations

import difflib
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform

from golek_worker.engine.base import EngineConfig, EngineLoadError
from golek_worker.free_memory import free_bytes

OWN = {
    "model": "MODEL_PATH",
    "tokenizer": "MODEL_PATH",
    "max_model_len": "CTX_SIZE",
    "max_num_seqs": "WORKER_CONCURRENCY",
    "enable_lora": "VLLM_MAX_LORAS",
    "max_loras": "VLLM_MAX_LORAS",
    "max_cpu_loras": "VLLM_MAX_LORAS",
    "max_lora_rank": "VLLM_MAX_LORA_RANK",
    "scheduling_policy": "INFERENCE_QUEUE_STRATEGY",
    "limit_mm_per_prompt": "VISION_MAX_IMAGES",
    "runner": "the model",
    "convert": "the model",
}
"""Arguments that follow from what a deployment says elsewhere."""
GIVEN = "VLLM_ARGS"
SHARE = 0.25
"""Of the free memory, for the KV cache on a CPU."""
LEAST_KV = 64 * 2**20
MOST_KV = 4 * 2**30
"""Bytes; it is taken at once, whatever is used of it."""
IMAGES_GB = 1
"""Of images that were made ready for the model, kept twice, here and in EngineCore; vLLM's own is 4."""


def arguments(config: EngineConfig) -> AsyncEngineArgs:
    """Raises EngineLoadError for arguments that vLLM has not, or not with these values."""
    given = config.vllm.arguments
    _check(given)
    on_cpu = is_cpu()
    told: dict[str, Any] = {
        "disable_log_stats": True,
        "enable_prefix_caching": config.kind == "inference",
        "structured_outputs_config": {"backend": "guidance"},
        "shutdown_timeout": 0,
        "mm_processor_cache_gb": IMAGES_GB,
    }
    if on_cpu and config.gpu_required:
        raise EngineLoadError("GPU_REQUIRED=true, and this vLLM computes on the CPU; `make build-vllm-cuda`")
    if on_cpu:
        told |= {"enforce_eager": True, "kv_cache_memory_bytes": kv_bytes()}
    told |= given
    told |= {"model": config.model_path, "max_num_seqs": config.slots}
    if config.ctx_size:
        told["max_model_len"] = config.ctx_size
    if config.vllm.max_loras:
        count = config.vllm.max_loras
        # One more than may be named: what replaces one that sequences use must not push that out.
        told |= {"enable_lora": True, "max_loras": count, "max_cpu_loras": count + 1}
        told["max_lora_rank"] = _rank(config.vllm.max_lora_rank)
    if config.vllm.by_priority:
        told["scheduling_policy"] = "priority"
    told["limit_mm_per_prompt"] = {"image": config.vllm.max_images, "video": 0, "audio": 0}
    if config.kind == "embedding":
        told |= {"runner": "pooling", "convert": "embed", "limit_mm_per_prompt": {"image": 0, "video": 0, "audio": 0}}
    try:
        return AsyncEngineArgs(**told)
    except (TypeError, ValueError) as error:
        raise EngineLoadError(f"vLLM does not take its arguments: {error}") from None


def is_cpu() -> bool:
    """Whether vLLM computes on the CPU. Raises EngineLoadError where it has nothing to compute on."""
    device = current_platform.device_type
    if not device:
        raise EngineLoadError(
            "vLLM finds nothing to compute on: this build is for GPUs, and there is none. `golek doctor` tells what "
            "is here; `make build-vllm-cpu` makes an environment with vLLM for CPUs."
        )
    return bool(device == "cpu")


def kv_bytes() -> int:
    """Bytes of KV cache on a CPU where nobody says: vLLM itself would take nearly all memory."""
    return max(LEAST_KV, min(MOST_KV, int(free_bytes() * SHARE)))


def _check(given: dict[str, Any]) -> None:
    known = AsyncEngineArgs.__dataclass_fields__
    for name in given:
        if name in OWN:
            raise EngineLoadError(f"{GIVEN}: {name} follows from {OWN[name]}; say it there")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise EngineLoadError(f"{GIVEN}: vLLM has no engine argument {name!r}{meant}")


def _rank(wanted: int) -> int:
    """The rank that vLLM makes room for: it knows some only."""
    ranks = (8, 16, 32, 64, 128, 256, 320, 512)
    found = next((rank for rank in ranks if rank >= wanted), None)
    if found is None:
        raise EngineLoadError(f"VLLM_MAX_LORA_RANK={wanted}: vLLM takes adapters of rank {ranks[-1]} at most")
    return found
