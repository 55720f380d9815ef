"""The engines of LiteRT keep the contract that all engines keep."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from golek_worker.engine.base import EngineConfig
from scripts import litert_models
from tests.engines.life import Life
from tests.engines.pooled import Classes, Vectors
from tests.engines.subject import Subject
from tests.support.images import image


@contextmanager
def letters() -> Iterator[EngineConfig]:
    with tempfile.TemporaryDirectory() as folder:
        model = litert_models.letters(Path(folder) / "model.tflite")
        yield EngineConfig("litert", str(model), 4, 0, 1, kind="embedding")


@contextmanager
def colours() -> Iterator[EngineConfig]:
    with tempfile.TemporaryDirectory() as folder:
        model = litert_models.colours(Path(folder) / "model.tflite")
        yield EngineConfig("litert", str(model), 4, 0, 1, kind="vision")


SUBJECTS = [
    Subject("litert-embedding", frozenset({"vectors", "file", "gauges"}), letters),
    Subject("litert-classes", frozenset({"classes", "file"}), colours, image=image("red")),
]


class TestVectors(Vectors):
    """Of embedding models."""


class TestClasses(Classes):
    """Of classifiers."""


class TestLife(Life):
    """Of both."""
