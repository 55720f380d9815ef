"""A prompt that is read in several steps is read as any other."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec import structs

from golek_worker.engine.base import EngineConfig
from tests.engines.subject import Served, Subject
from tests.vllm import place

pytestmark = [place.needs_vllm, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
STEP = 64
"""Tokens that a step reads at most."""
PROMPT = "The queue is long, and the caller waits for an answer. " * 8


@contextmanager
def opened() -> Iterator[EngineConfig]:
    config = place.config(adapters=0)
    arguments = config.vllm.arguments | {"max_num_batched_tokens": STEP}
    yield structs.replace(config, vllm=structs.replace(config.vllm, arguments=arguments))


SUBJECTS = [Subject("vllm-small-steps", frozenset({"text"}), opened, load_s=place.LOAD_S)]


async def test_a_seed_draws_the_same_however_the_prompt_was_read(served: Served) -> None:
    """In parts, then, once the prompt is kept, in a single step."""
    parts = await served.written(served.text(PROMPT, seed=7, temperature=1.0))
    whole = await served.written(served.text(PROMPT, seed=7, temperature=1.0))
    assert parts.tokens_cached == 0
    assert parts.tokens_in > 2 * STEP
    assert whole.tokens_in - whole.tokens_cached <= STEP
    assert parts.text == whole.text
