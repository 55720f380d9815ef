"""Where is vLLM, and where are the models for it?"""

import contextlib
import fcntl
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from golek_worker.engine.base import EngineConfig
from golek_worker.engine.vllm import interpreter
from golek_worker.engine.vllm.config import VLLMConfig
from golek_worker.settings.vllm import LEAST_RANK
from tests.engines.subject import CONSTRAINTS, Subject

KEY = "VLLM_PYTHON"
PYTHON = interpreter.find(os.environ.get(KEY, ""))
"""Read before fixtures take the shell's settings away."""
SCRIPT = Path(__file__).with_name("models.py")
MODELS = Path(tempfile.gettempdir()) / f"golek-tests-vllm-{os.getuid()}"
TEXT, ADAPTER, EMBEDDER, SEEING = "tiny-llama", "tiny-lora", "tiny-embedder", "tiny-idefics"
KV_BYTES = 64 * 2**20
BLOCK = 32
"""Tokens, the fewest that a CPU takes; what a prompt shares with another one is found in the cache by whole blocks."""
LOAD_S = 120.0

needs_vllm = pytest.mark.skipif(PYTHON is None, reason="vLLM is not installed here: `make build-vllm`")


def model(name: str) -> Path:
    """The folder of a small model, made when it is asked for first."""
    assert PYTHON is not None
    folder = MODELS / f"{SCRIPT.stat().st_mtime_ns}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock, contextlib.ExitStack() as held:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held.callback(fcntl.flock, lock, fcntl.LOCK_UN)
        if not (folder / ADAPTER / "adapter_config.json").is_file():
            subprocess.run([PYTHON, SCRIPT, folder], check=True, capture_output=True, timeout=LOAD_S)
    return folder / name


def config(name: str = TEXT, *, slots: int = 4, adapters: int = 1, stall_s: float = 10.0) -> EngineConfig:
    """An engine for the model of this name."""
    return EngineConfig(
        "vllm", str(model(name)), slots, 0, 1,
        kind="embedding" if name == EMBEDDER else "inference",
        vllm=VLLMConfig(
            arguments={"kv_cache_memory_bytes": KV_BYTES, "block_size": BLOCK},
            python=str(PYTHON),
            stall_s=stall_s,
            max_loras=adapters if name == TEXT else 0,
            max_lora_rank=LEAST_RANK,
        ),
    )  # fmt: skip


SUBJECT = Subject(
    "vllm",
    frozenset({
        "text", "seeds", "invariant", "fifo", "logprobs", "constraints", "resume",
        "file", "grandchildren", "gauges",
    }),
    lambda: contextlib.nullcontext(config()),
    constraints=CONSTRAINTS,
    load_s=LOAD_S,
)  # fmt: skip
"""What writes."""


def settings(name: str = TEXT) -> dict[str, object]:
    """The same, as a deployment says it."""
    return {
        "ENGINE": "vllm",
        "MODEL_NAME": name,
        "MODEL_PATH": model(name),
        "MODEL_THREADS": 1,
        "VLLM_PYTHON": PYTHON,
        "VLLM_KV_CACHE_MEMORY_BYTES": KV_BYTES,
        "VLLM_ARGS": f'{{"block_size": {BLOCK}}}',
    }
