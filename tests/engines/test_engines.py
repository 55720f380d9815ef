"""The engines that golek installs keep the contract."""

from contextlib import nullcontext
from pathlib import Path

from golek_worker.engine.base import EngineConfig
from tests.engines.life import Life
from tests.engines.pooled import Scores, Vectors
from tests.engines.subject import CONSTRAINTS, Ability, Subject
from tests.engines.writing import Writing
from tests.support import minilm, reranker

TINY = Path("data/models/golek-tiny/model.gguf")
PACE_MS = 2.0
"""A tiny model would be done with a long text before anybody could cancel it."""


def text(name: str, config: EngineConfig, *more: Ability) -> Subject:
    """An engine of this process's interpreter that writes."""
    return Subject(
        name, frozenset({"text", "invariant", "fifo", "resume", *more}), lambda: nullcontext(config),
        constraints=CONSTRAINTS if "constraints" in more else (),
    )  # fmt: skip


SUBJECTS = [
    text("echo", EngineConfig("echo", "", 4, 0, 0, step_min_ms=PACE_MS)),
    text(
        "llamacpp", EngineConfig("llamacpp", str(TINY), 4, 0, 1, step_min_ms=PACE_MS),
        "seeds", "logprobs", "constraints", "file", "gauges",
    ),
    Subject(
        "llamacpp-embedding", frozenset({"vectors", "file", "gauges"}),
        lambda: nullcontext(EngineConfig("llamacpp", str(minilm.model_file()), 4, 0, 2, kind="embedding")),
    ),
    Subject(
        "llamacpp-rerank", frozenset({"scores", "file", "gauges"}),
        lambda: nullcontext(EngineConfig("llamacpp", str(reranker.model_file()), 4, 0, 2, kind="rerank")),
    ),
]  # fmt: skip


class TestWriting(Writing):
    """Of texts."""


class TestVectors(Vectors):
    """Of embedding models."""


class TestScores(Scores):
    """Of rerankers."""


class TestLife(Life):
    """Of all."""
