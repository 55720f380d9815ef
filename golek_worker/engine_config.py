"""What do a deployment's settings say to its engine?"""

import shlex
from pathlib import Path

from golek_wire.subjects import Kind
from golek_worker.engine.base import EngineConfig
from golek_worker.engine.outside import ServerConfig
from golek_worker.settings import Settings


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
        server=_server(chosen),
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
