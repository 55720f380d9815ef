"""Prompts that are read in several steps, and who is next where there is one seat."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec import structs

from golek_worker.engine.base import EngineConfig, Finished
from tests.engines.subject import Served, Subject, first, rest
from tests.vllm import place

pytestmark = [place.needs_vllm, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
STEP = 64
"""Tokens that a step reads at most."""
PROMPT = "The queue is long, and the caller waits for an answer. " * 8


@contextmanager
def opened() -> Iterator[EngineConfig]:
    config = place.config(slots=1, adapters=0)
    arguments = config.vllm.arguments | {"max_num_batched_tokens": STEP}
    yield structs.replace(config, vllm=structs.replace(config.vllm, arguments=arguments, by_priority=True))


SUBJECTS = [Subject("vllm-one-seat", frozenset({"text"}), opened, load_s=place.LOAD_S)]


async def test_a_seed_draws_the_same_however_the_prompt_was_read(served: Served) -> None:
    """In parts, then, once the prompt is kept, in a single step."""
    parts = await served.written(served.text(PROMPT, seed=7, temperature=1.0))
    whole = await served.written(served.text(PROMPT, seed=7, temperature=1.0))
    assert parts.tokens_cached == 0
    assert parts.tokens_in > 2 * STEP
    assert whole.tokens_in - whole.tokens_cached <= STEP
    assert parts.text == whole.text


async def test_urgent_sequences_go_first(served: Served) -> None:
    """In whatever order they came: vLLM counts the other way round."""
    busy = served.much()
    running = served.host.submit(busy)
    await first(running)
    order: list[int] = []
    waiting = {priority: structs.replace(served.text(tokens=4), priority=priority) for priority in (1, 2, 3)}
    runs = {priority: served.host.submit(command) for priority, command in waiting.items()}

    async def end(priority: int) -> None:
        await rest(runs[priority], Finished)
        order.append(priority)

    ends = [asyncio.create_task(end(priority)) for priority in runs]
    await asyncio.sleep(0)  # all of them listen
    served.host.cancel(busy.job_id)
    await asyncio.gather(*ends)
    assert order == [3, 2, 1]
