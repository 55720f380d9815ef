"""vLLM makes vectors as the contract of engines says."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from golek_worker.engine.base import EngineConfig
from tests.engines.pooled import Vectors
from tests.engines.subject import Subject
from tests.vllm import place

pytestmark = [place.needs_vllm, pytest.mark.timeout(180)]


@contextmanager
def opened() -> Iterator[EngineConfig]:
    yield place.config(place.EMBEDDER)


SUBJECTS = [Subject("vllm-embedding", frozenset({"vectors", "file"}), opened, load_s=place.LOAD_S)]


class TestVectors(Vectors):
    """Of embedding models."""
