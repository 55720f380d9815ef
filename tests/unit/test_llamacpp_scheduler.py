"""The decisions of the llama.cpp engine, by table."""

import pytest

from golek_wire.errors import ContextBudgetExceededError
from golek_worker.engine.budget import token_limit
from golek_worker.engine.llamacpp import scheduler
from golek_worker.engine.llamacpp.threads import thread_count


@pytest.mark.parametrize(
    ("decoding", "idle", "rows"),
    [
        ([0, 1, 2], [3], [0, 1, 2]),
        ([2, 0], [1], [0, 1, 2]),
        ([0, 2], [], [0, 2]),  # slot 1 reads its prompt
        ([0, 6], [1, 2, 3, 4, 5], [0, 6]),  # a hole that costs more than a pass
        ([5], [0, 1, 2, 3, 4], [5]),
        ([], [0], []),
    ],
)
def test_small_holes_of_idle_slots_are_computed_along(decoding: list[int], idle: list[int], rows: list[int]) -> None:
    """Rows without holes share one pass over the weights; a slot that reads its prompt is left alone."""
    assert scheduler.decode_rows(decoding, idle) == rows


@pytest.mark.parametrize(
    ("rows", "lone"), [([3], {3}), ([0, 1], set()), ([0, 2, 3, 5], {0, 5}), ([], set()), ([1, 2, 3], set())]
)
def test_rows_without_a_neighbour_are_found(rows: list[int], lone: set[int]) -> None:
    """llama.cpp computes such a row alone, with other code on some processors."""
    assert scheduler.lone_rows(rows) == lone


@pytest.mark.parametrize(
    ("wanted", "cores", "size", "threads"),
    [(6, 4, 1, 6), (0, 4, 4 << 20, 1), (0, 4, 9 << 20, 2), (0, 4, 4 << 30, 4), (0, 1, 4 << 30, 1)],
)
def test_threads_follow_cores_and_model(wanted: int, cores: int, size: int, threads: int) -> None:
    """What is asked for counts; else one per physical core, fewer for a small model."""
    assert thread_count(wanted, cores, size) == threads


def test_without_max_tokens_the_context_is_the_limit() -> None:
    """An answer may fill what the prompt leaves."""
    assert token_limit(100, None, 512) == 412


def test_max_tokens_may_fill_the_context_exactly() -> None:
    """Prompt and answer together may be as long as the context."""
    assert token_limit(100, 412, 512) == 412


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "current", "words"),
    [(512, None, 512, ["512"]), (100, 413, 513, ["100", "413", "512", "412"])],
)
def test_what_does_not_fit_is_refused_with_its_numbers(
    prompt: int, max_tokens: int | None, current: int, words: list[str]
) -> None:
    """The refusal names prompt, max_tokens, context and what would fit."""
    with pytest.raises(ContextBudgetExceededError) as raised:
        token_limit(prompt, max_tokens, 512)
    assert (raised.value.current_tokens, raised.value.budget) == (current, 512)
    assert all(word in raised.value.message for word in words)
