"""Contexts of different sizes in one request, over a real bus: what does not fit is compressed before the call."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bus.test_router import router
from tests.support import raw
from tests.support.workers import WorkerProcess

SIZES = {"draft": 8192, "refine": 400}
WORDS = "The queue holds ten thousand jobs on disk and a worker takes them one by one. "


@pytest.fixture
def url(nats_server: str, tmp_path: Path) -> Iterator[str]:
    """A large echo worker, a small one, the demo model with its 2048 tokens, and a router."""
    with (
        WorkerProcess(nats_server, tmp_path / "large", "large", ENGINE="echo", MODEL_NAME="large"),
        WorkerProcess(nats_server, tmp_path / "small", "small", ENGINE="echo", MODEL_NAME="small", CTX_SIZE=400),
        WorkerProcess(nats_server, tmp_path / "tiny", "golek-tiny", MODEL_THREADS=1),
        router(nats_server, tmp_path / "router"),
    ):
        yield nats_server


async def piped(url: str, text: str, *models: str, compressor: str) -> dict[str, Any]:
    """What a pipeline of these models says."""
    wish = {"models": [*dict.fromkeys([*models, compressor])], "stages": ["draft", "refine"],
            "duties": {"draft": models[0], "refine": models[1], "compressor": compressor}}  # fmt: skip
    request = {"input": text, "orchestration_mode": "pipeline", "orchestration": wish, "params": {"temperature": 0}}
    async with raw.connected(url) as client:
        return (await raw.ask(client, "inference.request.auto", request, timeout=60))[0]


async def test_what_a_large_model_wrote_is_compressed_for_a_small_one(url: str) -> None:
    """By the compressor, before the small one is asked; the reply says so, and the small one's context was kept."""
    said = await piped(url, WORDS * 4, "large", "small", compressor="golek-tiny")
    steps = {step["name"]: step for step in said["orchestration"]["steps"]}
    assert {name: step["model"] for name, step in steps.items()} == {
        "draft": "large", "refine": "small", "compress": "golek-tiny",
    }  # fmt: skip
    assert steps["draft"]["tokens_out"] > 100
    assert [name for name, step in steps.items() if step.get("compressed")] == ["refine"]
    about = said["inference_metadata"]
    assert (about["compression_applied"], about["handoff_steps"]) == (True, 1)
    largest = max((steps[name]["tokens_in"] + steps[name]["tokens_out"]) / size for name, size in SIZES.items())
    assert about["context_utilization"] == pytest.approx(largest, abs=0.001)
    assert said["finish_reason"] == "stop"


async def test_a_compressor_of_no_use_leaves_the_last_usable_text(url: str) -> None:
    """An echo makes nothing shorter: the small model is never asked, and the draft is the answer, whole."""
    said = await piped(url, WORDS * 40, "large", "small", compressor="large")
    assert said["finish_reason"] == "partial"
    assert said["text"].startswith(WORDS * 40)
    how = said["orchestration"]
    assert how["partial"]
    assert "COMPRESSION_FAILED" in how["error"]
    refine = next(step for step in how["steps"] if step["name"] == "refine")
    assert (refine["outcome"], refine.get("tokens_in", 0)) == ("COMPRESSION_FAILED", 0)
    assert "after 3 iterations" in refine["reason"]


async def test_single_reads_what_was_said_and_nothing_more(url: str) -> None:
    """Its answer is the model's own, with or without the mode."""
    async with raw.connected(url) as client:
        for mode in (None, "single"):
            request = {"input": "one two", **({"orchestration_mode": mode} if mode else {})}
            said, _ = await raw.ask(client, "inference.request.small", request)
            assert (said["text"], said["tokens_in"]) == ("one two", 2)
