"""What do a deployment's settings say to its engine?"""

import shlex
from pathlib import Path

from golek_wire.subjects import Kind
from golek_worker.engine import peft_folder
from golek_worker.engine.base import EngineConfig
from golek_worker.engine.outside import ServerConfig
from golek_worker.engine.vllm.config import VLLMConfig
from golek_worker.registry import projector
from golek_worker.settings import Settings
from golek_worker.settings.vllm import LEAST_RANK


def engine_config(chosen: Settings, kind: Kind, model: Path | None) -> EngineConfig:
    """The configuration of an engine for this model file; None for an engine without files."""
    assert chosen.engine != "router"  # which has none
    return EngineConfig(
        engine=chosen.engine,
        model_path=str(model or ""),
        slots=chosen.worker_concurrency,
        ctx_size=chosen.ctx_size,
        threads=chosen.model_threads,
        gpu_layers=chosen.gpu_layers,
        gpu_devices=chosen.gpu_names,
        main_gpu=chosen.main_gpu,
        tensor_split=chosen.gpu_shares,
        gpu_required=chosen.gpu_required,
        step_min_ms=chosen.engine_step_min_ms,
        kind=kind,
        cache_tokens=chosen.echo_cache_tokens,
        projector_path=_projector(chosen, kind, model),
        pixel_range=chosen.pixel_range,
        vllm=_vllm(chosen) if chosen.engine == "vllm" else VLLMConfig(),
        server=_server(chosen),
    )


def _projector(chosen: Settings, kind: Kind, model: Path | None) -> str:
    if chosen.model_lies_in != "gguf" or kind != "inference" or model is None:
        return ""
    return str(projector.find(chosen, model) or "")


def _vllm(chosen: Settings) -> VLLMConfig:
    files = chosen.adapter_files
    ranks = (peft_folder.rank(Path(one.path)) for one in files)
    return VLLMConfig(
        arguments=chosen.vllm_arguments,
        python=chosen.vllm_python,
        stall_s=chosen.vllm_stall_s,
        max_loras=chosen.vllm_max_loras or len(files),
        max_lora_rank=chosen.vllm_max_lora_rank or max([LEAST_RANK, *ranks]),
        by_priority=chosen.inference_queue_strategy == "priority",
        max_images=chosen.vision_max_images,
        max_pixels=chosen.vision_max_pixels,
    )


def _server(chosen: Settings) -> ServerConfig:
    """Of an engine that is a server of its own."""
    return ServerConfig(
        url=chosen.server_url,
        command=shlex.split(chosen.server_command),
        args=shlex.split(chosen.server_args),
        program=chosen.llama_server,
        start_s=chosen.server_start_s,
        model=chosen.server_model,
        key=chosen.server_key,
    )
