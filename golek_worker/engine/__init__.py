"""Local runtimes. `base` is the contract, `host` the parent's side, `child` the process, the rest are engines."""

from golek_worker.engine.base import EngineConfig, EngineFactory


def engine_factory(config: EngineConfig) -> EngineFactory:
    """The engine that `config` asks for; imports its runtime only now, since that is slow and large."""
    match config.engine, config.kind:
        case "echo", _:
            from golek_worker.engine.echo import EchoEngine

            return EchoEngine
        case "llamacpp", "embedding":
            from golek_worker.engine.llamacpp.embedding import LlamaCppEmbedder

            return LlamaCppEmbedder
        case "llamacpp", "inference":
            from golek_worker.engine.llamacpp.engine import LlamaCppEngine

            return LlamaCppEngine
