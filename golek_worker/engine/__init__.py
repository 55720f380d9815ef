"""Local runtimes. `base` is the contract, `host` the parent's side, `child` the process, the rest are engines."""

from pathlib import Path
from typing import TYPE_CHECKING

from golek_worker.engine.base import EngineConfig, EngineFactory, EngineLoadError
from golek_worker.engine.llamacpp.threads import thread_count, usable_cores
from golek_worker.engine.names import SERVERS

if TYPE_CHECKING:
    from golek_worker.engine.asynchronous import AsyncEngineFactory

SPINS = "3000"
"""How often a waiting thread of libgomp looks before it sleeps; its own default lasts milliseconds."""
FEW_THREADS = 2


def engine_factory(config: EngineConfig) -> EngineFactory:
    """The engine that `config` asks for; imports its runtime only now, since that is slow and large."""
    match config.engine, config.kind:
        case "echo", _:
            from golek_worker.engine.echo import EchoEngine

            return EchoEngine
        case "llamacpp", "embedding":
            from golek_worker.engine.llamacpp.devices import with_fallback
            from golek_worker.engine.llamacpp.embedding import LlamaCppEmbedder

            return with_fallback(LlamaCppEmbedder)
        case "llamacpp", "rerank":
            from golek_worker.engine.llamacpp.devices import with_fallback
            from golek_worker.engine.llamacpp.ranking import LlamaCppRanker

            return with_fallback(LlamaCppRanker)
        case "llamacpp", "inference":
            from golek_worker.engine.llamacpp.devices import with_fallback
            from golek_worker.engine.llamacpp.engine import LlamaCppEngine

            return with_fallback(LlamaCppEngine)
        case "litert", "embedding":
            from golek_worker.engine.litert.embedding import LiteRTEmbedder

            return LiteRTEmbedder
        case "litert", "vision":
            from golek_worker.engine.litert.classifying import LiteRTClassifier

            return LiteRTClassifier
        case _:
            raise EngineLoadError(f"ENGINE={config.engine}: there is no such engine for models of kind {config.kind!r}")


def async_engine_factory(config: EngineConfig) -> "AsyncEngineFactory | None":
    """The engine that `config` asks for where its runtime is asyncio's; None for the others."""
    if config.engine in SERVERS:
        from golek_worker.engine.server.loading import load

        return load
    match config.engine, config.kind:
        case "vllm", "inference":
            from golek_worker.engine.vllm.engine import VLLMEngine

            return VLLMEngine.open
        case "vllm", "embedding":
            from golek_worker.engine.vllm.embedding import VLLMEmbedder

            return VLLMEmbedder.open
        case _:
            return None


def environment(config: EngineConfig) -> dict[str, str]:
    """Variables for the child of this engine, to be set before its runtime is loaded (docs/decisions/0010).

    With more than a few threads one of them will wait for a core that another process has. Threads that spin meanwhile
    take the cores that it needs.
    """
    if config.engine != "llamacpp":
        return {}
    file = Path(config.model_path)
    size = file.stat().st_size if file.is_file() else 0
    return spins(thread_count(config.threads, usable_cores(), size))


def spins(threads: int) -> dict[str, str]:
    """How long so many threads of libgomp wait awake (docs/decisions/0010)."""
    return {"GOMP_SPINCOUNT": SPINS} if threads > FEW_THREADS else {}
