"""What do a deployment's settings say to its engine?"""

from pathlib import Path

from golek_wire.subjects import Kind
from golek_worker.engine.base import EngineConfig
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
    )
