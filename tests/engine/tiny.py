"""How do tests have the llama.cpp engine in their own process? With the shipped demo model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from golek_worker.engine.base import EngineConfig
from golek_worker.engine.llamacpp.engine import LlamaCppEngine

MODEL = Path("data/models/golek-tiny/model.gguf")


@contextmanager
def engine_of(slots: int, ctx_size: int = 0, model: Path = MODEL) -> Iterator[LlamaCppEngine]:
    """An engine with one thread; what it counts agrees with llama.cpp at the end."""
    engine = LlamaCppEngine(EngineConfig("llamacpp", str(model), slots, ctx_size, 1), lambda done, total: None)
    try:
        yield engine
        assert engine.problems() == []
    finally:
        engine.close()
