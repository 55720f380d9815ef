"""llama.cpp's own server as an engine, started and attached, keeps the contract."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from golek_worker.engine.base import EngineConfig
from golek_worker.engine.outside import ServerConfig
from tests.engines.life import Life, Runtime
from tests.engines.pooled import Scores, Vectors
from tests.engines.subject import CONSTRAINTS, Ability, Subject
from tests.engines.writing import Writing
from tests.support import llama_server, minilm, reranker

TINY = Path("data/models/golek-tiny/model.gguf")
WRITES: tuple[Ability, ...] = ("text", "seeds", "resume", "logprobs", "constraints", "gauges")
STARTED: tuple[Ability, ...] = ("file", "grandchildren")
KNOWN = tuple(one for one in CONSTRAINTS if one[0].kind in ("gbnf", "json_schema"))

pytestmark = pytest.mark.skipif(llama_server.PROGRAM is None, reason=llama_server.MISSING)


def started(model: Path, slots: int, **more: object) -> EngineConfig:
    return EngineConfig(
        "llama-server", str(model), slots, 0, 1, server=ServerConfig(program=str(llama_server.PROGRAM)),
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


@contextmanager
def attached() -> Iterator[EngineConfig]:
    """A server that others run, as an `openai` that nobody says more of than its address."""
    with llama_server.running(TINY) as url:
        yield EngineConfig("openai", "", 4, 0, 1, server=ServerConfig(url=url))


SUBJECTS = [
    Subject(
        "llama-server", frozenset({*WRITES, *STARTED}), lambda: nullcontext(started(TINY, 4)), constraints=KNOWN
    ),
    Subject("openai", frozenset(WRITES), attached, constraints=KNOWN),
    Subject(
        "llama-server-embedding", frozenset({"vectors", "gauges", *STARTED}),
        lambda: nullcontext(started(minilm.model_file(), 4, kind="embedding")),
    ),
    Subject(
        "llama-server-rerank", frozenset({"scores", "gauges", *STARTED}),
        lambda: nullcontext(started(reranker.model_file(), 4, kind="rerank")),
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


class TestRuntime(Runtime):
    """Of those that are started here."""
