"""How is an engine's child started?

Most run in the worker's own interpreter; one may need another, and a folder of its own.
"""

import os
import shutil
import sys
from pathlib import Path

from msgspec import Struct

from golek_worker.engine import environment
from golek_worker.engine.base import EngineConfig

MODULE = "golek_worker.engine.child"


class Launch(Struct, frozen=True):
    """What a child is started with."""

    python: str
    variables: dict[str, str]
    """Its environment, all of it."""
    folder: Path | None = None
    """What it has below the temporary folder."""

    def close(self) -> None:
        """The child is gone: nothing of it stays."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def launch(config: EngineConfig) -> Launch:
    """How the child of this engine is started. Raises EngineLoadError where what it needs is not installed."""
    if config.engine != "vllm":
        return Launch(sys.executable, environment(config) | os.environ)
    from golek_worker.engine.vllm import interpreter, place

    python = interpreter.needed(config.vllm.python)
    place.check(Path(config.model_path))
    folder = place.make()
    return Launch(str(python), place.variables(config, folder, os.environ), folder)
