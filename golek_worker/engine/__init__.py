"""Local runtimes. `base` is the contract, `host` the parent's side, `child` the process, the rest are engines."""

from typing import Literal

from golek_worker.engine.base import EngineFactory


def engine_factory(name: Literal["llamacpp", "echo"]) -> EngineFactory:
    """The engine called `name` in the settings; imports its runtime only now, since that is slow and large."""
    match name:
        case "echo":
            from golek_worker.engine.echo import EchoEngine

            return EchoEngine
        case "llamacpp":
            from golek_worker.engine.llamacpp.engine import LlamaCppEngine

            return LlamaCppEngine
