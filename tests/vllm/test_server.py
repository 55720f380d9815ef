"""vLLM's own server as an engine, started by the worker, keeps the contract."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from golek_worker.engine.base import EngineConfig
from golek_worker.engine.outside import ServerConfig
from tests.engines.life import Runtime
from tests.engines.subject import CONSTRAINTS, Subject
from tests.engines.writing import Writing
from tests.vllm import place

pytestmark = [place.needs_vllm, pytest.mark.timeout(180)]
KNOWN = tuple(one for one in CONSTRAINTS if one[0].kind in ("gbnf", "json_schema", "regex"))
SURROUNDINGS = ("HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1", "OMP_NUM_THREADS=1")


@contextmanager
def opened() -> Iterator[EngineConfig]:
    command = [
        "env", *SURROUNDINGS, str(place.PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", "{model}",
        "--host", "{host}", "--port", "{port}", "--kv-cache-memory-bytes", str(place.KV_BYTES),
        "--block-size", str(place.BLOCK), "--max-num-seqs", "4", "--enforce-eager",
    ]  # fmt: skip
    model = str(place.model(place.TEXT))
    yield EngineConfig("openai", "", 4, 0, 0, server=ServerConfig(command=command, model=model))


# Not `logprobs`: for a token that is a part of a character its /v1/completions tells no bytes.
SUBJECTS = [
    Subject(
        "vllm-server",
        frozenset({"text", "seeds", "constraints", "resume", "grandchildren", "gauges"}),
        opened,
        constraints=KNOWN,
        load_s=place.LOAD_S,
    )
]


class TestWriting(Writing):
    """Of texts."""


class TestRuntime(Runtime):
    """Its processes below the guard."""
